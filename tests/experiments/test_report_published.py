"""Published figures beside ours: their file, and where each stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments import report
from flwr_byzantine.experiments.report.published import Published, matched, unmatched
from flwr_byzantine.experiments.report.tables import worst_case_table
from tests.support.reports import PUBLISHED, cells_of, line, store, synthetic

ENTRY = '[[entries]]\nstrategy = "krum"\nattack = "alie"\naccuracy = 0.5\nsource = "x"\n'


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    path = tmp_path / "published.toml"
    path.write_text(PUBLISHED, encoding="utf-8")
    entries = report.read_published(path)
    (table,) = report.worst_case(
        cells_of([line("krum", attack, 0.6, attack_options=o) for attack, o in (("alie", {"z": 1.5}), ("sign-flip", {}))])
    )
    grid = worst_case_table(table, matched(table, entries))
    assert [item.full for item in grid.rows[0]] == ["krum", "60.0 / 55.0 (+5.0)", "60.0", "60.0", "–"]
    assert [item.full for item in grid.rows[1]] == ["flanders+fedavg (published only)", "–", "– / 67.0", "–", "–"]
    assert "Somebody et al., 2023, Table 2" in grid.notes[-1]
    assert [entry.source for entry in unmatched([table], entries)] == ["Nobody"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("entries = 3", "no \\[\\[entries\\]\\]"),
        ("[[entries", "as TOML"),
        ('[[entries]]\nstrategy = "krum"\n', "entry 1 .*attack must be a string"),
        ('[[entries]]\nstrategy = "krum"\nattack = "a"\naccuracy = 87\nsource = "x"\n', r"in \[0, 1\]"),
        ('[[entries]]\nstrategy = "krum"\ncolour = 1\n', "'colour'"),
        ("entries = [3]", r"entry 1 .* must be a table, written \[\[entries\]\], got 3"),
        ('[[entries]]\nstrategy = "krum"\nattack = "a"\naccuracy = true\nsource = "x"\n', "accuracy must be a number, got True"),
        (ENTRY + "seeds = 0.5\n", r"seeds must be a list of accuracies in \[0, 1\], got 0.5"),
        (ENTRY + "seeds = [50, 60]\n", r"seeds must be a list of accuracies in \[0, 1\], got \[50, 60\]"),
        (ENTRY + "seeds = [0.5, 0.53]\n", "accuracy must be the mean of seeds, 0.5150, got 0.5"),
    ],
)
def test_published_figures_that_cannot_be_used_say_why(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "published.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidParameter, match=says):
        report.read_published(path)


def test_a_published_figure_may_have_those_of_its_seeds(tmp_path: Path) -> None:
    path = tmp_path / "published.toml"
    path.write_text(f"{ENTRY}seeds = [0.45, 0.57]\n{ENTRY}", encoding="utf-8")
    assert [entry.seeds for entry in report.read_published(path)] == [(0.45, 0.57), ()]


@pytest.fixture
def variants():
    """Two variants of a rule under three of an attack."""
    options = ({}, {"z": 1.0}, {"z": 2.0})
    records = [line("krum", "alie", 0.6, attack_options=each, strategy_options={"f": k}) for each in options for k in (1, 2)]
    return report.worst_case(cells_of(records))[0]


def test_a_published_figure_stands_beside_each_variant_that_it_does_not_tell_apart(variants) -> None:
    plain, named = (Published(rule, attack, 0.5, "x") for rule, attack in (("krum", "alie"), ("krum (f=1)", "alie (z=2)")))
    every = {(f"krum (f={k})", attack) for k in (1, 2) for attack in ("alie", "alie (z=1)", "alie (z=2)")}
    assert matched(variants, [plain]) == dict.fromkeys(every, plain)
    assert matched(variants, [named]) == {("krum (f=1)", "alie (z=2)"): named}
    both = dict.fromkeys(every, plain) | {("krum (f=1)", "alie (z=2)"): named}
    assert matched(variants, [plain, named]) == matched(variants, [named, plain]) == both


def test_what_a_published_figure_holds_for_is_looked_up_under_its_attack(variants) -> None:
    entries = [Published("krum", "alie", z / 10, "x", {"attack_options": {"z": z}}) for z in (1.0, 2.0)]
    found = matched(variants, entries)
    assert {place: entry.accuracy for place, entry in found.items()} == {
        (f"krum (f={k})", f"alie (z={z})"): z / 10 for k in (1, 2) for z in (1, 2)
    }
    assert unmatched([variants], entries) == []


def test_published_settings_are_keys_that_cells_have(tmp_path: Path) -> None:
    path = tmp_path / "published.toml"
    path.write_text(PUBLISHED.replace("{ f = 99 }", "{ num-malicious = 4 }"), encoding="utf-8")
    entries = report.read_published(path)
    assert entries[-1].where == {"num_malicious": 4}
    results = store(synthetic(), tmp_path / "r.jsonl")
    report.write(results, tmp_path / "out", published=entries)
    odd = replace(entries[-1], where={"num_malicous": 4})
    with pytest.raises(InvalidParameter, match=r"unknown key in where 'num_malicous'; did you mean 'num_malicious'\?"):
        report.write(results, tmp_path / "out", published=[odd])
