"""The largest κ that a search finds: a lower bound on a rule's true κ, to compare with the declared upper bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.rules import Rule
from flwr_byzantine.theory.resilience import check_n_f, kappa_lower_bound

ROUNDING = 1e-9  # share of the largest value, below which a spread says nothing
ASCENTS = 3  # how many of the best configurations gradient ascent goes on from


def kappa_ratio(rule: Rule, X: Array, honest: Array) -> float:
    """‖F(X) - x̄_S‖² · h / Σ_S ‖x_i - x̄_S‖² for the honest rows S (indices); 0 where these are all equal, but for rounding.

    Source: the definition of (f, κ)-robustness, Allouah et al., AISTATS 2023.

    Example:
        >>> from flwr_byzantine import rules
        >>> kappa_ratio(rules.Mean(), np.array([[0.0], [2.0], [4.0]]), np.array([0, 1]))
        1.0
    """
    S = X[honest]
    spread = float(((S - S.mean(axis=0)) ** 2).sum()) / len(S)
    equal = spread <= (ROUNDING * float(np.abs(S).max())) ** 2
    return 0.0 if equal else float(((rule(X) - S.mean(axis=0)) ** 2).sum()) / spread


def empirical_kappa(rule: Rule, n: int, d: int = 2, f: int | None = None, starts: int = 20, steps: int = 60, seed: int = 0) -> float:
    """The largest ratio found by adversarial search over Byzantine and honest rows.

    Starts from structured configurations (honest rows in two clusters of which the Byzantine ones strengthen the smaller;
    colluders at several distances from the mean) and from random ones; climbs from each by random perturbations that are
    kept when the ratio grows; then goes on from the best by gradient ascent on all coordinates (L-BFGS on the log ratio,
    numerical derivatives). Deterministic for a seed. A lower bound on the true κ.

    Args:
        rule: any rule; its f is replaced by `f` where that is given.
        n: rows.
        d: dimension.
        f: Byzantine rows; the rule's own by default.
        starts: random starts besides the structured ones.
        steps: perturbations tried from each start.
        seed: of the search.

    Example:
        >>> from flwr_byzantine import rules
        >>> empirical_kappa(rules.Median(f=1), n=5, d=1, starts=2, steps=10) <= rules.Median(f=1).kappa(5)
        True
    """
    for name, value in (("d", d), ("starts", starts), ("steps", steps)):
        check("empirical_kappa", name, value, Constraint(int, ge=1))
    bad = rule.f if f is None else f
    check_n_f(n, bad)
    rule, rng, honest = rule.with_f(bad), np.random.default_rng(seed), np.arange(n - bad)
    climbed = [_climb(rule, X, honest, steps, rng) for X in _configurations(n, bad, d, starts, rng)]
    best = sorted(climbed, key=lambda found: found[0])[-ASCENTS:]
    return max((_ascend(rule, X, honest, steps) for _, X in best), default=0.0)


def _ascend(rule: Rule, X: Array, honest: Array, steps: int) -> float:
    """The ratio after gradient ascent from X, which never ends below where it began."""
    tiny, start = 1e-12, kappa_ratio(rule, X, honest)
    result = minimize(
        lambda flat: -float(np.log(kappa_ratio(rule, flat.reshape(X.shape), honest) + tiny)),
        X.ravel(),
        method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": steps * X.size},
    )
    return max(start, kappa_ratio(rule, result.x.reshape(X.shape), honest))


def _climb(rule: Rule, X: Array, honest: Array, steps: int, rng: np.random.Generator) -> tuple[float, Array]:
    """The best ratio after `steps` random perturbations of X, each kept if it raises the ratio; and the rows that have it."""
    best, scale = kappa_ratio(rule, X, honest), 1.0
    for _ in range(steps):
        trial = X + scale * rng.normal(size=X.shape) * (rng.random((len(X), 1)) < 0.5)
        ratio = kappa_ratio(rule, trial, honest)
        if ratio > best:
            best, X, scale = ratio, trial, scale * 1.5
        else:
            scale = max(scale * 0.9, 1e-3)
    return best, X


def _configurations(n: int, f: int, d: int, starts: int, rng: np.random.Generator) -> Iterator[Array]:
    """The (n, d) rows that the search starts from, the last f of them Byzantine."""
    axis = np.eye(1, d)[0]
    for minority in range(1, n - f):  # honest rows at 0 and, a minority, at 1; the Byzantine join them, or go beyond
        for place in (1.0, 0.0, 2.0, 0.5, -1.0):
            X = np.zeros((n, d))
            X[:minority] = axis
            X[n - f :] = place * axis
            yield X + 1e-6 * rng.normal(size=X.shape)
    for start in range(starts):
        X = rng.normal(size=(n, d))
        X[n - f :] = X[: n - f].mean(axis=0) + 2.0 ** (start % 6 - 2) * axis
        yield X


@dataclass(frozen=True)
class KappaRow:
    """One rule of `kappa_table`.

    Attributes:
        rule: its name with parameters.
        declared: upper bound on κ, or None where none is known.
        lower: f / (n - 2f), below which no rule's κ is.
        found: the largest ratio that the search found.
    """

    rule: str
    declared: float | None
    lower: float
    found: float


class KappaTable(list[KappaRow]):
    """Rows that print as a table."""

    def __str__(self) -> str:
        width = max((len(row.rule) for row in self), default=4)
        lines = [f"{'rule':<{width}}  {'declared':>10}  {'lower bound':>11}  {'worst found':>11}"]
        for row in self:
            declared = "none known" if row.declared is None else f"{row.declared:.3f}"
            lines.append(f"{row.rule:<{width}}  {declared:>10}  {row.lower:>11.3f}  {row.found:>11.3f}")
        return "\n".join(lines)


def kappa_table(rules: Sequence[Rule], n: int, d: int = 2, starts: int = 20, steps: int = 60) -> KappaTable:
    """Declared bound, universal lower bound f/(n - 2f), and worst found, for each rule; `print` shows a table.

    Example:
        >>> from flwr_byzantine import rules
        >>> print(kappa_table([rules.Median(f=0)], n=3, d=1, starts=1, steps=1))
        rule           declared  lower bound  worst found
        Median(f=0)       0.500        0.000        0.500
    """
    return KappaTable(
        KappaRow(str(rule), rule.kappa(n), kappa_lower_bound(n, rule.f), empirical_kappa(rule, n, d, starts=starts, steps=steps))
        for rule in rules
    )
