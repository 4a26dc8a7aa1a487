"""Tables of docs/attacks.md, docs/production.md and docs/speed.md say what the code says."""

import dataclasses
import re
from pathlib import Path

import pytest

import clients
from flwr_byzantine import attacks
from flwr_byzantine.experiments.bench.contestants import CONTESTS
from flwr_byzantine.flower.uploads import PER_ARRAY, RATIO, WORDS

DOCS = Path(__file__).parents[1] / "docs"
ATTACKS, PRODUCTION, SPEED = [(DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("attacks", "production", "speed")]
MODELS = re.findall(r"^\| .+ \| ([\d,]+) \| (\d+) \| (\d+) \| ([\d.]+) GB \| ([\d.]+) GB \|$", PRODUCTION, re.MULTILINE)


def client_of(attack):
    """The NumPyClient that mounts an attack."""
    if attack.knowledge != "own":
        return "-"
    made = [name for name in clients.__all__ if getattr(getattr(clients, name), "attack", None) is attack]
    return f"`{made[0]}`" if made else "`PoisoningClient.of`" if attack.poisons else "`ModelAttackClient.of`"


@pytest.mark.parametrize("attack", attacks.available(), ids=lambda attack: attack.__name__)
def test_an_attack_has_its_row(attack):
    parameters = ", ".join(f"`{field.name}={field.default!r}`" for field in dataclasses.fields(attack))
    target = "data" if attack.poisons else "update"
    said = [f"`{attack.__name__}`", attack.knowledge, target, parameters or "-", client_of(attack), attack.__doc__.splitlines()[0]]
    assert f"| {' | '.join(said)} |\n" in ATTACKS


@pytest.mark.parametrize("attack", attacks.available(), ids=lambda attack: attack.__name__)
def test_what_an_attack_costs_is_said(attack):
    costs = ATTACKS.split("<!-- costs -->")[1].split("<!-- end of costs -->")[0]
    assert re.search(rf"^\| `{attack.__name__}` (?:\| [\d.]+(?: \(\d+\))? ){{4}}\|$", costs, re.MULTILINE)


@pytest.mark.parametrize("row", MODELS, ids=" ".join)
def test_what_a_round_holds_follows_from_the_budgets(row):
    values, arrays, nodes = (int(number.replace(",", "")) for number in row[:3])
    most = nodes * (RATIO * 4 * values + PER_ARRAY * (1 + arrays) + 10 * WORDS)
    assert row[3:] == (f"{nodes * 4 * values / 1e9:.1f}", f"{most / 1e9:.1f}")


def test_there_are_models():
    assert len(MODELS) == 4


@pytest.mark.parametrize(
    "contest", [contest for contest in CONTESTS if contest.name not in ("mda", "smea")], ids=lambda contest: contest.name
)
def test_every_rule_that_is_timed_at_this_size_has_its_row(contest):
    assert f"\n| {contest.name} | " in SPEED


def test_as_many_claims_fail_as_the_page_says():
    assert SPEED.count("**no**") == 6
    assert "Six claims do not hold" in SPEED
