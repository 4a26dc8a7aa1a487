"""The committed reproductions: configurations that parse, results that are theirs, a page that says what the results say."""

import json
import zlib
from pathlib import Path

import pytest
from rich.console import Console

from flwr_byzantine.experiments.report.settings import load
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep import cell, config, kinds
from flwr_byzantine.experiments.sweep.command import command
from simulations.reproductions import page

NAMES = page.NAMES
by_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def no_data_needed(monkeypatch):
    """Fashion-MNIST need not be there to read a configuration."""
    monkeypatch.setattr(cell, "missing", lambda _dataset, _root: "")
    monkeypatch.setattr(kinds, "_check_tasks", lambda _file, _cells, _root: None)


def sweep_of(name):
    return config.read(page.HERE / f"{name}.toml")


@by_name
def test_a_dry_run_finds_every_cell_finished(name, no_data_needed, tmp_path):
    with open(tmp_path / "out", "w") as out:
        console = Console(file=out, width=200)
        assert command(page.HERE / f"{name}.toml", page.HERE / "results" / f"{name}.jsonl", 1, False, True, console) == 0
    text = (tmp_path / "out").read_text()
    assert f"0 to run, {len(sweep_of(name).cells)} finished, 0 failed before" in text


@by_name
def test_results_are_those_of_the_configuration(name, no_data_needed):
    expected = {cell.key: cell.config for cell in sweep_of(name).cells}
    found = {cell.key: cell for cell in load(page.HERE / "results" / f"{name}.jsonl")}
    assert {key: cell.config for key, cell in found.items()} == expected
    assert all(cell.ok for cell in found.values())
    assert all(len(cell.curve()) == cell.config["rounds"] + 1 for cell in found.values())
    assert all(cell.value() == pytest.approx(sum(cell.curve()[-3:]) / 3, abs=1e-4) for cell in found.values())


def test_what_is_committed_is_small_as_git_keeps_it():
    files = [path for path in page.HERE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(len(zlib.compress(path.read_bytes())) for path in files) < 1e6


@by_name
def test_no_machine_paths(name):
    text = (page.HERE / "results" / f"{name}.jsonl").read_text() + (page.HERE / f"{name}.toml").read_text()
    assert not [word for word in ("/work", "/root", "/tmp", "/home") if word in text]


def test_the_page_says_what_the_results_give():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text, page.blocks()) == text
    changed = page.filled(text, {"flanders": "nothing"})
    assert changed != text
    with pytest.raises(ValueError, match="must hold the marks of 'none' once, found 0"):
        page.filled(text, {"none": ""})


@by_name
def test_figures_that_the_page_shows_are_there(name):
    shown = [word.split(")")[0] for word in page.PAGE.read_text(encoding="utf-8").split("](")[1:]]
    local = [path for path in shown if not path.startswith("http")]
    assert [path for path in local if path.startswith(f"figures/{name}")]
    assert all((page.HERE / path).exists() for path in local)


@by_name
def test_every_published_figure_stands_beside_one_of_ours_or_in_a_row_of_its_own(name):
    known = page.published(name)
    tables = page.results(name).tables()
    used = {id(entry) for table in tables for entry in page.matched(table, known).values()}
    assert [entry for entry in known if id(entry) not in used] == []


# --- what must hold -------------------------------------------------------------------------------------------


def test_flanders_robust_rules_at_least_match_the_published_row_of_the_same_rule():
    pairs = {key: pair for key, pair in page.pairs("flanders").items() if key[0] != "fedavg"}
    assert {rule for rule, _ in pairs} == {"median", "trimmed-mean", "multi-krum", "bulyan"}
    assert len(pairs) == 20
    assert all(ours >= theirs for ours, theirs in pairs.values())


def test_flanders_our_best_is_at_least_the_best_published_under_every_attack():
    best = page.best("flanders")
    assert len(best) == 5
    assert all(ours >= theirs for ours, theirs in best.values())


def test_flanders_attacks_ruin_the_average_krum_and_an_unclipped_mean_and_no_other_rule():
    (table,) = page.results("flanders").tables()
    ruined = {row.rule for row in table.rows if row.worst.mean < 0.2}
    assert ruined == {"fedavg", "krum", "centered-clipping"}
    assert all(row.worst.mean > 0.6 for row in table.rows if row.rule not in ruined)


def test_bucketing_the_order_of_the_rules_without_mixing():
    krum, median, rfa, clipping = (page.by_momentum("bucketing")[0.9][rule][0] for rule in page.RULES[:4])
    assert max(krum, median) + 0.3 < rfa < clipping - 0.1
    krum, median, rfa, clipping = (page.by_momentum("bucketing")[0.0][rule][0] for rule in page.RULES[:4])
    assert krum < median < rfa < clipping


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_bucketing_mixing_helps_the_rules_that_choose(momentum):
    means = {rule: ours for rule, (ours, _) in page.by_momentum("bucketing")[momentum].items()}
    for rule in ("krum", "median", "geometric-median"):
        assert means[f"bucketing+{rule}"] > means[rule] + 0.05
    for rule in ("krum", "median"):
        assert means[f"nnm+{rule}"] > means[f"bucketing+{rule}"] + 0.1


def test_bucketing_has_a_published_mean_only_where_all_five_attacks_are_published():
    mixing = page.by_mixing("bucketing")
    assert "nan" not in mixing
    rows = [line for line in mixing.split("worker momentum 0:")[1].splitlines() if line.startswith("| ") and "/" in line]
    assert [row.split(" | ")[0] for row in rows] == ["| krum"]


def test_byzfl_heterogeneity_and_byzantine_clients_cost_accuracy():
    tables = page.results("byzfl").tables()
    for rule in page.results("byzfl").rules:
        worst = {(dict(table.setting)["gamma"], dict(table.setting)["f"]): table.row(rule).worst.mean for table in tables}
        assert len(worst) == 16
        for f in (1, 2, 3, 4):
            assert worst[0.0, f] < worst[0.33, f] < worst[0.66, f] < worst[1.0, f]
        for gamma in (0.0, 0.33, 0.66):
            assert worst[gamma, 4] < worst[gamma, 1]
        assert worst[1.0, 4] > worst[1.0, 1] - 0.05


# --- the script -----------------------------------------------------------------------------------------------


def test_shortening_keeps_the_last_result_of_a_cell(tmp_path):
    a, rounds = {"strategy": "krum", "lr": 0.1234567, "rounds": 8, "evaluate_every": 4}, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    written = [
        Result(a, "a", history={"accuracy": [0.1234567, None]}, final={"accuracy": 0.5}),
        Result(a | {"lr": 0.1}, "b"),
        Result(a, "a", history={"accuracy": [0.7654321, None], "kappa_seen": rounds}, final={"accuracy": 0.7654321}),
    ]
    path = Path(tmp_path, "r.jsonl")
    path.write_text("".join(json.dumps(result.to_json()) + "\n" for result in written))
    page.shorten(path)
    b, found = (json.loads(line) for line in path.read_text().splitlines())
    assert (b["key"], b["course"]) == ("b", {})
    course = {"accuracy": [0.76543, None], "kappa_seen": [None, None, None, 0.4, None, 0.6, 0.7, 0.8]}
    assert found == written[2].to_json() | {"course": course, "final": {"accuracy": 0.76543}}
