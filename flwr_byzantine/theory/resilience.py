"""When a rule's guarantee holds: Krum's η, (f, κ)-robustness, and what both say of the angle to the gradient.

Notation: n updates, f of them Byzantine, h = n - f honest, dimension d, true gradient g, honest noise E‖G - g‖² = dσ².
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules import Krum, Rule

CAVEAT = "fails near a stationary point, where ‖g‖ goes to 0, unless σ shrinks too (larger batches, worker momentum)"


def check_n_f(n: int, f: int) -> None:
    """Raise `InvalidParameter` unless 0 <= f and 2f < n."""
    check("theory", "f", f, Constraint(int, ge=0))
    check("theory", "n", n, Constraint(int, ge=1))
    if 2 * f >= n:
        raise InvalidParameter(f"theory: no rule withstands f = {f} of n = {n}: f must be below n/2; lower f or gather more updates")


def krum_eta(n: int, f: int) -> float:
    """η(n, f) of Krum's Proposition 1: η² = 2 (n - f + (f(n-f-2) + f²(n-f-1)) / (n-2f-2)).

    Assumes 2f + 2 < n and i.i.d. honest updates. Source: Blanchard et al., NeurIPS 2017, Proposition 1.

    Raises:
        InvalidParameter: 2f + 2 >= n.

    Example:
        >>> round(krum_eta(25, 5), 2)
        11.27
    """
    check_n_f(n, f)
    if 2 * f + 2 >= n:
        raise InvalidParameter(f"krum_eta needs 2f + 2 < n, got n = {n}, f = {f}; at least n = {2 * f + 3}")
    return math.sqrt(2 * (n - f + (f * (n - f - 2) + f**2 * (n - f - 1)) / (n - 2 * f - 2)))


def kappa_lower_bound(n: int, f: int) -> float:
    """The lower bound f / (n - 2f): no rule's κ is smaller. Source: Allouah et al., AISTATS 2023.

    Example:
        >>> kappa_lower_bound(10, 2)
        0.3333333333333333
    """
    check_n_f(n, f)
    return f / (n - 2 * f)


def kappa_of(rule: Rule, n: int, f: int | None = None) -> float:
    """The declared κ of `rule` at n updates of which f are Byzantine, the rule's own f by default.

    Raises:
        InvalidParameter: none is known, n is too small, or the rule withstands nobody.
    """
    chosen = rule if f is None else rule.with_f(f)
    if f is not None and chosen.f != f:
        raise InvalidParameter(f"{rule} withstands no Byzantine update, so that it has no κ for f = {f}; take a robust rule")
    kappa = chosen.kappa(n)
    if kappa is None:
        raise InvalidParameter(
            f"no bound on κ is known for {chosen} at n = {n} (it needs n >= {chosen.min_n()}); see empirical_kappa for an estimate"
        )
    return kappa


def sin_alpha(rule: Rule, n: int, f: int, d: int, sigma: float, grad_norm: float, route: str = "kappa") -> float:
    """Upper bound on sin α in (α, f)-Byzantine resilience; below 1 it certifies ⟨E F, g⟩ >= (1 - sin α)‖g‖².

    F is the rule's aggregate; honest updates G are assumed i.i.d. with mean g and E‖G - g‖² = dσ². Two routes:

    - κ: √(κ (1 - 1/h) d) σ / ‖g‖, since E F differs from E x̄_H = g by at most the root of E‖F - x̄_H‖² <= κ (1 - 1/h) dσ²
      (derived here).
    - η: η(n, f) √d σ / ‖g‖, for Krum only (Blanchard et al., NeurIPS 2017, Proposition 1).

    Args:
        rule: any rule with a declared κ.
        n: updates.
        f: Byzantine ones among them.
        d: dimension.
        sigma: noise of one coordinate of an honest update.
        grad_norm: ‖g‖, above 0.
        route: "kappa" or "eta".

    Example:
        >>> from flwr_byzantine import rules
        >>> round(sin_alpha(rules.Krum(f=5), 25, 5, d=100, sigma=0.1, grad_norm=10.0), 3)
        0.224
    """
    check("sin_alpha", "route", route, Constraint(str, choices=("kappa", "eta")))
    check("sin_alpha", "grad_norm", grad_norm, Constraint(float, gt=0))
    check("sin_alpha", "sigma", sigma, Constraint(float, ge=0))
    check("sin_alpha", "d", d, Constraint(int, ge=1))
    check_n_f(n, f)
    if route == "kappa":
        factor = math.sqrt(kappa_of(rule, n, f) * (1 - 1 / (n - f)))
    elif isinstance(rule, Krum) and (rule.neighbors, rule.power) == ("n-f-2", 2):
        factor = krum_eta(n, f)
    elif isinstance(rule, Krum):
        problem = f"sin_alpha: η is of Krum with n-f-2 neighbours, got {rule}"
        raise InvalidParameter(f"{problem}; leave neighbors and power out, or use route='kappa'")
    else:
        raise InvalidParameter(f"sin_alpha: route 'eta' is Krum's alone, got {rule}; use route='kappa'")
    return factor * math.sqrt(d) * sigma / grad_norm


@dataclass(frozen=True)
class Resilience:
    """Whether condition (i) is certified; truthy if it is.

    Attributes:
        sin_alpha: the bound found; resilient below 1.
        margin: 1 - sin_alpha, the share of ‖g‖² that the step keeps.
        caveat: what to know before relying on it.
    """

    sin_alpha: float
    margin: float
    caveat: str = CAVEAT

    def __bool__(self) -> bool:
        return self.margin > 0


def is_resilient(rule: Rule, n: int, f: int, d: int, sigma: float, grad_norm: float, route: str = "kappa") -> Resilience:
    """Whether `rule` is certified (α, f)-Byzantine resilient at a point with this noise and gradient; see `sin_alpha`.

    Example:
        >>> from flwr_byzantine import rules
        >>> bool(is_resilient(rules.Krum(f=5), 25, 5, d=100, sigma=0.1, grad_norm=10.0, route="eta"))
        False
    """
    bound = sin_alpha(rule, n, f, d, sigma, grad_norm, route)
    return Resilience(bound, 1 - bound)


def second_moment_constant(rule: Rule, n: int, f: int) -> float:
    """The constant c_F with E‖F‖² <= c_F E‖G‖²: 2 max(1, τ), τ = κ (1 - 1/h) + 1/h.

    From ‖F‖² <= 2‖x̄_H‖² + 2‖F - x̄_H‖², E‖x̄_H‖² = ‖g‖² + dσ²/h and the definition of κ (derived here).

    Example:
        >>> from flwr_byzantine import rules
        >>> second_moment_constant(rules.TrimmedMean(f=0), 10, 0)
        2.0
    """
    h = n - f
    tau = kappa_of(rule, n, f) * (1 - 1 / h) + 1 / h
    return 2 * max(1.0, tau)


def heterogeneity_floor(rule: Rule, n: int, f: int, spread: float) -> float:
    """κ G²: squared distance to the honest mean that stays where (1/h) Σ‖∇Q_i - ∇Q‖² = G² without noise.

    Source: the definition of κ (Allouah et al., AISTATS 2023).

    Example:
        >>> from flwr_byzantine import rules
        >>> round(heterogeneity_floor(rules.TrimmedMean(f=2), 10, 2, spread=1.0), 3)
        0.333
    """
    check("heterogeneity_floor", "spread", spread, Constraint(float, ge=0))
    return kappa_of(rule, n, f) * spread**2


def required_batch_size(
    rule: Rule, n: int, f: int, d: int, sigma: float, grad_norm: float, margin: float = 0.5, route: str = "kappa"
) -> int:
    """Smallest batch size b, σ → σ/√b, at which sin α <= 1 - margin.

    Args:
        rule: as in `sin_alpha`.
        n: updates.
        f: Byzantine ones among them.
        d: dimension.
        sigma: noise of one coordinate at batch size 1.
        grad_norm: ‖g‖, above 0.
        margin: share of ‖g‖² to keep, in (0, 1).
        route: as in `sin_alpha`.

    Source: `sin_alpha` solved for b (derived here).

    Example:
        >>> from flwr_byzantine import rules
        >>> required_batch_size(rules.Krum(f=5), 25, 5, d=100, sigma=1.0, grad_norm=10.0, route="eta")
        508
    """
    check("required_batch_size", "margin", margin, Constraint(float, gt=0, lt=1))
    ratio = (sin_alpha(rule, n, f, d, sigma, grad_norm, route) / (1 - margin)) ** 2
    return max(1, math.ceil(ratio - 1e-9))


def momentum_variance_factor(beta: float) -> float:
    """(1 - β)/(1 + β): variance of m ← βm + (1 - β)G at stationarity, relative to that of an independent G.

    Source: Var m = (1 - β)² Σ β^{2k} Var G (derived here); its use: El-Mhamdi et al., ICLR 2021.

    Example:
        >>> round(momentum_variance_factor(0.9), 4)
        0.0526
    """
    check("momentum_variance_factor", "beta", beta, Constraint(float, ge=0, lt=1))
    return (1 - beta) / (1 + beta)
