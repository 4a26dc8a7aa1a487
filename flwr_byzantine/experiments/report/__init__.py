"""Reports: the results of a sweep as tables, figures and one HTML page.

May import `errors`, `declare`, the names of rules and attacks, `experiments.results` and `show.table`; it loads neither
flwr nor torch.
"""

from flwr_byzantine.experiments.report.choice import Choice, choose
from flwr_byzantine.experiments.report.published import Published, read_published
from flwr_byzantine.experiments.report.scores import Row, Score, WorstCase, worst_case
from flwr_byzantine.experiments.report.settings import load, varying
from flwr_byzantine.experiments.report.terminal import to_console
from flwr_byzantine.experiments.report.writing import Report, write
from flwr_byzantine.experiments.results import Result

__all__ = [
    "Choice",
    "Published",
    "Report",
    "Result",
    "Row",
    "Score",
    "WorstCase",
    "choose",
    "load",
    "read_published",
    "to_console",
    "varying",
    "worst_case",
    "write",
]
