"""A sweep's file: mistakes in it."""

import subprocess
import sys

import pytest

from flwr_byzantine import InvalidParameter
from flwr_byzantine.experiments.sweep import read
from tests.support.sweeps import ROOT, TINY, write

BAD = {
    "not TOML": ("[grid", "this is not TOML: "),
    "unknown table": (
        "[tasks]\nlr = 0.1",
        "unknown table 'tasks'; did you mean 'task'? choose one of: app, choose, exclude, grid, sweep, task",
    ),
    "a value where a table is wanted": ("task = 3", "task must be a table, written [task], got 3"),
    "unknown key": (
        "[task]\nlearning-rate = 0.1",
        "unknown key in [task] 'learning-rate'; choose one of: alpha, attack, attack-from, attackers",
    ),
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
    "unknown option as it is written": ("[task]\nattack = {name = 'alie', z-max = 1}", "unknown option of 'alie' 'z-max'; "),
    "bad option as it is written": (
        "[task]\nstrategy = {name = 'auto-gm', max-iter = 0}",
        "[task] strategy: AutoGM: max-iter must be an integer >= 1, got 0",
    ),
    "bad option of an attack": (
        "[task]\nattack = {name = 'ipm', epsilon = -1.0}",
        "[task] attack: IPM: epsilon must be a number > 0, got -1.0",
    ),
    "options of no attack": ("[task]\nattack = {name = 'none', z = 1}", "[task] attack: 'none' has no options, got 'z'"),
    "a strategy that is no name": ("[grid]\nstrategy = [3]", "[grid] strategy must be a name or a table such as"),
    "unknown dataset": (
        "[task]\ndataset = 'mist'",
        "[task] dataset: unknown dataset 'mist'; did you mean 'mnist'? choose one of: cifar-10, ",
    ),
    "unknown partition": (
        "[grid]\npartition = ['shards']",
        "[grid] partition: unknown partition 'shards'; did you mean 'shard'? choose one of: continuous, ",
    ),
    "wrong type": ("[task]\nlr = '0.1'", "[task] lr must be a number > 0, got '0.1'"),
    "not whole": ("[task]\nnum-clients = 2.5", "[task] num-clients must be an integer >= 1, got 2.5"),
    "out of range": ("[grid]\nmomentum = [0.9, 1.0]", "[grid] momentum must be a number >= 0 and < 1, got 1.0"),
    "bad hidden": ("[task]\nhidden = [0]", "[task] hidden must be a list of integers >= 1, got [0]"),
    "no list": ("[grid]\nlr = 0.1", "[grid] lr must be a list of one value or more, got 0.1"),
    "empty list": ("[grid]\nlr = []", "[grid] lr must be a list of one value or more, got []"),
    "twice": ("[task]\nlr = 0.1\n[grid]\nlr = [0.2]", "[grid] lr is given in [task] or [sweep] too; give it once"),
    "twice in general": ("[sweep]\nrounds = 3\n[task]\nrounds = 4", "[task] rounds is given in [sweep] too; give it once"),
    "refresh on arrays": (
        "[task]\nmethod = 'byzantine-sgd'\nrefresh = 0.5\nlr = 0.1",
        'refresh is not in the engine "batched", which makes one gradient a client; set engine = "local"',
    ),
    "no data for the server's update": (
        "[task]\nstrategy = 'fltrust'\nvalidation = 0.0",
        "strategy 'fltrust' asks for data of the server's own, and validation = 0 leaves it none; set validation, say to 0.1",
    ),
    "no data for the server's loss": (
        "[task]\nstrategy = 'zeno+mean'\nvalidation = 0.0",
        "strategy 'zeno+mean' asks for data of the server's own",
    ),
    "unknown engine": ("[sweep]\nengine = 'dask'", "[sweep] engine must be one of 'local', 'batched', 'ray', got 'dask'"),
    "never evaluated": ("[sweep]\nevaluate-every = 0", "[sweep] evaluate-every must be an integer >= 1, got 0"),
    "evaluated after half rounds": ("[grid]\nevaluate-every = [1, 2.5]", "[grid] evaluate-every must be an integer >= 1, got 2.5"),
    "no processes": ("[sweep]\nprocesses = 0", "[sweep] processes must be an integer >= 1, got 0"),
    "impossible f": (
        "[task]\nnum-clients = 10\nnum-malicious = 4\n[grid]\nstrategy = ['fedavg', 'krum']",
        "the cell with strategy = 'krum': strategy 'krum' with f = 4 needs at least 11 clients, got num-clients = 10; lower f, ",
    ),
    "too many malicious": ("[task]\nnum-clients = 4\n[grid]\nnum-malicious = [4]", "num-malicious must be an integer >= 0 and < 4, got 4"),
    "more clients than there are": (
        "[grid]\nclients-per-round = [10, 21]",
        "the cell with clients-per-round = 21: task: clients-per-round must be at most num-clients = 20, got 21",
    ),
    "a share above one": (
        "[task]\nclients-per-round = 1.5",
        "[task] clients-per-round must be an integer >= 1 or a number > 0 and <= 1 or 'all', got 1.5",
    ),
    "a rule that needs more than a round has": (
        "[task]\nnum-malicious = 4\nclients-per-round = 10\nstrategy = 'krum'",
        "strategy 'krum' with f = 4 needs at least 11 clients, got clients-per-round = 10; lower f, say to a share such as 0.2, ",
    ),
    "half of them Byzantine": (
        "[task]\nf = 0.5",
        "[task] f must be an integer >= 0 or a number >= 0 and < 0.5 or one of 'plan', 'auto', got 0.5",
    ),
    "a plan that cannot be": (
        "[task]\nnum-clients = 100\nnum-malicious = 20\nclients-per-round = 10\nstrategy = 'krum'\nf = 'plan'",
        "f = 'plan': 20 bad nodes can put 6 into a sample of 10, for which Krum(f=6) needs 15; a sample of 10 withstands f = 3 at most: "
        "accept a larger plan-failure, fewer rounds, or a rule with a weaker condition",
    ),
    "redrawn attackers leave none honest": (
        "[task]\nnum-malicious = 5\nclients-per-round = 0.25\nattackers = 'redrawn'",
        "attackers = 'redrawn' draws num-malicious = 5 attackers among 5 clients of a round, and leaves none honest; lower num-malicious",
    ),
    "redrawn attackers without data": (
        "[task]\nnum-malicious = 1\nshares = 'honest'\nattackers = 'redrawn'",
        "shares = 'honest' needs attackers = 'fixed'",
    ),
    "redrawn attackers with data of their own": (
        "[task]\nnum-malicious = 1\nattackers-data = 'iid'\nattackers = 'redrawn'",
        "attackers-data and attackers-momentum need attackers = 'fixed'; redrawn ones are honest at times",
    ),
    "a target that a round need not have": (
        "[task]\nnum-malicious = 4\nclients-per-round = 6\nattack = {name = 'mimic', target = 3}",
        "attack 'mimic': Mimic: target must be below the number of honest updates, 3, got 3",
    ),
    "bad milestones": ("[grid]\nmilestones = [[10, 0]]", "[grid] milestones must be a list of integers >= 1, got [10, 0]"),
    "two rates of the server": ("[task]\nmethod = 'byzantine-sgd'\nserver-lr = 0.5", "server-lr is of 'local-sgd', got 0.5; under "),
    "momentum of adam": ("[task]\noptimizer = 'adam'\nmomentum = 0.9", "momentum is of 'sgd' only"),
    "nothing excluded": ("[grid]\nlr = [0.1]\n[[exclude]]\nlr = 0.3", "[[exclude]] 1 leaves out no cell; check its values"),
    "all excluded": ("[grid]\nlr = [0.1]\n[[exclude]]\nlr = 0.1", "every cell is left out by [[exclude]]"),
    "unknown key excluded": ("[[exclude]]\nlrr = 0.1", "unknown key in [[exclude]] 1 'lrr'; did you mean 'lr'?"),
    "empty exclude": ("[[exclude]]", "[[exclude]] 1 must name one key or more"),
    "unknown choice": (
        "[task]\nnum-malicious = 1\n[grid]\nlr = [0.1, 0.2]\nattack = ['none', 'ipm']\n[choose]\nkeys = ['attack']",
        "[choose] keys: unknown hyper-parameter with several values in [grid] 'attack'; choose one of: lr",
    ),
    "nothing to choose among": ("[choose]\nkeys = ['lr']", "[choose] keys needs a hyper-parameter with several values in [grid], got none"),
    "choice without a split": (
        "[task]\nvalidation = 0.0\n[grid]\nlr = [0.1, 0.2]\n[choose]\nkeys = ['lr']",
        "[choose] needs a validation split to choose on, got validation = 0",
    ),
    "a key in both spellings": ("[task]\nnum_clients = 5\nnum-clients = 6", "[task] gives num-clients twice, as num_clients too"),
    "infinity": ("[grid]\nlr = [0.1, inf]", "[grid] lr must be finite, got inf"),
    "infinity in options": ("[task]\nattack = {name = 'gaussian', std = inf}", "[task] attack std must be finite, got inf"),
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
