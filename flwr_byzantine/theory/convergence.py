"""Convergence of Byzantine-resilient SGD to a stationary point in expectation, for a nonconvex objective.

Assumptions, throughout: Q is L-smooth and bounded below by Q_inf; E‖G(w)‖² <= 2A(Q(w) - Q_inf) + B‖∇Q(w)‖² + C (Khaled and
Richtárik's ABC model); the rule keeps ⟨E F, ∇Q⟩ >= s‖∇Q‖² with s = 1 - sin α along the run; and E‖F‖² <= c_F E‖G‖².
The constants are derived here from the descent lemma.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter


@dataclass(frozen=True)
class Problem:
    """Constants of the objective, the noise and the rule.

    Attributes:
        L: smoothness, above 0.
        gap: Q(w_0) - Q_inf.
        A, B, C: of the noise model, for one honest gradient.
        s: 1 - sin α, in (0, 1].
        c_F: second-moment constant of the rule, at least 1 (`second_moment_constant`).

    Example:
        >>> Problem(L=1.0, gap=1.0, B=1.0, C=0.1, s=0.5, c_F=2.0).B * 2
        2.0
    """

    L: float
    gap: float
    A: float = 0.0
    B: float = 1.0
    C: float = 0.0
    s: float = 1.0
    c_F: float = 1.0

    def __post_init__(self) -> None:
        """Check that each constant is within its range."""
        check("Problem", "L", self.L, Constraint(float, gt=0))
        check("Problem", "s", self.s, Constraint(float, gt=0, le=1))
        check("Problem", "c_F", self.c_F, Constraint(float, ge=1))
        for name in ("gap", "A", "B", "C"):
            check("Problem", name, getattr(self, name), Constraint(float, ge=0))


@dataclass(frozen=True)
class Bound:
    """A bound on min_{k<K} E‖∇Q(w_k)‖², by its terms.

    Attributes:
        initial: 2 (1 + L A' γ²)^K δ_0 / (γ s K): forgets the start, falls with K.
        noise: L C' γ / s: the floor at this step size.
        bias: what remains at any step size and K, where the rule's error does not shrink with the gradient; 0 where (i) holds.
    """

    initial: float
    noise: float
    bias: float = 0.0

    @property
    def total(self) -> float:
        """Their sum."""
        return self.initial + self.noise + self.bias


def admissible_step(problem: Problem) -> float:
    """The largest constant step for which the bound holds: s / (L B') with B' = c_F B; infinite where B = 0.

    Source: derived here (the ‖∇Q‖² terms of the descent lemma must not exceed half of the decrease).

    Example:
        >>> admissible_step(Problem(L=2.0, gap=1.0, B=1.0, s=0.5, c_F=2.0))
        0.125
    """
    rate = problem.L * problem.c_F * problem.B
    return problem.s / rate if rate > 0 else math.inf


def convergence_bound(problem: Problem, K: int, gamma: float) -> Bound:
    """Bound on min_{k<K} E‖∇Q(w_k)‖² after K steps of constant size γ.

    2 (1 + L A' γ²)^K δ_0 / (γ s K) + L C' γ / s, with A' = c_F A, B' = c_F B, C' = c_F C. Derived here, by weighted
    telescoping of the descent lemma.

    Raises:
        InvalidParameter: γ exceeds `admissible_step`.

    Example:
        >>> bound = convergence_bound(Problem(L=1.0, gap=1.0, B=1.0, C=0.1), K=100, gamma=0.1)
        >>> round(bound.initial, 3), round(bound.noise, 3)
        (0.2, 0.01)
    """
    check("convergence_bound", "K", K, Constraint(int, ge=1))
    check("convergence_bound", "gamma", gamma, Constraint(float, gt=0))
    limit = admissible_step(problem)
    if gamma > limit * (1 + 1e-12):
        raise InvalidParameter(f"convergence_bound: gamma must be at most s/(L c_F B) = {limit:.4g}, got {gamma:.4g}; lower the step size")
    p = problem
    growth = math.exp(K * math.log1p(p.L * p.c_F * p.A * gamma**2))
    return Bound(2 * growth * p.gap / (gamma * p.s * K), p.L * p.c_F * p.C * gamma / p.s)


def step_size(problem: Problem, K: int) -> float:
    """The constant step recommended for K steps: min(1/√(L A' K), s/(L B'), √(6 δ_0 / (L C' K))).

    With it `convergence_bound` is O(1/√K): the first factor is at most e < 3, and the last term balances 6δ_0/(γsK)
    against L C' γ/s. Derived here.

    Example:
        >>> round(step_size(Problem(L=1.0, gap=1.0, B=1.0, C=6.0), K=100), 3)
        0.1
    """
    check("step_size", "K", K, Constraint(int, ge=1))
    p = problem
    choices = [admissible_step(p)]
    if p.A > 0:
        choices.append(1 / math.sqrt(p.L * p.c_F * p.A * K))
    if p.C > 0 and p.gap > 0:
        choices.append(math.sqrt(6 * p.gap / (p.L * p.c_F * p.C * K)))
    found = min(choices)
    return found if math.isfinite(found) else 1 / p.L


def basin_bound(L: float, gap: float, kappa: float, h: int, noise: float, K: int, gamma: float, spread: float = 0.0) -> Bound:
    """Bound on (1/K) Σ_{k<K} E‖∇Q(w_k)‖² with noise that does not shrink near a stationary point, where condition (i) fails.

    4 δ_0 / (γ K) + 4 L γ (N/h + κV) + 2 κV, with N = dσ² the noise of one honest gradient, G² = (1/h) Σ ‖∇Q_i - ∇Q‖² and
    V = (1 - 1/h) N + G². Assumes L-smoothness, independent honest noise and (f, κ)-robustness; nothing about sin α.

    Derived here: ⟨E F, g⟩ >= ‖g‖² - √(κV) ‖g‖ >= ‖g‖²/2 - κV/2 and E‖F‖² <= 2‖g‖² + 2N/h + 2κV enter the descent lemma
    E Q(w⁺) <= Q - γ⟨E F, g⟩ + (Lγ²/2) E‖F‖²; for γ <= 1/(4L) at least γ/4 of ‖g‖² is left.

    Args:
        L: smoothness.
        gap: δ_0 = Q(w_0) - Q_inf.
        kappa: of the rule.
        h: honest updates, n - f.
        noise: N, its supremum along the run.
        K: steps.
        gamma: constant step size, at most 1/(4L).
        spread: G², its supremum along the run.

    Example:
        >>> bound = basin_bound(L=1.0, gap=1.0, kappa=0.5, h=10, noise=1.0, K=100, gamma=0.1)
        >>> round(bound.initial, 3), round(bound.noise, 3), round(bound.bias, 3)
        (0.4, 0.22, 0.9)
    """
    for name, value in (("gap", gap), ("kappa", kappa), ("noise", noise), ("spread", spread)):
        check("basin_bound", name, value, Constraint(float, ge=0))
    check("basin_bound", "L", L, Constraint(float, gt=0))
    check("basin_bound", "gamma", gamma, Constraint(float, gt=0, le=1 / (4 * L) * (1 + 1e-12)))
    check("basin_bound", "K", K, Constraint(int, ge=1))
    check("basin_bound", "h", h, Constraint(int, ge=1))
    error = kappa * ((1 - 1 / h) * noise + spread)
    return Bound(4 * gap / (gamma * K), 4 * L * gamma * (noise / h + error), 2 * error)
