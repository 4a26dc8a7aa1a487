"""A federation for detectors, whose clients come and go, and what each detector needs beside its rows."""

from __future__ import annotations

import numpy as np

from flwr_byzantine import rules
from flwr_byzantine.rules.results import State

D, LAYOUT = 12, {"w": (3, 3), "b": (3,)}


def brought(detector, d=D):
    given = {"trusted": np.linspace(0.5, 1.0, d)} if "trusted" in detector.anchors else {}
    if isinstance(detector, rules.Zeno):
        given["loss"] = lambda delta: float(((delta - 1.0) ** 2).sum())
    if isinstance(detector, rules.DeepSight):
        given |= {"layout": LAYOUT if d == D else {"w": (d, 1)}, "predict": predictions}
    return given


def predictions(delta):
    """Softmax outputs of a linear model moved by a delta, on seven inputs."""
    inputs = np.random.default_rng(3).normal(size=(7, 3))
    moved = np.resize(delta, D)
    logits = np.clip(inputs @ (0.1 * moved[:9].reshape(3, 3).T) + moved[9:], -50, 50)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def federation(rounds=9, clients=11, present=8, seed=0, liars=2):
    """Each round's rows and nodes: clients of one direction and noise of their own, who come and go; the first ones lie."""
    rng = np.random.default_rng(seed)
    own = 0.3 * rng.normal(size=(clients, D))
    for t in range(rounds):
        nodes = np.sort(rng.permutation(clients)[:present]) if t % 3 else np.arange(clients)
        rows = 1.0 / (1 + 0.1 * t) + own[nodes] + 0.1 * rng.normal(size=(len(nodes), D))
        rows[nodes < liars] *= -2.0 * rng.random(((nodes < liars).sum(), 1))
        yield nodes, rows


def history(detector, rounds):
    """Aggregate, detection and state after each round of a chain with the mean."""
    rule, state = rules.chain(detector, rules.Mean()), State()
    for nodes, rows in rounds:
        found, state = rule._run(rows, state, nodes, brought(detector, rows.shape[1]))
        yield found, state
