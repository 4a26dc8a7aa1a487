"""One run of Byzantine-resilient SGD with simulated workers, its curve averaged over seeds, and the theory's bound on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from flwr_byzantine import rules, theory
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks import Attack
from flwr_byzantine.attacks.base import AttackContext, ColludingAttack
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules import Rule
from flwr_byzantine.strategy.steps import Descent
from simulations.convergence.objectives import Noise, Objective

DIVERGED = 1e12  # ‖∇Q‖² at which a run is stopped, and what it counts as from there on


@dataclass(frozen=True)
class Takeover(ColludingAttack):
    """The average becomes what the colluders want: V = (n u - Σ V_i) / f, with u = 5 in every coordinate.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017, Lemma 1.
    """

    reference: ClassVar[str] = "Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017"

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """The same for all colluders."""
        return np.asarray((5.0 * (len(honest) + f) - honest.sum(axis=0)) / f)


@dataclass(frozen=True)
class Setting:
    """One configuration.

    Attributes:
        rule: its f is `f`; the plain mean withstands none.
        attack: None is no attack, though f rows may still be declared.
        n, f: workers, Byzantine ones among them.
        gamma: a constant step.
        K: steps.
        batch: examples in each gradient (of objectives made of examples), in place of `noise`.
        beta: worker momentum.
    """

    objective: Objective
    rule: Rule
    attack: Attack | None
    n: int
    f: int
    gamma: float
    K: int
    noise: Noise = field(default_factory=Noise)
    batch: int = 0
    beta: float = 0.0


def descend(setting: Setting, seeds: int) -> Array:
    """(K,) mean over seeds of ‖∇Q(w_k)‖²."""
    return np.mean([_one(setting, seed) for seed in range(seeds)], axis=0)


def _one(s: Setting, seed: int) -> Array:
    rng, w, state = np.random.default_rng(seed), s.objective.start.copy(), s.rule.init(len(s.objective.start))
    descent, norms, momenta = Descent(s.gamma), np.full(s.K, DIVERGED), np.zeros((s.n - s.f, len(w)))
    for k in range(s.K):
        g = s.objective.gradient(w)
        norms[k] = float(g @ g)
        if not norms[k] < DIVERGED:
            return np.minimum(np.nan_to_num(norms, nan=DIVERGED, posinf=DIVERGED), DIVERGED)
        momenta = s.beta * momenta + (1 - s.beta) * honest(s, w, g, rng)
        trusted = g if isinstance(s.rule, rules.FLTrust) else None
        value, state = s.rule.step(_with_attackers(s, momenta, rng), state, trusted=trusted)
        (w,) = descent.step(k, [w], [value])
    return norms


def honest(s: Setting, w: Array, g: Array, rng: np.random.Generator) -> Array:
    """(h, d) stochastic gradients."""
    h = s.n - s.f
    if s.batch:
        assert s.objective.examples is not None
        every = s.objective.examples(w)
        return np.asarray(every[rng.integers(len(every), size=(h, s.batch))].mean(axis=1))
    return np.asarray(g + np.sqrt(s.noise.variance(s.objective, w, g) / len(g)) * rng.normal(size=(h, len(g))))


def _with_attackers(s: Setting, vectors: Array, rng: np.random.Generator) -> Array:
    if s.f == 0:
        return vectors
    bad = honest_copies(vectors, s.f) if s.attack is None else s.attack(vectors, s.f, rng, s.rule)
    return np.vstack([vectors, bad])


def honest_copies(vectors: Array, f: int) -> Array:
    """The rows of declared Byzantine workers that do not attack: copies of honest ones."""
    return vectors[:f]


def bound(s: Setting) -> theory.Bound | None:
    """The theory's bound on (1/K) Σ E‖∇Q(w_k)‖² (on the minimum, where the noise is multiplicative), or None where it has none.

    None: no κ is known, the rule is not robust to f, workers have momentum, or the step is too long.
    """
    h, rule = s.n - s.f, s.rule
    kappa = rule.kappa(s.n) if rule.f == s.f else None
    if kappa is None or s.beta > 0:
        return None
    try:
        if s.noise.B > 1 and s.noise.A == s.noise.C == 0 and not s.batch:
            return _strict(s)
        if s.noise.A > 0 or s.noise.B > 1:
            return None
        total = s.objective.noise_limit / s.batch if s.batch else s.noise.C
        return theory.basin_bound(s.objective.L, s.objective.gap, kappa, h, total, s.K, s.gamma)
    except InvalidParameter:
        return None


def _strict(s: Setting) -> theory.Bound:
    """Noise in proportion to ‖∇Q‖: condition (i) holds all along with one α, and the bound goes to 0."""
    sine = theory.sin_alpha(s.rule, s.n, s.f, 1, np.sqrt(s.noise.B - 1), 1.0)
    problem = theory.Problem(s.objective.L, s.objective.gap, B=s.noise.B, s=1 - sine, c_F=theory.second_moment_constant(s.rule, s.n, s.f))
    return theory.convergence_bound(problem, s.K, s.gamma)
