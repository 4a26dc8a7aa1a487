"""Rules with a known κ, and honest rows beside colluders."""

import numpy as np
import pytest

from flwr_byzantine import rules

N, F = 11, 2
BOUNDED = [
    rules.Krum(f=F),
    rules.MultiKrum(f=F),
    rules.Median(f=F),
    rules.GeometricMedian(f=F),
    rules.TrimmedMean(f=F),
    rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F)),
    rules.chain(rules.NNM(f=F), rules.Median(f=F)),
    rules.chain(rules.NNM(f=F), rules.Krum(f=F)),
]
bounded = pytest.mark.parametrize("rule", BOUNDED, ids=str)


def honest_and_colluders(rng, d, sigma, g, attack):
    H = g + sigma * rng.normal(size=(N - F, d))
    return np.vstack([H, attack(H, F)])
