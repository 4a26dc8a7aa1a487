"""What one round's replies say of noise and gradient, and whether the resilience condition held in that round.

Only what the server sees is used: squared distances between the n replies, the aggregate's norm and the declared f. Up to f
replies may be anything, so every estimate is built from order statistics that f of them cannot push past honest values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules import Rule
from flwr_byzantine.theory.resilience import CAVEAT, check_n_f, kappa_of

SLACK = 1.5
ASSUMES = (
    "at most f = {f} of n = {n} replies are Byzantine; the mean squared distance of two honest replies is at most {slack:g} "
    "times the median, over these, of each one's lower median to the others (honest replies may not form two groups); the honest "
    "mean lies within two standard errors of the gradient{alike}; " + CAVEAT
)
ALIKE = ", whose square is at least the lower quartile, over honest replies, of each one's lower median inner product with the others"


def typical_distance(D: Array, f: int, share: float = 0.5) -> float:
    """A squared distance between honest replies that f Byzantine ones can neither lower nor, for n >= 3f + 1, raise at will.

    Each row takes the rank of its distances that is the median of the h - 1 honest ones even if f colluders sit on it; over
    rows likewise. So it is at least the median over honest rows of the median distance to honest rows, and for n >= 3f + 1
    at most the largest distance between two honest rows. Derived here.

    Args:
        D: (n, n) squared distances.
        f: Byzantine rows.
        share: of the rows whose distance is no larger; the median by default.

    Example:
        >>> import numpy as np
        >>> typical_distance(np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 9.0], [9.0, 9.0, 0.0]]), f=0)
        1.0
    """
    n = len(D)
    check_n_f(n, f)
    if n - f < 2:
        return 0.0
    h = n - f
    apart = np.sort(D + np.diag(np.full(n, -1.0)), axis=1)[:, 1:]  # without the row itself
    rows = np.sort(apart[:, f + (h - 2) // 2])
    return float(rows[f + int(share * (h - 1))])


def nearest_distance(D: Array, f: int) -> float:
    """The median over rows of the squared distance to a near row: each passes over its f nearest, which may be Byzantine.

    So for an honest row it is at least the distance to its nearest honest one, whatever f colluders send. Derived here.

    Args:
        D: (n, n) squared distances.
        f: Byzantine rows.
    """
    n = len(D)
    check_n_f(n, f)
    if n - f < 2:
        return 0.0
    apart = np.sort(D + np.diag(np.full(n, -1.0)), axis=1)[:, 1:]
    return float(np.sort(apart[:, f])[n // 2])


def typical_product(D: Array, squares: Array, f: int) -> float:
    """An inner product of honest replies that f Byzantine ones cannot raise, less its uncertainty: below ‖g‖² = E⟨V_i, V_j⟩.

    Each row takes the lower median that its products would have with h - 1 honest rows; of the rows the lower quartile counts, less
    two standard errors by the distance between the quartiles. What f more values do to the k-th smallest is to lower it, and the
    (k + f)-th they cannot lower: so this is at most the same of the honest rows alone. Derived here.

    Args:
        D: (n, n) squared distances.
        squares: (n,) squared norms.
        f: Byzantine rows.

    Example:
        >>> import numpy as np
        >>> X = np.array([[2.0]] * 8 + [[90.0]])
        >>> typical_product((X - X.T) ** 2, X[:, 0] ** 2, f=0), typical_product((X - X.T) ** 2, X[:, 0] ** 2, f=1)
        (4.0, 4.0)
    """
    n = len(D)
    check_n_f(n, f)
    h = n - f
    if h < 2:
        return 0.0
    products = (squares[:, None] + squares - D) / 2
    np.fill_diagonal(products, np.inf)
    rows = np.sort(np.sort(products, axis=1)[:, (h - 2) // 2])
    quartile, upper = rows[(h - 1) // 4], rows[f + -(-3 * (h - 1) // 4)]
    return float(quartile - 1.5 * (upper - quartile) / math.sqrt(h))


@dataclass(frozen=True)
class Estimate:
    """What one round's replies say.

    Attributes:
        variance: upper estimate of E‖V_i - g‖² = dσ² + G² for an honest reply, noise and heterogeneity together.
        noise: dσ² of it: as the clients report it (`gradient_reply`; the median), else half the typical squared distance to
            the nearest reply, which needs d of some hundreds and is too large where all clients differ alike.
        heterogeneity: G² = variance / slack - noise, 0 at least.
        grad_norm: lower estimate of ‖g‖, 0 at least.
        slack: factor by which `variance` exceeds half the typical squared distance.
    """

    variance: float
    noise: float
    heterogeneity: float
    grad_norm: float
    slack: float = SLACK


def estimate(
    D: Array, f: int, kappa: float, norm: float, noise: float | None = None, slack: float = SLACK, squares: Array | None = None
) -> Estimate:
    """Noise, heterogeneity and gradient from one round.

    ‖g‖ >= ‖F‖ - ‖F - x̄_H‖ - ‖x̄_H - g‖, where the definition of κ bounds the second term by √(κ (1 - 1/h) v) and two
    standard errors the third by 2√(v/h), for v = `variance`. Where the replies' norms are known, E⟨V_i, V_j⟩ = ‖g‖² gives another
    lower estimate, `typical_product`, and the larger of both is taken. Derived here.

    Args:
        D: (n, n) squared distances between the replies.
        f: Byzantine ones among them.
        kappa: of the rule that made the aggregate.
        norm: ‖F‖.
        noise: what the clients report of E‖V_i - E V_i‖² (a median over them), or None.
        slack: see `Estimate`.
        squares: (n,) squared norms of the replies, or None.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(1.0, 0.1, size=(11, 1000))
        >>> found = estimate(((X[:, None] - X) ** 2).sum(-1), f=2, kappa=1.0, norm=float(np.linalg.norm(X.mean(0))))
        >>> round(found.variance / 1.5, 1), found.grad_norm < 1000**0.5
        (10.0, True)
    """
    check("estimate", "kappa", kappa, Constraint(float, ge=0))
    check("estimate", "norm", norm, Constraint(float, ge=0))
    check("estimate", "slack", slack, Constraint(float, ge=1))
    h, half = len(D) - f, typical_distance(D, f) / 2
    variance = slack * half
    own = min(half, nearest_distance(D, f) / 2 if noise is None else max(0.0, noise))
    lower = norm - math.sqrt(kappa * (1 - 1 / h) * variance) - 2 * math.sqrt(variance / h)
    if squares is not None and half > 0:
        lower = max(lower, math.sqrt(max(0.0, typical_product(D, squares, f)) * half / (typical_distance(D, f, 0.75) / 2)))
    return Estimate(variance, own, half - own, max(0.0, lower), slack)


@dataclass(frozen=True)
class Certificate:
    """Whether the resilience condition (i) held in a round, as far as the server can tell.

    Attributes:
        holds: sin α < 1 by the estimates below.
        sin_alpha: √(κ (1 - 1/h) v) / ‖g‖ by them; None where κ is not known or the estimate of ‖g‖ is 0.
        margin: 1 - sin α, or None.
        kappa: declared bound of the rule, or None where none is known.
        estimate: what the replies say, or None.
        assumes: what a positive answer rests on.
    """

    holds: bool
    sin_alpha: float | None
    margin: float | None
    kappa: float | None
    estimate: Estimate | None
    assumes: str


def certify(
    rule: Rule, D: Array, norm: float, noise: float | None = None, slack: float = SLACK, squares: Array | None = None
) -> Certificate:
    """The certificate of one round of `rule`; see `estimate` for the arguments.

    Source: condition (i) of Blanchard et al., NeurIPS 2017, by way of κ (Allouah et al., AISTATS 2023); derived here.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import rules
        >>> X, rule = np.random.default_rng(0).normal(1.0, 0.1, size=(11, 1000)), rules.TrimmedMean(f=2)
        >>> certify(rule, ((X[:, None] - X) ** 2).sum(-1), float(np.linalg.norm(rule(X)))).holds
        True
    """
    n, f = len(D), rule.f
    try:
        kappa = kappa_of(rule, n)
    except InvalidParameter as error:
        return Certificate(False, None, None, None, None, str(error))
    found = estimate(D, f, kappa, norm, noise, slack, squares)
    assumes = ASSUMES.format(slack=slack, f=f, n=n, alike="" if squares is None else ALIKE)
    if found.grad_norm == 0:
        return Certificate(False, None, None, kappa, found, assumes)
    sine = math.sqrt(kappa * (1 - 1 / (n - f)) * found.variance) / found.grad_norm
    return Certificate(sine < 1, sine, 1 - sine, kappa, found, assumes)
