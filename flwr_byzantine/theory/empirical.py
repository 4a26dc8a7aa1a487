"""The largest κ that a search finds: a lower bound on a rule's true κ, to compare with the declared upper bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.extras import needed_by
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.rules import Rule
from flwr_byzantine.theory.resilience import check_n_f, kappa_lower_bound

ROUNDING = 1e-6  # share of the largest value, below which a spread is too near to rounding to say anything
CLIMBS, ASCENTS = 24, 3  # how many of the best configurations climb, and how many of these gradient ascent goes on from


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

    Starts from configurations in which rows tie (honest rows at two points, the Byzantine ones at one of these, at its mirror image
    or beyond; rows on a lattice) and from random ones. The best of them climb: a change of some rows, of all rows at a point, or of
    one row to another's place or its mirror image is kept when the ratio grows. Gradient ascent on all coordinates goes on from the
    best of these (L-BFGS on the log ratio, numerical derivatives). Byzantine rows come first: ties go to them. Deterministic for a
    seed. A lower bound on the true κ.

    Args:
        rule: any rule; its f is replaced by `f` where that is given.
        n: rows.
        d: dimension.
        f: Byzantine rows; the rule's own by default.
        starts: random starts besides the structured ones.
        steps: changes tried from each start that climbs.
        seed: of the search.

    Example:
        >>> from flwr_byzantine import rules
        >>> rule = rules.TrimmedMean(f=1)
        >>> round(empirical_kappa(rule, n=5, d=1, starts=2, steps=10), 6), round(rule.kappa(5), 6)
        (0.333333, 0.333333)
    """
    for name, value in (("d", d), ("starts", starts), ("steps", steps)):
        check("empirical_kappa", name, value, Constraint(int, ge=1))
    bad = rule.f if f is None else f
    check_n_f(n, bad)
    rule, rng, honest = rule.with_f(bad), np.random.default_rng(seed), np.arange(bad, n)
    tried = [(kappa_ratio(rule, X, honest), X) for X in _configurations(n, bad, d, starts, rng)]
    climbed = [_climb(rule, X, honest, steps, rng) for _, X in _best(tried, CLIMBS)]
    return max(_ascend(rule, X, honest, steps) for _, X in _best(climbed, ASCENTS))


def _best(found: list[tuple[float, Array]], count: int) -> list[tuple[float, Array]]:
    return sorted(found, key=lambda one: one[0])[-count:]


def _ascend(rule: Rule, X: Array, honest: Array, steps: int) -> float:
    """The ratio after gradient ascent from X, which never ends below where it began."""
    with needed_by("empirical_kappa"):
        from scipy.optimize import minimize

    tiny, start = 1e-12, kappa_ratio(rule, X, honest)
    result = minimize(
        lambda flat: -float(np.log(kappa_ratio(rule, flat.reshape(X.shape), honest) + tiny)),
        X.ravel(),
        method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": steps * X.size},
    )
    return max(start, kappa_ratio(rule, result.x.reshape(X.shape), honest))


def _climb(rule: Rule, X: Array, honest: Array, steps: int, rng: np.random.Generator) -> tuple[float, Array]:
    """The best ratio after `steps` random changes of X, each kept if it raises the ratio; and the rows that have it."""
    best, scale = kappa_ratio(rule, X, honest), 1.0
    for _ in range(steps):
        trial = _changed(X, scale, rng)
        ratio = kappa_ratio(rule, trial, honest)
        if ratio > best:
            best, X, scale = ratio, trial, scale * 1.5
        else:
            scale = max(scale * 0.9, 1e-3)
    return best, X


def _changed(X: Array, scale: float, rng: np.random.Generator) -> Array:
    """X with some rows, all rows at one point, or the whole moved at random; or with one row at another's place, or mirrored in it."""
    n, (i, j), kind = len(X), rng.integers(len(X), size=2), rng.integers(5)
    if kind < 3:
        moving = (rng.random(n) < 0.5, (X[i] == X).all(axis=1), np.ones(n, bool))[kind]
        return X + scale * moving[:, None] * rng.normal(size=X.shape if kind == 0 else X.shape[1])
    changed = X.copy()
    changed[i] = X[j] if kind == 3 else 2 * X[j] - X[i]
    return changed


def _configurations(n: int, f: int, d: int, starts: int, rng: np.random.Generator) -> Iterator[Array]:
    """The (n, d) rows that the search starts from, the first f of them Byzantine."""
    axis = np.eye(1, d)[0]
    for minority in _sizes(n, f):  # honest rows at 0 and, a minority, at 1 or -1; the Byzantine join them, or go beyond
        for place, sign in product((1.0, 0.0, 2.0, 0.5, -1.0), (1.0, -1.0)):
            X = np.zeros((n, d))
            X[f : f + minority] = sign * axis
            X[:f] = sign * place * axis
            yield X
    for start in range(starts):
        X = rng.normal(size=(n, d)) if start % 2 else rng.integers(-1, 2, size=(n, d)).astype(np.float64)
        X[:f] = X[f:].mean(axis=0) + 2.0 ** (start % 6 - 2) * axis if start % 4 else X[-1]
        yield X


def _sizes(n: int, f: int) -> list[int]:
    """How many of the h honest rows are apart from the others: all numbers up to 16 rows, of more rows those that matter, and a few."""
    h, a = n - f, (n - 1) // 2
    if h <= 16:
        return list(range(1, h))
    return sorted({1, f, f + 1, a - f, a, a + 1, h - a, h - f, h - 1, *np.linspace(1, h - 1, 9).astype(int).tolist()} - {0, h})


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
