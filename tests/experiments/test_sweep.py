"""Sweeps: failures, resuming, and results that depend on nothing but the configuration."""

import json
import os
import signal

import pytest
from typer.testing import CliRunner

from flwr_byzantine import attacks
from flwr_byzantine.experiments.cli import app
from flwr_byzantine.experiments.sweep import Store, kinds, read, run, workers
from flwr_byzantine.experiments.sweep.cell import Cell
from tests.support.sweeps import (
    TINY,
    children,
    results,
    write,
)


def test_every_cell_is_finished_with_every_measure(tiny):
    sweep, summary, path = tiny
    assert (summary.finished, summary.failed, summary.skipped, summary.left) == (9, [], 0, 0)
    found = Store(path).read()
    assert set(found) == {cell.key for cell in sweep.cells}
    for result in found.values():
        assert result.config == next(cell.config for cell in sweep.cells if cell.key == result.key)
        lengths = {name: len(values) for name, values in result.history.items() if values is not None}
        initial = dict.fromkeys(("accuracy", "loss", "validation_accuracy"), 3)
        of_rounds = ("malicious_kept", "malicious_share", "honest_dropped", "kappa_seen", "attackers", "over_f", "skipped")
        judged = () if result.config["strategy"] == "fedavg" else ("precision", "recall", "false_alarms", "auc")
        assert lengths == initial | dict.fromkeys((*of_rounds, *judged), 2)
        assert set(result.versions) == {"flwr_byzantine", "flwr", "numpy", "torch"}
    attacked = [each for each in found.values() if (each.config["strategy"], each.config["attack"]) == ("fedavg", "sign-flip")]
    assert attacked[0].final["malicious_kept"] == 1.0


def test_results_do_not_depend_on_the_number_of_processes_or_the_order(tiny, tmp_path):
    sweep, _, path = tiny
    backwards = type(sweep)(sweep.file, sweep.name, sweep.cells[::-1], 2)
    run(backwards, tmp_path / "two.jsonl")
    assert results(tmp_path / "two.jsonl") == results(path)


def test_a_model_that_is_evaluated_less_often_is_trained_the_same(tmp_path):
    text = TINY.replace("rounds = 2", "rounds = 9") + "evaluate-every = [1, 4]\n"
    text = text.replace('["none", "sign-flip", ', '["backdoor", ').replace('["fedavg", "krum", "nnm+trimmed-mean"]', '["krum"]')
    sweep = read(write(tmp_path, text))
    run(sweep, tmp_path / "r.jsonl", processes=1)
    found = Store(tmp_path / "r.jsonl").read().values()
    by_attack = {(each.config["attack"], each.config["evaluate_every"]): each for each in found}
    for attack in ("alie", "backdoor"):
        always, seldom = by_attack[attack, 1], by_attack[attack, 4]
        assert seldom.final == always.final
        for name, values in always.history.items():
            of_model = name in ("accuracy", "loss", "validation_accuracy", "attack_success") and values is not None
            left = [value if t in (0, 4, 7, 8, 9) else None for t, value in enumerate(values)] if of_model else values
            assert seldom.history[name] == left
    assert by_attack["backdoor", 4].history["attack_success"][4] is not None


def test_finished_cells_are_skipped(tiny, tmp_path):
    sweep, _, path = tiny
    lines = path.read_bytes().splitlines(keepends=True)
    copy = tmp_path / "r.jsonl"
    copy.write_bytes(b"".join(lines[:8]) + lines[8][:40])
    ran = []
    summary = run(sweep, copy, processes=1, on_result=ran.append)
    assert (summary.finished, summary.skipped, len(ran)) == (1, 8, 1)
    assert results(copy) == results(path)


def test_a_failed_cell_is_reported_kept_and_retried_on_request(tmp_path, monkeypatch):
    """60 clients cannot all get ten of the digits at this alpha: unseen when the file is read, that cell fails, the other does not."""
    monkeypatch.setattr(kinds, "partitions", lambda _task: [])
    text = "[sweep]\nrounds = 1\n[task]\nmodel = 'softmax'\nlocal-steps = 1\nnum-clients = 60\n"
    text += "[grid]\npartition = ['sorted', 'dirichlet']\nalpha = [0.05]\n"
    sweep, path = read(write(tmp_path, text)), tmp_path / "r.jsonl"
    first = run(sweep, path, processes=1)
    assert (first.finished, len(first.failed)) == (1, 1)
    assert first.failed[0][1].startswith("InvalidParameter: 1212 examples cannot be divided among 60 clients")
    kept = Store(path).read()[first.failed[0][0].key]
    assert (kept.status, kept.history, kept.final) == ("failed", {}, {})
    ran = []
    again = run(sweep, path, processes=1, on_result=ran.append)
    assert (again.finished, len(again.failed), again.skipped, ran) == (0, 1, 1, [])
    run(sweep, path, processes=1, retry_failed=True, on_result=ran.append)
    assert [item.key for item in ran] == [kept.key]


def test_a_worker_that_is_killed_costs_its_own_cell_only(tmp_path):
    sweep = read(write(tmp_path, TINY + "seed = [0, 1]\n"))
    killed = []

    def kill(record):
        """After the first result, kill the one worker that is then at a cell."""
        if not killed:
            (pid,) = children()
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    summary = run(sweep, tmp_path / "r.jsonl", processes=1, on_result=kill)
    assert (summary.finished, len(summary.failed)) == (17, 1)
    assert summary.failed[0][1] == "WorkerDied: the process that ran it ended without a result (killed by SIGKILL)"
    retried = run(sweep, tmp_path / "r.jsonl", processes=1, retry_failed=True)
    assert (retried.finished, retried.failed, retried.skipped) == (1, [], 17)


def test_attacks_that_wrap_another_take_it_by_name_or_with_options(tmp_path):
    text = "[sweep]\nrounds = 1\n[task]\nmodel = 'softmax'\nlocal-steps = 1\nnum-clients = 5\nnum-malicious = 1\n"
    text += "[grid]\nattack = [{name = 'on-off', attack = 'gaussian'}, {name = 'sybil', attack = {name = 'sign-flip', scale = 3.0}}]\n"
    sweep = read(write(tmp_path, text))
    made = [cell.attack() for cell in sweep.cells]
    assert [attack.attack for attack in made] == [attacks.Gaussian(), attacks.SignFlip(scale=3.0)]
    assert run(sweep, tmp_path / "r.jsonl", processes=1).finished == 2


def test_a_dry_run_says_what_would_run_and_runs_nothing(tiny, tmp_path):
    sweep, _, path = tiny
    done = CliRunner().invoke(app, ["sweep", str(sweep.file), "--dry-run", "--results", str(path)], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "tiny: 9 cells" in done.output
    assert "0 to run, 9 finished" in done.output
    other = tmp_path / "none.jsonl"
    done = CliRunner().invoke(app, ["sweep", str(sweep.file), "--dry-run", "--results", str(other)])
    assert "9 to run" in done.output
    assert not other.exists()


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_what_no_round_comes_to_is_said_once_with_and_without_a_run(tmp_path, dry):
    text = "[sweep]\nrounds = 2\n[task]\nmodel = 'softmax'\nlocal-steps = 1\nnum-clients = 5\npartition = 'iid'\nmilestones = [2]\n"
    text += "num-malicious = 1\nattack-from = 3\n[grid]\nseed = [0, 1]\nattack = ['none', 'sign-flip']\n"
    file = write(tmp_path, text)
    path = str(tmp_path / "r.jsonl")
    done = CliRunner().invoke(app, ["sweep", str(file), "--processes", "1", "--results", path, *dry], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert done.output.count("lr does not fall at milestones = [2]: no round of 2 is after it") == 1
    assert done.output.count("nobody attacks in rounds 1 to 2: attack-from = 3") == 1


@pytest.mark.slow
def test_both_engines_give_the_same_cell(tmp_path):
    text = TINY.replace('"fedavg", "krum", "nnm+trimmed-mean"', '"nnm+trimmed-mean"').replace('"none", "sign-flip", ', "")
    sweep = read(write(tmp_path, text + "engine = ['local', 'ray']\n"))
    summary = run(sweep, tmp_path / "r.jsonl")
    assert (summary.finished, summary.failed) == (2, [])
    local, ray = sorted(Store(tmp_path / "r.jsonl").read().values(), key=lambda found: found.config["engine"])
    assert local.key != ray.key
    assert local.history["accuracy"] == pytest.approx(ray.history["accuracy"], abs=0.02)
    assert local.history["kappa_seen"] == pytest.approx(ray.history["kappa_seen"], rel=0.05)


def test_records_are_json_without_nan(tiny):
    for line in tiny[2].read_text().splitlines():
        json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))


def test_no_more_processes_than_cells():
    cells = [Cell.of({"rounds": 1, "num_clients": 2, "partition": "sorted", "model": "softmax", "local_steps": 1})]
    (found,) = workers.run_all(cells, processes=8)
    assert found.ok
