"""Honest updates for the tests of attacks."""

import numpy as np


def honest(h=9, d=30, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(1.0, 2.0, size=(h, d)).astype(dtype)
