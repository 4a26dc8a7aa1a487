"""The publications behind rules and attacks, each once."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """One publication.

    Attributes:
        authors: full names, separated by semicolons.
        title: as printed.
        venue: proceedings or journal; empty for a preprint.
        year: of publication.
        arxiv: identifier, or empty.
    """

    authors: str
    title: str
    venue: str
    year: int
    arxiv: str = ""

    @property
    def key(self) -> str:
        """First author's surname, year, and the title's first word of four letters or more, in plain letters."""
        word = next(word for word in self.title.replace("-", " ").split() if len(word) > 3)
        plain = unicodedata.normalize("NFKD", self.authors.split(";")[0].split()[-1] + str(self.year) + word)
        return "".join(letter for letter in plain.lower() if letter.isascii() and letter.isalnum())

    def bibtex(self) -> str:
        """The BibTeX entry."""
        journal = any(word in self.venue for word in ("Transactions", "Magazine", "Proceedings of the ACM"))
        kind, place = ("article", "journal") if journal else ("inproceedings", "booktitle") if self.venue else ("misc", "")
        fields = {"author": self.authors.replace("; ", " and "), "title": f"{{{self.title}}}", place: self.venue, "year": self.year}
        fields |= {"eprint": self.arxiv, "archiveprefix": "arXiv"} if self.arxiv else {}
        lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
        return f"@{kind}{{{self.key},\n" + ",\n".join(lines) + "\n}"


# Keyed by words of the short reference that a rule or an attack gives, the first author's name first.
PAPERS = {
    "McMahan AISTATS 2017": Paper(
        "H. Brendan McMahan; Eider Moore; Daniel Ramage; Seth Hampson; Blaise Agüera y Arcas",
        "Communication-Efficient Learning of Deep Networks from Decentralized Data",
        "AISTATS",
        2017,
        "1602.05629",
    ),
    "Blanchard NeurIPS 2017": Paper(
        "Peva Blanchard; El Mahdi El Mhamdi; Rachid Guerraoui; Julien Stainer",
        "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
        "NeurIPS",
        2017,
        "1703.02757",
    ),
    "El Mhamdi ICML 2018": Paper(
        "El Mahdi El Mhamdi; Rachid Guerraoui; Sébastien Rouault",
        "The Hidden Vulnerability of Distributed Learning in Byzantium",
        "ICML",
        2018,
        "1802.07927",
    ),
    "Yin ICML 2018": Paper(
        "Dong Yin; Yudong Chen; Kannan Ramchandran; Peter Bartlett",
        "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
        "ICML",
        2018,
        "1803.01498",
    ),
    "Chen POMACS 2017": Paper(
        "Yudong Chen; Lili Su; Jiaming Xu",
        "Distributed Statistical Machine Learning in Adversarial Settings: Byzantine Gradient Descent",
        "Proceedings of the ACM on Measurement and Analysis of Computing Systems",
        2017,
        "1705.05491",
    ),
    "Pillutla TSP 2022": Paper(
        "Krishna Pillutla; Sham M. Kakade; Zaid Harchaoui",
        "Robust Aggregation for Federated Learning",
        "IEEE Transactions on Signal Processing",
        2022,
        "1912.13445",
    ),
    "Xie 1802.10116": Paper("Cong Xie; Oluwasanmi Koyejo; Indranil Gupta", "Generalized Byzantine-tolerant SGD", "", 2018, "1802.10116"),
    "Xie 1805.09682": Paper(
        "Cong Xie; Oluwasanmi Koyejo; Indranil Gupta",
        "Phocas: dimensional Byzantine-resilient stochastic gradient descent",
        "",
        2018,
        "1805.09682",
    ),
    "Karimireddy ICML 2021": Paper(
        "Sai Praneeth Karimireddy; Lie He; Martin Jaggi",
        "Learning from History for Byzantine Robust Optimization",
        "ICML",
        2021,
        "2012.10333",
    ),
    "Karimireddy ICLR 2022": Paper(
        "Sai Praneeth Karimireddy; Lie He; Martin Jaggi",
        "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing",
        "ICLR",
        2022,
        "2006.09365",
    ),
    "Gupta 2008.04699": Paper(
        "Nirupam Gupta; Shuo Liu; Nitin H. Vaidya",
        "Byzantine Fault-Tolerant Distributed Machine Learning Using Stochastic Gradient Descent (SGD) and Norm-Based "
        "Comparative Gradient Elimination (CGE)",
        "",
        2020,
        "2008.04699",
    ),
    "El Mhamdi PODC 2020": Paper(
        "El Mahdi El Mhamdi; Rachid Guerraoui; Arsany Guirguis; Lê-Nguyên Hoang; Sébastien Rouault",
        "Genuinely Distributed Byzantine Machine Learning",
        "PODC",
        2020,
        "1905.03853",
    ),
    "Allouah ICML 2023": Paper(
        "Youssef Allouah; Rachid Guerraoui; Nirupam Gupta; Rafaël Pinot; John Stephan",
        "On the Privacy-Robustness-Utility Trilemma in Distributed Learning",
        "ICML",
        2023,
        "2302.04787",
    ),
    "Farhadkhani ICML 2023": Paper(
        "Sadegh Farhadkhani; Rachid Guerraoui; Nirupam Gupta; Lê-Nguyên Hoang; Rafaël Pinot; John Stephan",
        "Robust Collaborative Learning with Linear Gradient Overhead",
        "ICML",
        2023,
        "2209.10931",
    ),
    "Allouah ICML 2025": Paper(
        "Youssef Allouah; Rachid Guerraoui; John Stephan",
        "Towards Trustworthy Federated Learning with Untrusted Participants",
        "ICML",
        2025,
    ),
    "Allouah AISTATS 2023": Paper(
        "Youssef Allouah; Sadegh Farhadkhani; Rachid Guerraoui; Nirupam Gupta; Rafaël Pinot; John Stephan",
        "Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity",
        "AISTATS",
        2023,
        "2302.01772",
    ),
    "Allouah ICLR 2025": Paper(
        "Youssef Allouah; Rachid Guerraoui; Nirupam Gupta; Ahmed Jellouli; Geovani Rizk; John Stephan",
        "Adaptive Gradient Clipping for Robust Federated Learning",
        "ICLR",
        2025,
        "2405.14432",
    ),
    "Sun 1911.07963": Paper(
        "Ziteng Sun; Peter Kairouz; Ananda Theertha Suresh; H. Brendan McMahan",
        "Can You Really Backdoor Federated Learning?",
        "",
        2019,
        "1911.07963",
    ),
    "Shejwalkar NDSS 2021": Paper(
        "Virat Shejwalkar; Amir Houmansadr",
        "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated Learning",
        "NDSS",
        2021,
    ),
    "Cao NDSS 2021": Paper(
        "Xiaoyu Cao; Minghong Fang; Jia Liu; Neil Zhenqiang Gong",
        "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping",
        "NDSS",
        2021,
        "2012.13995",
    ),
    "Fung RAID 2020": Paper(
        "Clement Fung; Chris J. M. Yoon; Ivan Beschastnikh",
        "The Limitations of Federated Learning in Sybil Settings",
        "RAID",
        2020,
        "1808.04866",
    ),
    "Xu ICDCS 2022": Paper(
        "Jian Xu; Shao-Lun Huang; Linqi Song; Tian Lan",
        "Byzantine-robust Federated Learning through Collaborative Malicious Gradient Filtering",
        "ICDCS",
        2022,
        "2109.05872",
    ),
    "Li Big Data 2023": Paper(
        "Shenghui Li; Edith C.-H. Ngai; Thiemo Voigt",
        "An Experimental Study of Byzantine-Robust Aggregation Schemes in Federated Learning",
        "IEEE Transactions on Big Data",
        2023,
        "2302.07173",
    ),
    "Nguyen USENIX 2022": Paper(
        "Thien Duc Nguyen; Phillip Rieger; Huili Chen; Hossein Yalame; Helen Möllering; Hossein Fereidooni; Samuel "
        "Marchal; Markus Miettinen; Azalia Mirhoseini; Shaza Zeitouni; Farinaz Koushanfar; Ahmad-Reza Sadeghi; Thomas "
        "Schneider",
        "FLAME: Taming Backdoors in Federated Learning",
        "USENIX Security",
        2022,
        "2101.02281",
    ),
    "Baruch NeurIPS 2019": Paper(
        "Gilad Baruch; Moran Baruch; Yoav Goldberg",
        "A Little Is Enough: Circumventing Defenses For Distributed Learning",
        "NeurIPS",
        2019,
        "1902.06156",
    ),
    "Xie UAI 2019": Paper(
        "Cong Xie; Oluwasanmi Koyejo; Indranil Gupta",
        "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation",
        "UAI",
        2019,
        "1903.03936",
    ),
    "Li AAAI 2019": Paper(
        "Liping Li; Wei Xu; Tianyi Chen; Georgios B. Giannakis; Qing Ling",
        "RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed Learning from Heterogeneous Datasets",
        "AAAI",
        2019,
        "1811.03761",
    ),
    "Bagdasaryan AISTATS 2020": Paper(
        "Eugene Bagdasaryan; Andreas Veit; Yiqing Hua; Deborah Estrin; Vitaly Shmatikov",
        "How To Backdoor Federated Learning",
        "AISTATS",
        2020,
        "1807.00459",
    ),
    "Lin 1911.12560": Paper(
        "Jierui Lin; Min Du; Jian Liu", "Free-riders in Federated Learning: Attacks and Defenses", "", 2019, "1911.12560"
    ),
    "El Mhamdi ICLR 2021": Paper(
        "El Mahdi El Mhamdi; Rachid Guerraoui; Sébastien Rouault",
        "Distributed Momentum for Byzantine-resilient Stochastic Gradient Descent",
        "ICLR",
        2021,
    ),
    "Fang USENIX 2020": Paper(
        "Minghong Fang; Xiaoyu Cao; Jinyuan Jia; Neil Zhenqiang Gong",
        "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning",
        "USENIX Security",
        2020,
        "1911.11815",
    ),
    "Shejwalkar S&P 2022": Paper(
        "Virat Shejwalkar; Amir Houmansadr; Peter Kairouz; Daniel Ramage",
        "Back to the Drawing Board: A Critical Evaluation of Poisoning Attacks on Production Federated Learning",
        "IEEE Symposium on Security and Privacy",
        2022,
        "2108.10241",
    ),
    "Biggio ICML 2012": Paper(
        "Battista Biggio; Blaine Nelson; Pavel Laskov", "Poisoning Attacks against Support Vector Machines", "ICML", 2012, "1206.6389"
    ),
    "Tolpegin ESORICS 2020": Paper(
        "Vale Tolpegin; Stacey Truex; Mehmet Emre Gursoy; Ling Liu",
        "Data Poisoning Attacks Against Federated Learning Systems",
        "ESORICS",
        2020,
        "2007.08432",
    ),
    "Gu 2017": Paper(
        "Tianyu Gu; Brendan Dolan-Gavitt; Siddharth Garg",
        "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain",
        "",
        2017,
        "1708.06733",
    ),
    "Xie ICLR 2020": Paper(
        "Chulin Xie; Keli Huang; Pin-Yu Chen; Bo Li", "DBA: Distributed Backdoor Attacks against Federated Learning", "ICLR", 2020
    ),
    "Wang NeurIPS 2020": Paper(
        "Hongyi Wang; Kartik Sreenivasan; Shashank Rajput; Harit Vishwakarma; Saurabh Agarwal; Jy-yong Sohn; Kangwook "
        "Lee; Dimitris Papailiopoulos",
        "Attack of the Tails: Yes, You Really Can Backdoor Federated Learning",
        "NeurIPS",
        2020,
        "2007.05084",
    ),
    "Zhang ICML 2022": Paper(
        "Zhengming Zhang; Ashwinee Panda; Linyue Song; Yaoqing Yang; Michael W. Mahoney; Joseph E. Gonzalez; Kannan "
        "Ramchandran; Prateek Mittal",
        "Neurotoxin: Durable Backdoors in Federated Learning",
        "ICML",
        2022,
        "2206.10341",
    ),
    "Bhagoji ICML 2019": Paper(
        "Arjun Nitin Bhagoji; Supriyo Chakraborty; Prateek Mittal; Seraphin Calo",
        "Analyzing Federated Learning through an Adversarial Lens",
        "ICML",
        2019,
        "1811.12470",
    ),
    "Cao 2022": Paper(
        "Xiaoyu Cao; Neil Zhenqiang Gong",
        "MPAF: Model Poisoning Attacks to Federated Learning based on Fake Clients",
        "CVPR Workshops",
        2022,
        "2203.08669",
    ),
    "Fraboni AISTATS 2021": Paper(
        "Yann Fraboni; Richard Vidal; Marco Lorenzi",
        "Free-rider Attacks on Model Aggregation in Federated Learning",
        "AISTATS",
        2021,
        "2006.11901",
    ),
    "Özfatura 2208.09894": Paper(
        "Kerem Özfatura; Emre Özfatura; Alptekin Küpçü; Deniz Gündüz",
        "Byzantines can also Learn from History: Fall of Centered Clipping in Federated Learning",
        "",
        2022,
        "2208.09894",
    ),
    "Sun Magazine 2008": Paper(
        "Yan Sun; Zhu Han; K. J. Ray Liu",
        "Defense of Trust Management Vulnerabilities in Distributed Networks",
        "IEEE Communications Magazine",
        2008,
    ),
    "ByzFL 2505.24802": Paper(
        "Marc González; Rachid Guerraoui; Rafaël Pinot; Geovani Rizk; John Stephan; François Taïani",
        "ByzFL: Research Framework for Robust Federated Learning",
        "",
        2025,
        "2505.24802",
    ),
}
