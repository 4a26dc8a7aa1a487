"""What a tree of aggregators withstands: leaves that aggregate their own nodes, and a root that aggregates the leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.rules import Rule
from flwr_byzantine.theory.sampling import log_choose


@dataclass(frozen=True)
class AggregatorTree:
    """Leaves of m nodes each, all with one rule, and a root with a rule over what they answer. More levels: trees of trees.

    Write f1, κ1 for the leaves' rule and f2, κ2 for the root's. A leaf is good where f1 of its nodes at most are malicious. Let f2 leaves
    at most be bad, whoever sits in them: then t = (m - f1)(leaves - f2) honest rows S, as many of each good leaf, have

        ‖F - x̄_S‖ ≤ √(κ1 (1 + κ2) W) + √(κ2 B) ≤ √((1 + κ1)(1 + κ2) - 1) σ_S,

    W the mean variance within their leaves, B that between these, W + B = σ_S². Proof: a good leaf is off its rows' mean by e with
    ‖e‖² ≤ κ1 times their variance. The root is off the mean of the good leaves by √κ2 times their spread, which is
    √B + √(E‖e‖² - ‖E e‖²) at most, and that mean is off x̄_S by E e; of ‖E e‖ + √κ2 √(E‖e‖² - ‖E e‖²) the most is √(1 + κ2) √E‖e‖².
    The second step is Cauchy and Schwarz's. S is a part of the h honest rows, so that for these (the first fact on parts, in the page on
    theory) 1 + κ = (h/t)(1 + κ1)(1 + κ2).

    Args:
        leaf: the rule of each leaf.
        m: nodes of a leaf.
        root: the rule over leaves.
        leaves: how many there are.

    Source: derived here.

    Example:
        >>> from flwr_byzantine import rules
        >>> tree = AggregatorTree(rules.TrimmedMean(f=30), 100, rules.TrimmedMean(f=10), 100)
        >>> tree.n, tree.f, round(tree.kappa(), 3), round(tree.kappa(2000), 3)
        (10000, 340, 2.019, 1.5)
        >>> f"{tree.failure(2000):.0e}"
        '1e-13'
    """

    leaf: Rule
    m: int
    root: Rule
    leaves: int

    def __post_init__(self) -> None:
        """Check the sizes."""
        check("AggregatorTree", "m", self.m, Constraint(int, ge=self.leaf.min_n()))
        check("AggregatorTree", "leaves", self.leaves, Constraint(int, ge=self.root.min_n()))

    @property
    def n(self) -> int:
        """Nodes of all leaves."""
        return self.m * self.leaves

    @property
    def f(self) -> int:
        """The most malicious nodes that it withstands wherever they sit: one more can make f2 + 1 leaves bad."""
        return (self.leaf.f + 1) * (self.root.f + 1) - 1

    def kappa(self, num_malicious: int | None = None) -> float | None:
        """κ against so many malicious nodes, where f2 leaves at most are bad; None where a rule's own is not known.

        Args:
            num_malicious: how many there are; `f` by default, against which it holds however they are assigned.
        """
        bad, kept = self.f if num_malicious is None else num_malicious, (self.m - self.leaf.f) * (self.leaves - self.root.f)
        check("AggregatorTree", "num_malicious", bad, Constraint(int, ge=0, le=self.n - kept))
        leaf, root = self.leaf.kappa(self.m), self.root.kappa(self.leaves)
        return None if leaf is None or root is None else (self.n - bad) / kept * (1 + leaf) * (1 + root) - 1

    def failure(self, num_malicious: int) -> float:
        """Probability that more than f2 leaves are bad, where nodes are assigned to leaves at random.

        Exact: of all ways to choose the malicious nodes' places, those that leave so many leaves bad, leaf by leaf.
        """
        check("AggregatorTree", "num_malicious", num_malicious, Constraint(int, ge=0, le=self.n))
        share = (num_malicious + 0.5) / (self.n + 1)
        each, total = _shares(self.m, share), _shares(self.n, share)[num_malicious]
        good, bad = (np.where((np.arange(self.m + 1) > self.leaf.f) == is_bad, each, 0.0) for is_bad in (False, True))
        ways = [np.ones(1), *[np.zeros(1)] * (self.root.f + 1)]  # by bad leaves so far, the last for all that are too many
        for _ in range(self.leaves):
            over = np.convolve(ways[-1], bad)
            before = [np.zeros_like(ways[0]), *ways]
            ways = [np.convolve(now, good) + np.convolve(less, bad) for now, less in zip(ways, before, strict=False)]
            ways[-1] = ways[-1] + over
        return min(1.0, float(ways[-1][num_malicious] / total))


def _shares(n: int, share: float) -> Array:
    """Probabilities of 0 to n among n, each with this probability."""
    k = np.arange(n + 1)
    return np.asarray(np.exp(log_choose(n, k) + k * np.log(share) + (n - k) * np.log1p(-share)))
