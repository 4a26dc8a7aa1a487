"""BibTeX for exactly what is in use."""

import re
from pathlib import Path

import pytest

import flwr_byzantine
from flwr_byzantine import attacks, rules
from flwr_byzantine.declare import methods
from flwr_byzantine.declare.citations import citation, entries, entry_of, references_of
from flwr_byzantine.errors import InvalidParameter

BIB = Path(flwr_byzantine.__file__).parent / "declare" / "papers.bib"
CITED = [*rules.available(), *rules.detectors(), *attacks.available(), *methods.available()]


def keys(text):
    return re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE)


def fields(entry):
    return dict(re.findall(r"^  (\w+) = \{(.*)\},?$", entry, re.MULTILINE))


@pytest.mark.parametrize("item", CITED, ids=lambda item: item.__name__)
def test_every_rule_attack_and_method_names_publications_that_are_known(item):
    for piece in references_of(item):
        entry = entry_of(piece)
        assert entry, f"{item.__name__}: {piece!r} is not in declare/papers.bib"
        found, name = fields(entry), re.split(r",| et al", piece)[0]
        assert found["author"].split(" and ")[0].endswith(name) or found["title"].startswith(f"{{{name}")  # the first author, or a system
        assert found["year"] in piece


def test_a_chain_cites_its_parts_and_nothing_else_each_once():
    rule = rules.chain(rules.ARC(f=2), rules.NNM(f=2), rules.Krum(f=2))
    assert keys(citation(rule)) == ["allouah2025adaptive", "allouah2023fixing", "blanchard2017machine"]
    assert keys(citation(rule, rules.MultiKrum, attacks.ALIE())) == [*keys(citation(rule)), "baruch2019little"]
    assert keys(citation(rules.GeometricMedian())) == ["chen2017distributed", "pillutla2022robust"]


def test_keys_are_unique_and_entries_well_formed():
    found = [key for entry in entries().values() for key in keys(entry)]
    assert len(found) == len(set(found)) == len(entries()) == BIB.read_text(encoding="utf-8").count("\n@")
    for entry in entries().values():
        assert entry.count("{") == entry.count("}")
        found = fields(entry)
        assert {"author", "title", "year"} <= set(found)
        assert {"booktitle", "journal", "eprint"} & set(found)
        assert ";" not in found["author"]
        assert re.fullmatch(r"\d{4}\.\d{4,5}", found.get("eprint", "1234.12345"))


@pytest.mark.parametrize("key", entries())
def test_a_reference_in_full_leads_to_its_publication_alone(key):
    matching = [other for other in entries() if set(other.split()) <= set(key.split()) and other.split()[0] == key.split()[0]]
    assert matching == [key]


def test_a_rule_of_the_users_own_comes_as_a_comment():
    class Mine(rules.Mean):
        reference = "Somebody, Journal of Results 2031"

    assert citation(Mine, rules.Krum).splitlines()[0] == "% Somebody, Journal of Results 2031"


@pytest.mark.parametrize("item", [3, "krum", object])
def test_what_has_no_reference_is_an_error(item):
    with pytest.raises(InvalidParameter, match="citation needs rules or attacks"):
        citation(item)
