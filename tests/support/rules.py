"""One instance of every rule that `available()` discovers, data for them, and how to call those that need a reference."""

import numpy as np

from flwr_byzantine import rules

F = 2


def instances():
    for cls in rules.available():
        rule = cls(f=F) if "f" in cls.__dataclass_fields__ else cls()
        if cls is rules.FLAME:
            yield rules.FLAME(f=F, noise=0.0)
        elif cls is rules.CRFL:
            yield rules.CRFL(f=F, noise=0.0)
        elif isinstance(rule, rules.PreAggregation):
            yield rules.chain(rule, rules.TrimmedMean(f=F))
            yield rules.chain(rule, rules.Krum(f=F))
        else:
            yield rule
    yield rules.MultiKrum(f=F, m=3, iterated=True)


RULES = list(instances())
ROBUST = [rule for rule in RULES if all(stage.robust for stage in rule.stages())]


def stated(rule, name):
    """Whether every part of the rule declares the property."""
    return all(getattr(stage, name) for stage in rule.stages())


def trusted(rule, X):
    """The keyword argument of rules that trust a reference: the middle of the rows."""
    if not any("trusted" in stage.anchors for stage in rule.stages()):
        return {}
    rows = np.array([np.asarray(row, np.float64) for row in X])
    return {"trusted": np.median(rows[np.isfinite(rows).all(1)], axis=0) + 0.1}


def call(rule, X, **keywords):
    return rule(X, **(keywords or trusted(rule, X)))


def answer(rule, X):
    return rule.aggregate(X, **trusted(rule, X))


def data(n=13, d=40, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)
