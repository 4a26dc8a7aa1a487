"""A core that runs rounds whose replies it keeps, and the files of these rounds."""

from types import SimpleNamespace

import numpy as np

from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.strategy.core import Core
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.steps import Replace

N = 11
BASE = {
    "w": np.linspace(-1, 1, 3000, dtype=np.float32).reshape(30, 100),
    "n": np.array(3),
    "m": np.array([1.0, -np.inf, 2.0]),
    "bn.running_mean": np.zeros(7, np.float32),
}


def model(server_round, node):
    rng = np.random.default_rng([server_round, node])
    return {
        name: value if value.dtype.kind == "i" else (value + rng.normal(size=value.shape)).astype(value.dtype)
        for name, value in BASE.items()
    }


def ran(rule, folder, rounds=1, step=None, order=None, **policy):
    """A core that ran some rounds whose replies it kept."""
    policy = {"reproducible": True, "replies_path": folder, "report_path": folder / "rounds.jsonl", **policy}
    core = Core(Policy(**policy), lambda n: rule, step or Replace(), lambda *line: None, SimpleNamespace)
    for number in range(1, rounds + 1):
        core.begin(BASE, BASE)
        answers = [Reply(node, model(number, node), {}, 10 * node, source=object()) for node in range(1, N + 1)]
        for reply in (answers := [answers[i] for i in order or range(N)]):
            core.arrived(reply)
        combined = core.round(number, answers)
        core.finish(combined, combined.arrays)
    return core


def files(folder):
    return sorted(folder.glob("*.round"))
