"""What the theory's functions and records may be given: each argument at its edges and just beyond; records are frozen."""

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from flwr_byzantine import InvalidParameter, rules, theory
from flwr_byzantine.theory import Problem
from flwr_byzantine.theory.certificate import certify, estimate

PROBLEM = Problem(L=0.5, gap=0.3, A=0.1, B=1.5, C=0.4, s=0.5, c_F=2.5)
RANGES = {  # of each function or record: arguments that are fine, and for each of them edges that are, and values that are not
    Problem: (
        {"L": 1.0, "gap": 1.0},
        {name: ([0.0], [-0.1]) for name in ("gap", "A", "B", "C")}
        | {"L": ([1e-9], [0.0]), "s": ([1e-9, 1.0], [0.0, 1.1]), "c_F": ([1.0], [0.9])},
    ),
    theory.step_size: ({"problem": PROBLEM, "K": 1}, {"K": ([1], [0, 0.5])}),
    theory.convergence_bound: ({"problem": PROBLEM, "K": 1, "gamma": 1e-3}, {"K": ([1], [0]), "gamma": ([1e-9], [0.0])}),
    theory.basin_bound: (
        {"L": 1.0, "gap": 1.0, "kappa": 0.1, "h": 3, "noise": 1.0, "K": 5, "gamma": 0.1},
        {name: ([0.0], [-0.1]) for name in ("gap", "kappa", "noise", "spread")}
        | {"L": ([1e-9], [0.0]), "gamma": ([0.25], [0.0, 0.2501]), "K": ([1], [0]), "h": ([1], [0])},
    ),
    theory.sin_alpha: (
        {"rule": rules.TrimmedMean(f=1), "n": 5, "f": 1, "d": 2, "sigma": 0.1, "grad_norm": 1.0},
        {"d": ([1], [0]), "sigma": ([0.0], [-0.1]), "grad_norm": ([1e-9], [0.0]), "route": (["kappa"], ["other"])},
    ),
    theory.required_batch_size: (
        {"rule": rules.TrimmedMean(f=1), "n": 5, "f": 1, "d": 2, "sigma": 0.1, "grad_norm": 1.0},
        {"margin": ([1e-9, 0.999], [0.0, 1.0])},
    ),
    theory.heterogeneity_floor: ({"rule": rules.TrimmedMean(f=1), "n": 5, "f": 1, "spread": 1.0}, {"spread": ([0.0], [-0.1])}),
    theory.momentum_variance_factor: ({}, {"beta": ([0.0, 0.999], [-0.1, 1.0])}),
    theory.plan_sampling: (
        {"num_nodes": 10, "num_malicious": 2},
        {
            "num_malicious": ([0, 10], [-1, 11]),
            "sample_size": ([1, 10, None], [0, 11]),
            "rounds": ([1], [0]),
            "epsilon": ([1e-9, 0.999], [0.0, 1.0]),
        },
    ),
    theory.empirical_kappa: (
        {"rule": rules.Median(f=1), "n": 3, "d": 1, "starts": 1, "steps": 1},
        {"d": ([1], [0]), "starts": ([1], [0]), "steps": ([1], [0]), "f": ([0, 1], [-1, 2])},
    ),
    theory.estimate: (
        {"D": 1.0 - np.eye(5), "f": 1, "kappa": 0.5, "norm": 1.0},
        {"kappa": ([0.0], [-0.1]), "norm": ([0.0], [-0.1]), "slack": ([1.0], [0.9]), "f": ([0, 2], [-1, 3])},
    ),
    theory.Constant: ({}, {"gamma": ([1e-9], [0.0])}),
    theory.Decay: (
        {"gamma": 1.0},
        {
            "gamma": ([1e-9], [0.0]),
            "factor": ([1e-9, 1.0], [0.0, 1.1]),
            "power": ([0.0, 1.0], [-0.1, 1.1]),
            "warm_up": ([0], [-1]),
            "milestones": ([(), (1,)], [(0,), (2, 0.5)]),
        },
    ),
    theory.InverseRoot: ({"gamma": 1.0}, {"K": ([1], [0])}),
    theory.Polynomial: ({"gamma": 1.0}, {"p": ([0.501, 1.0], [0.5, 1.01]), "gamma": ([1e-9], [0.0])}),
}


@pytest.mark.parametrize("call", RANGES, ids=lambda call: call.__name__)
def test_arguments_are_refused_just_beyond_their_range_and_not_before(call):
    fine, edges = RANGES[call]
    for name, (taken, refused) in edges.items():
        for value in taken:
            assert call(**{**fine, name: value}) is not None
        for value in refused:
            with pytest.raises(InvalidParameter, match=f"{name} (must be|= )"):
                call(**{**fine, name: value})


def test_a_problem_without_constants_is_plain_gradient_descent():
    assert {item.name: item.default for item in fields(Problem)[2:]} == {"A": 0.0, "B": 1.0, "C": 0.0, "s": 1.0, "c_F": 1.0}


RECORDS = [
    PROBLEM,
    theory.Bound(1.0, 2.0),
    theory.Resilience(0.5, 0.5),
    theory.plan_sampling(10, 2),
    theory.Polynomial(1.0),
    theory.KappaRow("Krum", None, 0.1, 0.2),
    estimate(1.0 - np.eye(5), 1, 0.5, 1.0),
    certify(rules.TrimmedMean(f=1), 1.0 - np.eye(5), 1.0),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_what_theory_returns_is_frozen(record):
    for item in fields(record):
        with pytest.raises(FrozenInstanceError):
            setattr(record, item.name, None)
    assert replace(record) == record
