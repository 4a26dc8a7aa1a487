"""Sweeps: mistakes in the file, keys, the store, failures, resuming, and results that depend on nothing but the configuration."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flwr_byzantine import InvalidParameter, attacks
from flwr_byzantine.cli import app
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep import Store, config, read, run, workers
from flwr_byzantine.experiments.sweep.cell import Cell
from flwr_byzantine.experiments.sweep.command import choice_table, command
from flwr_byzantine.experiments.sweep.keys import CELL, shown
from flwr_byzantine.show.printing import show

ROOT = Path(__file__).parents[2]
TINY = """
[sweep]
name = "tiny"
rounds = 2
[task]
num-clients = 5
num-malicious = 1
partition = "gamma"
gamma = 0.5
model = "softmax"
local-steps = 2
[grid]
strategy = ["fedavg", "krum", "nnm+trimmed-mean"]
attack = ["none", "sign-flip", {name = "alie", z = 1.0}]
"""


def write(folder, text, name="s.toml"):
    path = folder / name
    path.write_text(text)
    return path


def results(path):
    """Key -> what must be the same whoever ran it."""
    return {key: (found.status, found.config, found.history, found.final) for key, found in Store(path).read().items()}


def result(key, n=0):
    """A small result, for the store."""
    return Result({"strategy": "krum", "n": n}, key)


def line_of(found):
    return json.dumps(found.to_json()) + "\n"


# --- mistakes -------------------------------------------------------------------------------------------------

BAD = {
    "not TOML": ("[grid", "this is not TOML: "),
    "unknown table": (
        "[tasks]\nlr = 0.1",
        "unknown table 'tasks'; did you mean 'task'? choose one of: choose, exclude, grid, sweep, task",
    ),
    "a value where a table is wanted": ("task = 3", "task must be a table, written [task], got 3"),
    "unknown key": ("[task]\nlearning-rate = 0.1", "unknown key in [task] 'learning-rate'; choose one of: alpha, attack, batch-size"),
    "mistyped key": ("[grid]\nstrateegy = ['krum']", "unknown key in [grid] 'strateegy'; did you mean 'strategy'?"),
    "unknown general key": (
        "[sweep]\nround = 3",
        "unknown key in [sweep] 'round'; did you mean 'rounds'? choose one of: engine, evaluate-every, name, processes, rounds",
    ),
    "unknown rule": ("[grid]\nstrategy = ['krumm']", "[grid] strategy: unknown rule 'krumm'; did you mean 'Krum'? choose one of: "),
    "only pre-aggregation": ("[task]\nstrategy = 'nnm'", "[task] strategy: "),
    "unknown attack": ("[grid]\nattack = ['allie']", "[grid] attack: unknown attack 'allie'; did you mean 'ALIE'? choose one of: "),
    "unknown option of a rule": (
        "[grid]\nstrategy = [{name = 'centered-clipping', tao = 1.0}]",
        "[grid] strategy: unknown option of 'centered-clipping' 'tao'; did you mean 'tau'? choose one of: ",
    ),
    "unknown option of an attack": ("[task]\nattack = {name = 'alie', y = 1.0}", "[task] attack: unknown option of 'alie' 'y'; "),
    "bad option of an attack": (
        "[task]\nattack = {name = 'ipm', epsilon = -1.0}",
        "[task] attack: IPM: epsilon must be a number > 0, got -1.0",
    ),
    "options of no attack": ("[task]\nattack = {name = 'none', z = 1}", "[task] attack: 'none' has no options, got 'z'"),
    "a strategy that is no name": ("[grid]\nstrategy = [3]", "[grid] strategy must be a name or a table such as"),
    "unknown dataset": ("[task]\ndataset = 'mnist'", "[task] dataset must be one of 'digits', 'fashion-mnist', got 'mnist'"),
    "unknown partition": (
        "[grid]\npartition = ['shards']",
        "[grid] partition must be one of 'iid', 'dirichlet', 'sorted', 'gamma', got 'shards'",
    ),
    "wrong type": ("[task]\nlr = '0.1'", "[task] lr must be a number > 0, got '0.1'"),
    "not whole": ("[task]\nnum-clients = 2.5", "[task] num-clients must be an integer >= 1, got 2.5"),
    "out of range": ("[grid]\nmomentum = [0.9, 1.0]", "[grid] momentum must be a number >= 0 and < 1, got 1.0"),
    "bad hidden": ("[task]\nhidden = [0]", "[task] hidden must be a list of integers >= 1, got [0]"),
    "no list": ("[grid]\nlr = 0.1", "[grid] lr must be a list of one value or more, got 0.1"),
    "empty list": ("[grid]\nlr = []", "[grid] lr must be a list of one value or more, got []"),
    "twice": ("[task]\nlr = 0.1\n[grid]\nlr = [0.2]", "[grid] lr is given in [task] or [sweep] too; give it once"),
    "twice in general": ("[sweep]\nrounds = 3\n[task]\nrounds = 4", "[task] rounds is given in [sweep] too; give it once"),
    "unknown engine": ("[sweep]\nengine = 'dask'", "[sweep] engine must be one of 'local', 'ray', got 'dask'"),
    "never evaluated": ("[sweep]\nevaluate-every = 0", "[sweep] evaluate-every must be an integer >= 1, got 0"),
    "evaluated after half rounds": ("[grid]\nevaluate-every = [1, 2.5]", "[grid] evaluate-every must be an integer >= 1, got 2.5"),
    "no processes": ("[sweep]\nprocesses = 0", "[sweep] processes must be an integer >= 1, got 0"),
    "impossible f": (
        "[task]\nnum-clients = 10\nnum-malicious = 4\n[grid]\nstrategy = ['fedavg', 'krum']",
        "the cell with strategy = 'krum': strategy 'krum' with f = 4 needs at least 11 clients, got num-clients = 10; lower f, ",
    ),
    "too many malicious": ("[task]\nnum-clients = 4\n[grid]\nnum-malicious = [4]", "num_malicious must be an integer >= 0 and < 4, got 4"),
    "momentum of adam": ("[task]\noptimizer = 'adam'\nmomentum = 0.9", "momentum is of 'sgd' only"),
    "nothing excluded": ("[grid]\nlr = [0.1]\n[[exclude]]\nlr = 0.3", "[[exclude]] 1 leaves out no cell; check its values"),
    "all excluded": ("[grid]\nlr = [0.1]\n[[exclude]]\nlr = 0.1", "every cell is left out by [[exclude]]"),
    "unknown key excluded": ("[[exclude]]\nlrr = 0.1", "unknown key in [[exclude]] 1 'lrr'; did you mean 'lr'?"),
    "empty exclude": ("[[exclude]]", "[[exclude]] 1 must name one key or more"),
    "unknown choice": (
        "[task]\nnum-malicious = 1\n[grid]\nlr = [0.1, 0.2]\nattack = ['none', 'ipm']\n[choose]\nkeys = ['attack']",
        "[choose] keys: unknown hyper-parameter with several values in [grid] 'attack'; choose one of: lr",
    ),
    "choice without a split": (
        "[task]\nvalidation = 0.0\n[grid]\nlr = [0.1, 0.2]\n[choose]\nkeys = ['lr']",
        "[choose] needs a validation split to choose on, got validation = 0",
    ),
    "a key in both spellings": ("[task]\nnum_clients = 5\nnum-clients = 6", "[task] gives num-clients twice, as num_clients too"),
    "infinity": ("[grid]\nlr = [0.1, inf]", "[grid] lr must be finite, got inf"),
    "infinity in options": ("[task]\nattack = {name = 'gaussian', std = inf}", "[task] attack must be finite, got inf"),
    "nobody attacks": ("[grid]\nattack = ['none', 'ipm']", "nobody mounts the attack 'ipm': num-malicious = 0; set num-malicious, or"),
    "a patch beyond the image": (
        "[task]\nnum-malicious = 1\nattack = {name = 'backdoor', patch = 20}",
        "attack 'backdoor': Backdoor: a patch of side 20 at bottom-right does not fit images of 8 x 8",
    ),
    "a class that is none": (
        "[task]\nnum-malicious = 1\nattack = {name = 'label-flip', pairs = [[5, 13]]}",
        "attack 'label-flip': LabelFlip",
    ),
    "a target that is none": (
        "[task]\nnum-malicious = 1\nattack = {name = 'mimic', target = 30}",
        "attack 'mimic': Mimic: target must be below",
    ),
    "too many clients": (
        "[task]\npartition = 'iid'\nnum-clients = 2000",
        "1212 examples cannot be divided among 2000 clients; lower num-clients",
    ),
    "too much heterogeneity": (
        "[task]\nalpha = 0.01\nnum-clients = 300",
        "examples cannot be divided among 300 clients by partition 'dirichlet'",
    ),
    "choice of no list": ("[choose]\nkeys = 'lr'", "[choose] keys must be a list of keys of [grid], got 'lr'"),
    "missing data": (
        "[task]\ndataset = 'fashion-mnist'\ndata-root = 'nowhere'",
        "data-root: 'nowhere' holds no fashion-mnist in torchvision's layout",
    ),
    "root of the wrong kind": ("[task]\ndata-root = 3", "[task] data-root must be a string, got 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_one_sentence_with_the_file(tmp_path, case):
    text, message = BAD[case]
    path = write(tmp_path, text)
    with pytest.raises(InvalidParameter) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mistake_ends_the_command_with_status_2_before_any_run(tmp_path):
    path = write(tmp_path, TINY.replace('"krum"', '"krumm"'))
    command = [sys.executable, "-m", "flwr_byzantine", "sweep", str(path), "--results", str(tmp_path / "r.jsonl")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert done.stderr.startswith(f"error: {path}: [grid] strategy: unknown rule 'krumm'")
    assert not (tmp_path / "r.jsonl").exists()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidParameter, match=r"nothing\.toml: cannot read this file"):
        read(tmp_path / "nothing.toml")


# --- cells and keys -------------------------------------------------------------------------------------------


def test_the_grid_is_the_product_without_what_is_excluded(tmp_path):
    text = TINY + "\n[[exclude]]\nstrategy = ['krum', 'fedavg']\nattack = 'alie'\n"
    cells = read(write(tmp_path, text)).cells
    pairs = {(cell.config["strategy"], cell.config["attack"]) for cell in cells}
    assert len(cells) == len(pairs) == 7
    assert pairs.isdisjoint({("krum", "alie"), ("fedavg", "alie")})


def test_f_follows_num_malicious_unless_given(tmp_path):
    text = "[task]\nnum-clients = 12\n[grid]\nstrategy = ['krum']\nnum-malicious = [1, 2]\n"
    assert [cell.config["f"] for cell in read(write(tmp_path, text)).cells] == [1, 2]
    assert [cell.config["f"] for cell in read(write(tmp_path, text + "f = [3]\n")).cells] == [3, 3]


def test_keys_that_do_not_matter_make_no_cells(tmp_path):
    text = "[grid]\npartition = ['iid', 'dirichlet', 'gamma']\nalpha = [0.1, 0.5]\ngamma = [0.0, 1.0]\n"
    found = [(cell.config["partition"], cell.config["alpha"], cell.config["gamma"]) for cell in read(write(tmp_path, text)).cells]
    expected = [("iid", 0.0, 0.0), ("dirichlet", 0.1, 0.0), ("dirichlet", 0.5, 0.0), ("gamma", 0.0, 0.0), ("gamma", 0.0, 1.0)]
    assert sorted(found) == sorted(expected)


SAME = [
    "[task]\nlr = 0.5\nseed = 3\n[grid]\nattack = ['alie']\nstrategy = ['krum']\nnum-malicious = [2]",
    "[grid]\nnum_malicious = [2]\nstrategy = ['krum']\nattack = [{name = 'ALIE'}]\n[task]\nseed = 3\nlr = 0.5",
    "[sweep]\nprocesses = 7\nname = 'other'\nrounds = 20\nevaluate-every = 1\nengine = 'local'\n"
    "[task]\ndata-root = 'x'\nlr = 0.5\nseed = 3\nattack = 'alie'\n"
    "strategy = 'Krum'\nnum-malicious = 2\nf = 2\nhidden = [64]\nvalidation = 0.1",
]


def test_the_key_depends_on_the_configuration_only(tmp_path):
    keys = {read(write(tmp_path, text)).cells[0].key for text in SAME}
    assert len(keys) == 1
    others = [SAME[0].replace("lr = 0.5", "lr = 0.25"), SAME[0].replace("seed = 3", "seed = 4"), SAME[0].replace("krum", "median")]
    assert len(keys | {read(write(tmp_path, text)).cells[0].key for text in others}) == 4


def test_the_key_is_the_same_in_every_process(tmp_path):
    path = write(tmp_path, SAME[0])
    code = f"from flwr_byzantine.experiments.sweep import read; print(read({str(path)!r}).cells[0].key)"
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == read(path).cells[0].key


def test_configuration_holds_no_paths_and_all_keys_of_the_schema(tmp_path):
    config = read(write(tmp_path, SAME[2])).cells[0].config
    assert "data_root" not in config
    assert set(config) >= {
        *("dataset", "model", "partition", "alpha", "gamma", "num_clients", "method", "optimizer", "local_epochs", "batch_size"),
        *("lr", "momentum", "weight_decay", "strategy", "strategy_options", "attack", "attack_options", "f", "num_malicious"),
        *("rounds", "seed", "engine", "evaluate_every"),
    }


# --- the store ------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_ignored_and_cut_off_before_the_next(tmp_path):
    path = tmp_path / "r.jsonl"
    with Store(path) as store:
        store.append(result("a"))
    with path.open("a") as file:
        file.write('{"key": "b", "config"')
    assert list(Store(path).read()) == ["a"]
    with Store(path) as store:
        store.append(result("c"))
    assert path.read_text() == line_of(result("a")) + line_of(result("c"))


def test_a_whole_last_line_without_its_end_counts(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(line_of(result("a")).strip())
    assert list(Store(path).read()) == ["a"]
    with Store(path) as store:
        store.append(result("b"))
    assert list(Store(path).read()) == ["a", "b"]


def test_every_cut_of_a_file_can_be_gone_on_from(tmp_path):
    path, first, second = tmp_path / "r.jsonl", line_of(result("a")).encode(), line_of(result("b")).encode()
    whole = first + second
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with Store(path) as store:
            before = list(store.read())
            store.append(result("z"))
        assert list(Store(path).read()) == [*before, "z"]
        assert before == ["a", "b"][: (length >= len(first) - 1) + (length >= len(whole) - 1)]


def test_later_lines_replace_earlier_ones(tmp_path):
    with Store(tmp_path / "r.jsonl") as store:
        store.append(result("a", n=1))
        store.append(result("a", n=2))
    assert Store(tmp_path / "r.jsonl").read()["a"].config["n"] == 2


@pytest.mark.parametrize("foreign", ["hello", "[1]", '{"key": "b"}', '{"key": "b", "config": {}}', '{"config": 3}'])
def test_a_foreign_line_is_a_clear_error(tmp_path, foreign):
    path = write(tmp_path, f"{line_of(result('a'))}{foreign}\n{line_of(result('c'))}", "r.jsonl")
    with pytest.raises(InvalidParameter, match="line 2 is no result of a sweep"):
        Store(path).read()


def test_two_sweeps_do_not_write_to_one_file(tmp_path):
    with Store(tmp_path / "r.jsonl"), pytest.raises(InvalidParameter, match="another sweep is writing"), Store(tmp_path / "r.jsonl"):
        pass


# --- running --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The nine cells by one process, and the file."""
    folder = tmp_path_factory.mktemp("tiny")
    sweep = read(write(folder, TINY))
    summary = run(sweep, folder / "one.jsonl", processes=1)
    return sweep, summary, folder / "one.jsonl"


def test_every_cell_is_finished_with_every_measure(tiny):
    sweep, summary, path = tiny
    assert (summary.finished, summary.failed, summary.skipped, summary.left) == (9, [], 0, 0)
    found = Store(path).read()
    assert set(found) == {cell.key for cell in sweep.cells}
    for result in found.values():
        assert result.config == next(cell.config for cell in sweep.cells if cell.key == result.key)
        lengths = {name: len(values) for name, values in result.history.items() if values is not None}
        initial = dict.fromkeys(("accuracy", "loss", "validation_accuracy"), 3)
        assert lengths == initial | dict.fromkeys(("malicious_kept", "malicious_share", "honest_dropped", "kappa_seen"), 2)
        assert set(result.versions) == {"flwr-byzantine", "flwr", "numpy", "torch"}
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
    monkeypatch.setattr(config, "partitions", lambda _task: [])
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


def children():
    """Pids of the sweep's worker processes."""
    import multiprocessing

    return [child.pid for child in multiprocessing.active_children()]


def test_ctrl_c_leaves_what_is_finished_and_no_processes(tmp_path):
    path = write(tmp_path, TINY.replace("rounds = 2", "rounds = 300"))
    target = tmp_path / "r.jsonl"
    with started(path, "--results", target) as process:
        wait_for(lambda: lines(target) >= 1, process)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "run the same command again to go on" in said
    assert 1 <= len(Store(target).read()) < 9
    assert not workers_of(path)


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@contextmanager
def started(*arguments):
    """A sweep in a process of its own, which is not there any more afterwards."""
    command = [sys.executable, "-m", "flwr_byzantine", "sweep", *map(str, arguments), "--processes", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition, process, timeout=240):
    deadline = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers_of(path):
    """Processes that name this file: the sweep itself, were it still there."""
    listing = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if str(path) in line and "ps -ww" not in line]


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


# --- choice ---------------------------------------------------------------------------------------------------

CHOICE = """
[sweep]
name = "c"
[task]
num-clients = 9
num-malicious = 1
[grid]
strategy = ["krum", "median"]
attack = ["none", "alie"]
lr = [0.1, 0.2]
seed = [0, 1]
[choose]
keys = ["lr"]
"""
VALIDATION = {  # for krum 0.1 is better without attack, on average and on the test split, 0.2 in the worst case
    ("krum", "none", 0.1): 0.95,
    ("krum", "alie", 0.1): 0.50,
    ("krum", "none", 0.2): 0.60,
    ("krum", "alie", 0.2): 0.55,
    ("median", "none", 0.1): 0.70,
    ("median", "alie", 0.1): 0.65,
    ("median", "none", 0.2): 0.90,
    ("median", "alie", 0.2): 0.20,
}


def test_hyper_parameters_are_chosen_by_the_worst_case_on_the_validation_split(tmp_path):
    sweep, path = read(write(tmp_path, CHOICE)), tmp_path / "r.jsonl"
    with Store(path) as store:
        for cell in sweep.cells:
            config = cell.config
            value = VALIDATION[config["strategy"], config["attack"], config["lr"]] + (0.02 if config["seed"] else -0.02)
            final = {"accuracy": 1.0 - config["lr"], "validation_accuracy": value}
            store.append(Result(config, cell.key, final=final))
        store.append(Result({**config, "lr": 0.3}, "of another sweep", final={"validation_accuracy": 1.0}))
    console = Console(width=120, record=True)
    show(choice_table(sweep, path), console)
    rows = [re.split(" {2,}", line) for line in console.export_text().splitlines()[2:]]
    assert [(row[0], row[2], row[3]) for row in rows] == [("krum", "0.2", "55.0 %"), ("median", "0.1", "65.0 %")]


def test_the_command_shows_the_choice_at_its_end(tmp_path):
    text = TINY + "lr = [0.05, 0.5]\n[choose]\nkeys = ['lr']\n"
    path = write(tmp_path, text.replace('strategy = ["fedavg", "krum", "nnm+trimmed-mean"]', 'strategy = ["krum"]'))
    console = Console(width=120, record=True)
    assert command(path, tmp_path / "r.jsonl", 1, False, False, console) == 0
    said = console.export_text()
    assert "6 cells finished, 0 failed, 0 skipped" in said
    assert "Chosen on the validation split by the worst case over attacks" in " ".join(said.split())


# --- what only shows at length --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_killed_three_times_ends_as_one_that_was_not(tmp_path):
    grid = "strategy = ['fedavg', 'krum', 'median', 'nnm+krum']\nattack = ['none', 'sign-flip', 'alie', 'ipm', 'zero']\nseed = "
    text = TINY[: TINY.index("strategy =")] + grid + str(list(range(10))) + "\n"
    path = write(tmp_path, text.replace("rounds = 2", "rounds = 1"))
    assert len(read(path).cells) == 200
    target = tmp_path / "killed.jsonl"
    for _ in range(3):
        before = lines(target)
        with started(path, "--results", target) as process:
            wait_for(lambda before=before: lines(target) >= before + 40, process)
        assert process.returncode == -signal.SIGKILL
        assert before + 40 <= lines(target) < 200
    for results_file in (target, tmp_path / "whole.jsonl"):
        with started(path, "--results", results_file) as process:
            said, _ = process.communicate(timeout=400)
        assert "0 failed" in said
        assert process.returncode == 0
    assert len(results(target)) == 200
    assert results(target) == results(tmp_path / "whole.jsonl")


@pytest.mark.slow
def test_workers_end_with_a_sweep_that_is_killed(tmp_path):
    path = write(tmp_path, TINY.replace("rounds = 2", "rounds = 5000"))
    with started(path, "--results", tmp_path / "r.jsonl") as process:
        wait_for(lambda: len(children_of(process.pid)) >= 2, process)
        found = children_of(process.pid)
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in found) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in found)


def children_of(pid):
    listing = subprocess.run(["ps", "-ww", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    rows = [line.split(None, 2) for line in listing]
    return [int(row[0]) for row in rows if int(row[1]) == pid and "spawn_main" in row[2]]


def alive(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


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


def test_the_page_on_sweeps_names_every_key_and_the_example_is_one(tmp_path):
    page = (ROOT / "simulations" / "sweeps" / "README.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name.strip(" `") for row in rows for name in row.split(",")}
    assert named == {shown(key) for key in CELL} | {"data-root", "[sweep]", "[task]", "[grid]", "[[exclude]]", "[choose]"}
    example = read(ROOT / "simulations" / "sweeps" / "digits.toml")
    assert (len(example.cells), example.choose) == (30, ("lr",))
