"""Mimic, with the warm-up in which its target is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, ColludingAttack
from flwr_byzantine.declare.params import param
from flwr_byzantine.errors import InvalidParameter


@dataclass(frozen=True)
class Mimic(ColludingAttack):
    """All attackers copy one honest client, so that heterogeneous data look over-represented.

    Convention: over the first `warmup` rounds an online power iteration follows the direction z in which the honest updates
    differ most: μ ← (t μ + mean) / (t + 1), z ← t z + Σ_i (x_i - μ) (x_i - μ)ᵀ z normalised, to unit length. The client with
    the largest |Σ_t z·x_i| is copied, in each round the one known so far, after the warm-up always the same. z starts as
    the exact first direction of the first round (the paper's is random). Rows must be the same clients in every round.

    Args:
        target: index of the honest update to copy; None takes the paper's choice.
        warmup: rounds after which the target stays.

    Source: Karimireddy, He, Jaggi, ICLR 2022.

    Example:
        >>> import numpy as np
        >>> Mimic(target=1)(np.array([[1.0], [5.0]]), 2).tolist()
        [[5.0], [5.0]]
    """

    target: int | None = param(None, ge=0, optional=True)
    warmup: int = param(10, ge=1)
    reference: ClassVar[str] = "Karimireddy, He, Jaggi, ICLR 2022"

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """One honest row."""
        if self.target is not None and self.target >= len(honest):
            raise InvalidParameter(f"Mimic: target must be below the number of honest updates, {len(honest)}, got {self.target}")
        if self.target is not None:
            return np.asarray(honest[self.target])
        scores = np.abs(self.remember(honest, f, context)["scores"][: len(honest)])
        return np.asarray(honest[int(np.argmax(scores))])

    def remember(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """Rounds seen t, mean μ, direction z, and each client's Σ_t z·x_i; nothing changes after the warm-up."""
        past = context.memory
        t = int(past["rounds"]) if "rounds" in past else 0
        if t >= self.warmup:
            return dict(past)
        mean = honest.mean(axis=0)
        mean = (t * past["mean"] + mean) / (t + 1) if t else mean
        z = _turned(honest - mean, past["direction"], t) if t else _principal(honest - mean)
        scores = honest @ z
        if t and len(past["scores"]) == len(scores):
            scores = scores + past["scores"]
        return {"rounds": np.array(t + 1), "mean": mean, "direction": z, "scores": scores}


def _principal(centred: Array) -> Array:
    """(d,) the first direction of the rows' spread, of unit length (zero where there is none)."""
    _, vectors = np.linalg.eigh(centred @ centred.T)
    return _unit(vectors[:, -1] @ centred)


def _turned(centred: Array, z: Array, t: int) -> Array:
    return _unit(t * z + _unit(centred.T @ (centred @ z)))


def _unit(vector: Array) -> Array:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), np.finfo(float).tiny))
