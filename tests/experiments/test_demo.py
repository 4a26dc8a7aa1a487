"""The main job, run as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flwr_byzantine import rules
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.cli import app
from flwr_byzantine.experiments.demo import report, runner
from flwr_byzantine.experiments.demo.apps import Outcome, federate
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.experiments.tasks.client import client_app
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.partitions import partitions
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.monitor.show.printing import show
from tests.support.processes import left_behind

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The whole demo once: it takes less time than the tests that need it would alone."""
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "flwr_byzantine", "demo", "--json", "out.json", "--plot", "out.png"]
    environment = {**os.environ, "FLWR_HOME": str(out / "home")}
    done = subprocess.run(command, cwd=out, env=environment, capture_output=True, text=True, timeout=480, check=False)
    return done, out, left_behind(out / "home", patience=20)


@pytest.mark.slow
def test_finishes_with_table_picture_and_results(demo):
    done, out, extra = demo
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Accuracy on the test set" in done.stdout
    assert (out / "out.png").read_bytes().startswith(b"\x89PNG")
    assert not extra
    runs = json.loads((out / "out.json").read_text())["runs"]
    assert len(runs) == len(runner.plan()) == 13
    assert all(len(run["accuracy"]) == 21 and not run["error"] for run in runs)


@pytest.mark.slow
def test_averaging_falls_and_the_best_rule_holds(demo):
    runs = json.loads((demo[1] / "out.json").read_text())["runs"]
    found = {(run["strategy"], run["attack"]): run["final_accuracy"] for run in runs if not run["alike"]}
    clean = found["fedavg", None]
    strong, subtle = runner.ATTACKS
    assert clean > 0.85
    assert found["fedavg", strong] <= clean - 0.30
    for attack in (strong, subtle):
        best = max(value for (strategy, under), value in found.items() if under == attack and strategy != "fedavg")
        assert best >= clean - 0.05


def test_the_page_shows_what_is_in_the_committed_results():
    page, results = (
        (ROOT / "docs/experiments.md").read_text(encoding="utf-8"),
        json.loads((ROOT / "simulations/results/demo.json").read_text()),
    )
    shown = [line.split(" | ")[2:] for line in page.split("rounds certified (of 20) |\n")[1].split("\n\n")[0].splitlines()[1:]]
    assert len(shown) == len(results["runs"]) == len(runner.plan())
    for (accuracy, kept, dropped, certified), run in zip(shown, results["runs"], strict=True):
        assert accuracy == f"{100 * run['final_accuracy']:.1f} %"
        assert kept == (f"{run['malicious_kept']:.1f}" if run["attack"] else "-")
        assert dropped == f"{run['honest_dropped']:.0f}"
        assert certified == (f"{run['certified']} |" if run["sin_alpha"] else "- |")


@pytest.mark.slow
def test_rounds_of_like_data_are_certified_and_those_of_skewed_labels_are_not(demo):
    runs = json.loads((demo[1] / "out.json").read_text())["runs"]
    held = {
        (run["strategy"], run["alike"]): sum(sine is not None and sine < 1 for sine in run["sin_alpha"])
        for run in runs
        if run["attack"] == list(runner.ATTACKS)[-1]
    }
    assert held["trimmed-mean", True] >= 5
    assert held["trimmed-mean", False] == held["nnm+trimmed-mean", False] == 0


def test_a_failed_run_is_named_and_the_exit_status_says_so(monkeypatch, tmp_path):
    failed = {run: Outcome([0.1, 0.5], [1.0, 1.0], [0.1]) for run in runner.plan()}
    failed[runner.plan()[3]] = Outcome(error="boom")
    monkeypatch.setattr(runner, "run_all", lambda task, rounds, bar: failed)
    result = CliRunner().invoke(app, ["demo", "--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")])
    assert result.exit_code == 1
    assert f"failed: {runner.plan()[3]}: boom" in " ".join(result.output.split())


@pytest.mark.parametrize(("flag", "expected"), [([], 20), (["--quick"], 5)])
def test_quick_means_fewer_rounds(monkeypatch, tmp_path, flag, expected):
    seen = []
    fine = {run: Outcome([0.1, 0.5], [1.0, 1.0], [0.1]) for run in runner.plan()}
    monkeypatch.setattr(runner, "run_all", lambda task, rounds, bar: (seen.append(rounds), fine)[1])
    result = CliRunner().invoke(app, ["demo", *flag, "--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")])
    assert (result.exit_code, seen) == (0, [expected])


def test_table_has_a_row_for_each_run():
    results = {run: Outcome([0.1, 0.5], [1.0, 1.0], [0.1], 1.0, 2.0) for run in runner.plan()}
    console = Console(width=160, record=True)
    show(report.table(results), console)
    assert console.export_text().count("50.0 %") == 13


def test_table_says_how_many_rounds_are_certified():
    run, other = runner.plan()[1:3]
    results = {run: Outcome([0.1, 0.5], [1.0, 1.0], [0.1], sin_alpha=[0.2, None, 1.0, 0.99]), other: Outcome([0.1, 0.5], [1.0, 1.0], [0.1])}
    console = Console(width=160, record=True)
    show(report.table(results), console)
    text = console.export_text()
    assert "rounds certified" in text
    assert text.count(" of 4  ") == 1
    assert "2 of 4" in text
    assert text.count(" 0.80 ") == 1  # 1 - 0.2, the best margin


def test_a_round_of_the_demo_has_a_certificate():
    task = Task(num_clients=5, partition="iid", local_epochs=20)
    outcome, _ = federate(LocalGrid(client_app(), 5), task, rules.TrimmedMean(f=1), None, 1, rounds=2)
    assert len(outcome.sin_alpha) == 2
    average, _ = federate(LocalGrid(client_app(), 5), task, None, None, 1, rounds=1)
    assert average.sin_alpha == []


@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_partitions_are_disjoint_complete_and_seeded(partition):
    task = Task(partition=partition)
    parts = partitions(task)
    assert sorted(row for part in parts for row in part) == list(range(len(load(task).train_y)))
    assert all((a == b).all() for a, b in zip(parts, partitions(Task(partition=partition, lr=0.2)), strict=True))
    if partition == "dirichlet":
        assert len({len(part) for part in parts}) > 5


RESULTS = Path(__file__).parents[2] / "simulations" / "results"
STORED = json.loads((RESULTS / "demo.json").read_text())


def test_results_are_what_they_were_after_json():
    assert report.to_json(report.from_json(STORED), Task(), STORED["rounds"])["runs"] == STORED["runs"]


@pytest.mark.parametrize(("name", "begin"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")])
def test_the_picture_is_of_the_kind_that_its_name_says(tmp_path, name, begin):
    report.plot(report.from_json(STORED), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begin)


def test_the_stored_picture_is_dark_on_dark_screens_and_shows_every_strategy():
    drawn = (RESULTS / "demo.svg").read_text()
    assert "prefers-color-scheme:dark" in drawn
    assert "mathdefault" not in drawn
    assert [name for name in report.LABELS.values() if f"<!-- {name} -->" not in drawn] == []


@pytest.mark.parametrize(("name", "said"), [("a.jpeg2", "ends in .png, .svg, .pdf"), ("missing/a.png", "no folder")])
def test_a_picture_that_cannot_be_written_is_refused_before_anything_runs(monkeypatch, tmp_path, name, said):
    monkeypatch.setattr(runner, "run_all", lambda *_: pytest.fail("it ran"))
    with pytest.raises(InvalidParameter, match=said):
        CliRunner().invoke(app, ["demo", "--plot", str(tmp_path / name)], catch_exceptions=False)
