"""What becomes of the model once the replies are aggregated: it is replaced, or it descends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower.records import DIFFERENCE, FULL, GRADIENT, LAST_STEP, OF_ROUND, REPLY, SEND
from flwr_byzantine.theory.schedules import schedule


class ServerStep(Protocol):
    """The server's step, handed to the `Core`.

    Attributes:
        gradients: whether replies are gradients; else they are models near the broadcast one.
        arrays: the step's own state, by name.
    """

    gradients: bool
    arrays: dict[str, Array]

    def told(self, server_round: int) -> Mapping[str, str]:
        """What a round's training messages tell the clients of their answers."""
        ...

    def step(self, k: int, model: Sequence[Array], aggregate: Sequence[Array]) -> list[Array]:
        """The next model from flat blocks of the model w_k, k = 0, 1, ..., and of the aggregate."""
        ...


class Replace:
    """The next model is the aggregate of the clients' models: federated averaging's step.

    Example:
        >>> Replace().step(0, [np.zeros(2)], [np.ones(2)])
        [array([1., 1.])]
    """

    gradients = False

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}

    def told(self, server_round: int) -> Mapping[str, str]:
        """Nothing: clients send models, as they do."""
        return {}

    def step(self, k: int, model: Sequence[Array], aggregate: Sequence[Array]) -> list[Array]:
        """The aggregate itself."""
        return list(aggregate)


class Towards(Replace):
    """w_{k+1} = w_k + η (F - w_k), where F is the aggregate of the clients' models: FedBuff's step, and at η = 1 federated averaging's.

    Args:
        rated: has η as its `server_learning_rate`, which is read anew at each step.

    Source: Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek, Huba, AISTATS 2022.

    Example:
        >>> from types import SimpleNamespace
        >>> Towards(SimpleNamespace(server_learning_rate=0.5)).step(0, [np.zeros(2)], [np.ones(2)])
        [array([0.5, 0.5])]
    """

    def __init__(self, rated: Any) -> None:
        super().__init__()
        self.rated = rated

    def step(self, k: int, model: Sequence[Array], aggregate: Sequence[Array]) -> list[Array]:
        """The next model from flat blocks of w_k and F, in the model's dtypes."""
        eta: float = self.rated.server_learning_rate
        if eta == 1:
            return list(aggregate)
        with np.errstate(over="ignore"):  # what overflows counts as the largest number
            deltas = [own.astype(np.float64) - made for own, made in zip(model, aggregate, strict=True)]
            return [_descended(own, delta, eta) for own, delta in zip(model, deltas, strict=True)]


class Descent:
    """w_{k+1} = w_k - γ_k m_k with m_k = μ m_{k-1} + F(V_1, ..., V_n) and m_{-1} = 0.

    Args:
        step_size: γ, or a function from k to γ_k.
        momentum: μ, in [0, 1); 0 is the plain method.
        normalized: step by γ_k m_k / ‖m_k‖, of length γ_k; a zero m_k moves nothing.
        refresh: p of Byz-VR-MARINA: how often clients send full gradients, in (0, 1]; in other rounds they correct the last aggregate by
            the change of a stochastic gradient. None has no such rounds.
        seed: of the draws that decide which rounds are full ones.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017; Roberts, Smyth, EURO J. Comput. Optim. 2022. Server
    momentum as in Polyak's heavy ball (PyTorch's convention). Normalised: Bolatov, Horváth, Takáč, Gorbunov, CPAL 2026 (Byz-NSGDM).
    Byz-VR-MARINA: Gorbunov, Horváth, Richtárik, Gidel, ICLR 2023.

    Example:
        >>> Descent(0.5).step(0, [np.array([1.0, 1.0])], [np.array([2.0, 0.0])])
        [array([0., 1.])]
    """

    gradients = True

    def __init__(
        self, step_size: Any, momentum: float = 0.0, normalized: bool = False, refresh: float | None = None, seed: int = 0
    ) -> None:
        check("Descent", "momentum", momentum, Constraint(float, ge=0, lt=1))
        check("Descent", "normalized", normalized, Constraint(bool))
        check("Descent", "refresh", refresh, Constraint(float, gt=0, le=1, optional=True))
        check("Descent", "seed", seed, Constraint(int, ge=0))
        if refresh is not None and (momentum or normalized):
            raise InvalidParameter("Descent: refresh needs momentum=0 and normalized=False: clients find the last aggregate in the step")
        self.schedule, self.momentum, self.normalized, self.refresh, self.seed = schedule(step_size), momentum, normalized, refresh, seed
        self.velocity: list[Array] | None = None
        self.last = -2  # k of the last step that this process took

    def told(self, server_round: int) -> Mapping[str, str]:
        """That a gradient is wanted, and which: full ones too where the round before took no step, from which a client could correct it."""
        if self.refresh is None:
            return {REPLY: GRADIENT}
        full = self.last != server_round - 2 or np.random.default_rng([self.seed, server_round]).random() < self.refresh
        last_step = 0.0 if full else self.gamma(server_round - 2)
        return {REPLY: GRADIENT, SEND: FULL if full else DIFFERENCE, OF_ROUND: str(server_round), LAST_STEP: repr(last_step)}

    def step(self, k: int, model: Sequence[Array], aggregate: Sequence[Array]) -> list[Array]:
        """The next model from flat blocks of w_k and F, in the model's dtypes.

        Raises:
            InvalidParameter: the schedule's γ_k is not a positive finite number.
        """
        gamma = self.gamma(k)
        with np.errstate(over="ignore"):  # what overflows counts as the largest number
            self.velocity, self.last = self._next_velocity(aggregate), k
            way = normed(self.velocity) if self.normalized else self.velocity
            return [_descended(w, m, gamma) for w, m in zip(model, way, strict=True)]

    def gamma(self, k: int) -> float:
        """γ_k.

        Raises:
            InvalidParameter: the schedule gave no positive finite number.
        """
        gamma = self.schedule(k)
        if not (isinstance(gamma, int | float) and math.isfinite(gamma) and gamma > 0):
            raise InvalidParameter(f"step_size must give a finite number > 0, got {gamma!r} at k = {k}")
        return float(gamma)

    @property
    def arrays(self) -> dict[str, Array]:
        """m_k, block by block."""
        return {str(k): block for k, block in enumerate(self.velocity or [])}

    @arrays.setter
    def arrays(self, saved: Mapping[str, Array]) -> None:
        self.velocity = list(saved.values()) or None

    def _next_velocity(self, aggregate: Sequence[Array]) -> list[Array]:
        if self.momentum == 0:
            return list(aggregate)
        if self.velocity is None:
            return [np.array(block, np.float64) for block in aggregate]
        top = np.finfo(np.float64).max
        return [np.clip(self.momentum * old + block, -top, top) for old, block in zip(self.velocity, aggregate, strict=True)]


def normed(blocks: Sequence[Array]) -> list[Array]:
    """All blocks as one vector of norm 1, or zeros where they are; squares of huge values cannot overflow."""
    peak = max((float(np.abs(block).max(initial=0.0)) for block in blocks), default=0.0) or 1.0
    scaled = [block.astype(np.float64) / peak for block in blocks]
    length = math.sqrt(sum(float((block**2).sum()) for block in scaled)) or 1.0
    return [block / length for block in scaled]


def _descended(w: Array, m: Array, gamma: float) -> Array:
    out, moved = np.empty_like(w), np.multiply(m, -gamma, dtype=np.float64)
    moved += w
    kernels.round_into(moved, out)
    return out
