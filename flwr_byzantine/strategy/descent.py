"""The server's step of Byzantine-resilient SGD: w ← w - γ_k m_k."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.theory.schedules import schedule


class Descent:
    """w_{k+1} = w_k - γ_k m_k with m_k = μ m_{k-1} + F(V_1, ..., V_n) and m_{-1} = 0.

    Args:
        step_size: γ, or a function from k to γ_k.
        momentum: μ, in [0, 1); 0 is the plain method.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017; Roberts, Smyth, EURO J. Comput. Optim. 2022. Server
    momentum as in Polyak's heavy ball (PyTorch's convention).

    Example:
        >>> import numpy as np
        >>> Descent(0.5).step(0, [np.array([1.0, 1.0])], [np.array([2.0, 0.0])])
        [array([0., 1.])]
    """

    def __init__(self, step_size: Any, momentum: float = 0.0) -> None:
        check("Descent", "momentum", momentum, Constraint(float, ge=0, lt=1))
        self.schedule, self.momentum = schedule(step_size), momentum
        self.velocity: list[Array] | None = None

    def step(self, k: int, model: Sequence[Array], direction: Sequence[Array]) -> list[Array]:
        """The next model from flat blocks of w_k and F, in the model's dtypes.

        Raises:
            InvalidParameter: the schedule's γ_k is not a positive finite number.
        """
        gamma = self.gamma(k)
        self.velocity = self._following(direction)
        return [_moved(w, m, gamma) for w, m in zip(model, self.velocity, strict=True)]

    def gamma(self, k: int) -> float:
        """γ_k, checked."""
        gamma = self.schedule(k)
        if not (isinstance(gamma, int | float) and math.isfinite(gamma) and gamma > 0):
            raise InvalidParameter(f"step_size must give a finite number > 0, got {gamma!r} at k = {k}")
        return float(gamma)

    def _following(self, direction: Sequence[Array]) -> list[Array]:
        if self.momentum == 0:
            return list(direction)
        if self.velocity is None:
            return [np.array(block, np.float64) for block in direction]
        return [self.momentum * old + block for old, block in zip(self.velocity, direction, strict=True)]


def _moved(w: Array, m: Array, gamma: float) -> Array:
    out = np.empty_like(w)
    kernels.round_into(w - gamma * m.astype(np.float64, copy=False), out)
    return out
