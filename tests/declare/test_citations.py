"""BibTeX for exactly what is in use."""

import re

import pytest

from flwr_byzantine import attacks, rules
from flwr_byzantine.declare.citations import citation, named, paper_of, references_of
from flwr_byzantine.declare.papers import PAPERS
from flwr_byzantine.errors import InvalidParameter

CITED = [*rules.available(), *attacks.available()]


def keys(text):
    return re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE)


@pytest.mark.parametrize("item", CITED, ids=lambda item: item.__name__)
def test_every_rule_and_attack_names_publications_that_are_known(item):
    for piece in references_of(item):
        named = [key for key in PAPERS if PAPERS[key] is paper_of(piece)]
        assert named, f"{item.__name__}: {piece!r} is not in flwr_byzantine/papers.py"
        paper = PAPERS[named[0]]
        name = re.split(r",| et al", piece)[0]
        assert paper.authors.split(";")[0].endswith(name) or paper.title.startswith(name)  # the first author, or a system
        assert str(paper.year) in piece


def test_a_chain_cites_its_parts_and_nothing_else_each_once():
    rule = rules.chain(rules.ARC(f=2), rules.NNM(f=2), rules.Krum(f=2))
    assert keys(citation(rule)) == ["allouah2025adaptive", "allouah2023fixing", "blanchard2017machine"]
    assert keys(citation(rule, rules.MultiKrum, attacks.ALIE())) == [*keys(citation(rule)), "baruch2019little"]
    assert keys(citation(rules.GeometricMedian())) == ["chen2017distributed", "pillutla2022robust"]


def test_keys_are_unique_and_entries_well_formed():
    assert len({paper.key for paper in PAPERS.values()}) == len(PAPERS)
    for paper in PAPERS.values():
        entry = paper.bibtex()
        assert entry.count("{") == entry.count("}")
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},?$", entry, re.MULTILINE))
        assert {"author", "title", "year"} <= set(fields)
        assert {"booktitle", "journal", "eprint"} & set(fields)
        assert ";" not in fields["author"]
        assert re.fullmatch(r"\d{4}\.\d{4,5}", fields.get("eprint", "1234.12345"))


@pytest.mark.parametrize("key", PAPERS)
def test_a_reference_in_full_leads_to_its_publication_alone(key):
    matching = [other for other in PAPERS if set(other.split()) <= set(key.split()) and other.split()[0] == key.split()[0]]
    assert matching == [key]


def test_a_rule_of_the_users_own_comes_as_a_comment():
    class Mine(rules.Mean):
        reference = "Somebody, Journal of Results 2031"

    assert citation(Mine, rules.Krum).splitlines()[0] == "% Somebody, Journal of Results 2031"


@pytest.mark.parametrize("item", [3, "krum", object])
def test_what_has_no_reference_is_an_error(item):
    with pytest.raises(InvalidParameter, match="citation needs rules or attacks"):
        citation(item)


def test_names_stand_for_rules_chains_and_attacks():
    assert named("nnm + multi-krum") == [rules.NNM, rules.MultiKrum]
    assert named("alie") == [attacks.ALIE]
    with pytest.raises(InvalidParameter, match=r"unknown rule or attack 'krumm'; choose one of: .*Krum"):
        named("nnm+krumm")


def test_the_command_prints_the_entries_and_no_more():
    from typer.testing import CliRunner

    from flwr_byzantine.cli import app

    done = CliRunner().invoke(app, ["cite", "nnm+krum", "alie"])
    assert done.exit_code == 0
    assert done.stdout.strip() == citation(rules.NNM, rules.Krum, attacks.ALIE)
