"""Objectives with known L, Q_inf and gradient, and gradient noise of ABC type."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from flwr_byzantine.arrays.typing import Array


@dataclass(frozen=True)
class Objective:
    """Q with its constants.

    Attributes:
        L: smoothness.
        lower: a value that Q never falls below.
        start: w_0.
        value, gradient: Q and ∇Q.
        examples: gradients of the single examples' losses at w, (N, d), where Q is a mean over examples.
        noise_limit: bound on the variance of one example's gradient, everywhere.
    """

    name: str
    L: float
    lower: float
    start: Array
    value: Callable[[Array], float]
    gradient: Callable[[Array], Array]
    examples: Callable[[Array], Array] | None = None
    noise_limit: float = math.inf

    @property
    def gap(self) -> float:
        """Q(w_0) - lower."""
        return self.value(self.start) - self.lower


@dataclass(frozen=True)
class Noise:
    """Isotropic Gaussian noise with E‖G‖² = 2A(Q - Q_inf) + B‖∇Q‖² + C exactly."""

    A: float = 0.0
    B: float = 1.0
    C: float = 0.0

    def variance(self, objective: Objective, w: Array, g: Array) -> float:
        """dσ² at w."""
        return 2 * self.A * (objective.value(w) - objective.lower) + (self.B - 1) * float(g @ g) + self.C


def quadratic(d: int = 20) -> Objective:
    """½ Σ λ_i w_i² with λ from 0.1 to 1."""
    scale = np.linspace(0.1, 1.0, d)
    return Objective("quadratic", 1.0, 0.0, np.full(d, 2.0), lambda w: 0.5 * float(scale @ w**2), lambda w: scale * w)


def waves(d: int = 20) -> Objective:
    """Σ (1 - cos w_i): minima, maxima and saddle points without end; the start lies near one of the saddles."""
    start = np.linspace(0.3, math.pi - 0.1, d)
    return Objective("waves", 1.0, 0.0, start, lambda w: float((1 - np.cos(w)).sum()), np.sin)


@cache
def logistic(penalty: float = 0.05) -> Objective:
    """Logistic loss with the nonconvex regulariser λ Σ w²/(1 + w²), on scikit-learn's breast cancer data, standardised.

    The regulariser's second derivative lies in [-λ/2, 2λ], so that L = λ_max(AᵀA)/(4N) + 2λ; Q >= 0.
    """
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True)
    rows = np.hstack([StandardScaler().fit_transform(x), np.ones((len(x), 1))]) * (2.0 * y - 1.0)[:, None]
    N, d = rows.shape

    def pull(w: Array) -> Array:
        return np.asarray(penalty * 2 * w / (1 + w**2) ** 2)

    def factors(w: Array) -> Array:
        return np.asarray(-0.5 * (1 - np.tanh(rows @ w / 2)))  # -1/(1 + e^m), without overflow

    return Objective(
        "logistic",
        float(np.linalg.eigvalsh(rows.T @ rows)[-1]) / (4 * N) + 2 * penalty,
        0.0,
        np.full(d, 0.5),
        lambda w: float(np.logaddexp(0, -rows @ w).mean() + penalty * (w**2 / (1 + w**2)).sum()),
        lambda w: rows.T @ factors(w) / N + pull(w),
        lambda w: rows * factors(w)[:, None] + pull(w),
        float((rows**2).sum(axis=1).mean()),
    )


OBJECTIVES: dict[str, Callable[[], Objective]] = {"quadratic": quadratic, "waves": waves, "logistic": logistic}
