"""Rows of any size that f clients may send, and how far an aggregate is from the honest ones, in units of their spread."""

import numpy as np

from flwr_byzantine import rules
from tests.support.rules import trusted

N, D = 13, 40
ORDINARY = (1.0, 3.0, 10.0, 100.0, 1e3, 1e4, 1e6)  # sizes, in units of the spread, that no arithmetic finds hard
HUGE = {
    "float64": (1e8, 1e16, 1e38, 1e77, 1e120, 1e154, 1e200, 1e300, 1.79e308),
    "float32": (1e8, 1e16, 1e19, 1e30, 3.4e38),
    "float16": (1e3, 6.5e4),
}
OPTIONS = {"FLAME": {"noise": 0.0}, "CRFL": {"noise": 0.0}, "MoNNA": {"trusted": None}}  # without randomness; trusting no client
FIRST = ("nnm", "arc", "clipping", "bucketing", "foundation-fl", "arc+nnm", "bucketing+nnm")
NEAREST = ("trimmed-mean", "median", "meamed", "krum", "multi-krum", "geometric-median", "mda", "cge")
LAST = (*NEAREST, "caf", "smea", "dnc", "centered-clipping", "fltrust")
CHAINS = [f"{first}+{last}" for first in FIRST for last in LAST]


def direction(seed=3, d=D):
    """(d,) a direction whose largest entry is 1."""
    found = np.random.default_rng(seed).normal(size=d)
    return found / np.abs(found).max()


def same(f, size):
    return np.tile(size * direction(), (f, 1))


def opposite(f, size):
    return same(f, size) * np.where(np.arange(f) % 2, -1.0, 1.0)[:, None]


def one_coordinate(f, size):
    rows = np.random.default_rng(5).normal(size=(f, D))
    rows[:, 7] = size
    return rows


def apart(f, size):
    return np.stack([size * direction(10 + i) for i in range(f)])


def of_many_sizes(f, size):
    return np.stack([size ** ((i + 1) / f) * direction() for i in range(f)])


def signs(f, size):
    return np.tile(size * np.where(np.arange(D) % 2, -1.0, 1.0), (f, 1))


def one_and_copies(f, size):
    rows = np.tile(0.5 * direction(4), (f, 1))
    rows[0] = size * direction()
    return rows


PATTERNS = {pattern.__name__: pattern for pattern in (same, opposite, one_coordinate, apart, of_many_sizes, signs, one_and_copies)}


def honest(f, seed=0):
    return 0.5 + np.random.default_rng(seed).normal(size=(N - f, D))


def mixed(good, bad, place):
    """The hostile rows before, amid or after the honest ones."""
    at = {"first": 0, "amid": len(good) // 2, "last": len(good)}[place]
    return np.concatenate([good[:at], bad, good[at:]])


def off(value, good):
    """Distance to the honest mean, over the root mean square of the honest rows' own; in numbers that cannot overflow."""
    good = np.asarray(good, np.longdouble)
    middle = good.mean(axis=0)
    spread = np.sqrt(((good - middle) ** 2).sum(axis=1).mean())
    return float(np.sqrt(((np.asarray(value, np.longdouble) - middle) ** 2).sum()) / spread)


def catalogue(chains):
    """Every rule and these chains, at f = 1 and at the most that they can withstand of 13."""
    names = [rule.__name__ for rule in rules.available() if not issubclass(rule, rules.PreAggregation)]
    for name in [*names, *chains]:
        one = rules.parse(name, f=1, **OPTIONS.get(name, {}))
        for f in sorted({1, max(one.breakdown(N), 1)}):
            yield one.with_f(f)
    yield rules.MultiKrum(f=2, m=3, iterated=True)
    yield rules.CenteredClipping(f=3, max_iter=5)


def withstands(rule):
    """Whether every part of the rule withstands hostile rows."""
    return all(stage.robust for stage in rule.stages())


def keywords(rule, X):
    """The server's own update for rules that trust one: within the honest rows, whatever the others send."""
    return {"trusted": np.median(X, axis=0) + 0.1} if trusted(rule, X[:1] * 0) else {}


def result(rule, X):
    return rule(X, **keywords(rule, X))
