"""Which f to declare, and how many clients to sample, so that the sample's bad clients exceed f with small probability."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.rules import Rule, TrimmedMean


def failure_probability(num_nodes: int, num_malicious: int, sample_size: int, f: int, rounds: int = 1) -> float:
    """Probability that in at least one of the rounds more than f of the sampled nodes are malicious.

    1 - (1 - P(X > f))^T with X hypergeometric; exact, rounds independent.

    Example:
        >>> round(failure_probability(100, 10, 10, f=1), 2)
        0.26
    """
    single = _tail(num_nodes, num_malicious, sample_size, f)
    return -math.expm1(rounds * math.log1p(-single)) if single < 1 else 1.0


def _tail(num_nodes: int, num_malicious: int, sample_size: int, f: int) -> float:
    """P(X > f) of the number X of malicious nodes in a sample."""
    honest, least = num_nodes - num_malicious, max(0, sample_size - num_nodes + num_malicious)
    if f < least:
        return 1.0
    k = np.arange(f + 1, min(num_malicious, sample_size) + 1)
    ways = log_choose(num_malicious, k) + log_choose(honest, sample_size - k) - log_choose(num_nodes, np.array(sample_size))
    return min(1.0, float(np.exp(ways).sum()))


def log_choose(n: int, k: Array) -> Array:
    """Logarithms of the binomial coefficients n over each k."""
    table = _log_factorials(n)
    return np.asarray(table[n] - table[k] - table[n - k])


@lru_cache(maxsize=8)
def _log_factorials(n: int) -> Array:
    """Logarithms of 0! to n!."""
    return np.array([math.lgamma(i + 1) for i in range(n + 1)])


@dataclass(frozen=True)
class SamplingPlan:
    """What to declare and to sample, or why that is impossible.

    Attributes:
        feasible: whether the rule's condition holds for f at this sample size.
        sample_size: nodes to sample a round.
        f: number to declare.
        min_n: what the rule needs for this f.
        failure: probability that more than f are bad in some round.
        reason: one sentence.
    """

    feasible: bool
    sample_size: int
    f: int
    min_n: int
    failure: float
    reason: str


def smallest_f(num_nodes: int, num_malicious: int, sample_size: int, rounds: int, epsilon: float) -> int:
    """The smallest f that is exceeded in some round with probability `epsilon` at most.

    Example:
        >>> smallest_f(100, 10, 10, rounds=1, epsilon=0.01)
        3
    """
    for f in range(min(sample_size, num_malicious) + 1):
        if failure_probability(num_nodes, num_malicious, sample_size, f, rounds) <= epsilon:
            return f
    return min(sample_size, num_malicious)


def plan_sampling(
    num_nodes: int,
    num_malicious: int,
    sample_size: int | None = None,
    rounds: int = 1,
    epsilon: float = 0.01,
    rule: Rule | None = None,
) -> SamplingPlan:
    """The f to declare for a sample size, or the smallest sample size at which the rule withstands the f that it then needs.

    Args:
        num_nodes: nodes in the federation.
        num_malicious: bad ones among them.
        sample_size: nodes sampled a round without replacement; None finds the smallest that works.
        rounds: number of rounds of the run.
        epsilon: acceptable probability that some round has more than f bad nodes.
        rule: whose condition on n counts (its f is replaced); the trimmed mean's, n >= 2f + 1, by default.

    Returns:
        A plan; where the demand is impossible, `feasible` is False and `reason` says why and what would be possible.

    Source: exact hypergeometric computation (derived here); the effect of sampling: Allouah et al., ICML 2024.

    Example:
        >>> plan = plan_sampling(100, 10, sample_size=10, rounds=1, epsilon=0.01)
        >>> plan.f, plan.feasible
        (3, True)
    """
    check("plan_sampling", "num_nodes", num_nodes, Constraint(int, ge=1))
    check("plan_sampling", "num_malicious", num_malicious, Constraint(int, ge=0, le=num_nodes))
    check("plan_sampling", "sample_size", sample_size, Constraint(int, ge=1, le=num_nodes, optional=True))
    check("plan_sampling", "rounds", rounds, Constraint(int, ge=1))
    check("plan_sampling", "epsilon", epsilon, Constraint(float, gt=0, lt=1))
    chosen = TrimmedMean(f=0) if rule is None else rule
    if sample_size is not None:
        return _at(num_nodes, num_malicious, sample_size, rounds, epsilon, chosen)
    plans = (_at(num_nodes, num_malicious, size, rounds, epsilon, chosen) for size in range(1, num_nodes + 1))
    last = None
    for last in plans:
        if last.feasible and (last.f >= 1 or num_malicious == 0):
            return last
    assert last is not None
    return last


def _at(num_nodes: int, num_malicious: int, size: int, rounds: int, epsilon: float, rule: Rule) -> SamplingPlan:
    f = smallest_f(num_nodes, num_malicious, size, rounds, epsilon)
    needed = rule.with_f(f).min_n()
    failure = failure_probability(num_nodes, num_malicious, size, f, rounds)
    feasible = rule.takes(f, size) and (f == 0 or rule.robust)
    return SamplingPlan(feasible, size, f, needed, failure, _reason(feasible, size, f, needed, num_malicious, rule))


def _reason(feasible: bool, size: int, f: int, needed: int, bad: int, rule: Rule) -> str:
    name = str(rule.with_f(f))
    if feasible:
        return f"with {size} nodes a round, declare f = {f}: {name} needs {needed}"
    if not rule.robust:
        return f"{bad} bad nodes can put {f} into a sample of {size}, and {name} withstands none: take a robust rule"
    most, asks = max(0, rule.breakdown(size)), f"needs {needed}" if size < needed else "takes too long"
    return (
        f"{bad} bad nodes can put {f} into a sample of {size}, for which {name} {asks}; "
        f"a sample of {size} withstands f = {most} at most: accept a larger epsilon, fewer rounds, or a rule with a weaker condition"
    )
