"""`rules`, `attacks` and `cite`: all of them, one of them, and as JSON."""

import json
from dataclasses import fields

import pytest
from typer.testing import CliRunner

from flwr_byzantine import attacks, citation, rules
from flwr_byzantine.declare.documented import documentation, parameters
from flwr_byzantine.experiments import cli
from flwr_byzantine.experiments.cli.catalogue import attack_entry, rule_entry

RULES = [*rules.available(), *rules.detectors()]
EVERYTHING = [*RULES, *attacks.available()]
each = pytest.mark.parametrize("cls", EVERYTHING, ids=lambda cls: cls.__name__)
commands = pytest.mark.parametrize(("command", "known"), [("rules", RULES), ("attacks", attacks.available())])


def printed(*arguments):
    done = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def entry(cls):
    return rule_entry(cls) if issubclass(cls, rules.Rule) else attack_entry(cls)


@commands
def test_a_list_has_a_line_for_each_that_begins_with_its_name(command, known):
    lines = printed(command).splitlines()
    assert [line.split()[0] for line in lines[2:-2]] == [cls.__name__ for cls in known]


@commands
def test_as_json_it_holds_all_that_is_known_of_each(command, known):
    found = json.loads(printed(command, "--json"))
    assert [item["name"] for item in found] == [cls.__name__ for cls in known]
    assert all(key == key.lower().replace("-", "_") for item in found for key in item)
    assert found[0] == json.loads(printed(command, found[0]["name"], "--json")) == json.loads(json.dumps(entry(known[0])))


@each
def test_each_has_a_summary_an_example_a_source_and_a_meaning_for_every_parameter(cls):
    made = entry(cls)
    assert made["summary"].endswith(".")
    assert made["example"].startswith(">>> ")
    assert made["source"]
    assert [item["name"] for item in made["parameters"]] == [field.name for field in fields(cls)]
    assert all(item["meaning"] and item["values"] for item in made["parameters"])


@each
def test_all_of_it_is_printed(cls):
    text = printed("rules" if issubclass(cls, rules.Rule) else "attacks", cls.__name__)
    said = documentation(cls)
    assert all(part in text for part in (*said.paragraphs, *said.args.values(), *said.example.splitlines(), f"cite {cls.__name__}"))
    assert all(str(item) in text for item in parameters(cls))
    assert citation(cls) in printed("cite", cls.__name__)


def test_a_rule_says_its_conditions_and_its_bound():
    text = printed("rules", "multi-krum")
    assert "2f + 3 and f + m" in text
    assert "At f = 2: 7" in text
    assert f"κ at n = 25, f = 2   {rules.MultiKrum(f=2).kappa(25):.3g}" in text
    assert "MultiKrum(f, m=None, iterated=False, neighbors='n-f-2', power=2)" in text


def test_a_chain_says_its_own_bound_and_all_of_its_parts():
    chain, found = rules.parse("nnm+krum", f=2), json.loads(printed("rules", "nnm+krum", "--json"))
    assert (found["kappa_at_n_25_f_2"], found["min_n_at_f_2"]) == (chain.kappa(25), chain.min_n())
    assert found["parts"] == [rule_entry(rules.NNM), rule_entry(rules.Krum)]
    assert printed("rules", "nnm+krum").count("Parameters") == 2


def test_what_has_no_bound_says_none():
    assert rule_entry(rules.CGE)["kappa_at_n_25_f_2"] is None
    assert rule_entry(rules.Mean)["largest_f_at_n_25"] is None
    assert "κ at n = 25, f = 2   -\n" in printed("rules", "cge")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("rules", "krumm"), "unknown rule 'krumm'; did you mean 'Krum'?"),
        (("rules", "nnm+trimedmean"), "unknown rule 'trimedmean'; did you mean 'TrimmedMean'?"),
        (("rules", "krum+nnm"), "Krum(f=2) aggregates to one row, so nothing can follow it; put it last"),
        (("attacks", "signflop"), "unknown attack 'signflop'; did you mean 'SignFlip'?"),
        (("cite", "nnm+krumm"), "unknown rule, attack or method 'krumm'; did you mean 'Krum'? choose one of: "),
    ],
)
def test_a_name_that_is_none_is_told_the_nearest(arguments, sentence):
    with pytest.raises(rules.InvalidParameter) as mistake:
        CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert sentence in str(mistake.value)
