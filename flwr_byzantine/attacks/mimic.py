"""Mimic: all attackers copy one honest client, which they choose over the first rounds."""

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
    """All attackers send the update of one honest client, whose data then count for more than they should.

    The choice of that client: over the first `warmup` rounds an online power iteration finds the direction z in which the
    honest updates x_i differ most. In round t it sets μ ← (t μ + mean) / (t + 1) and z ← t z + Σ_i (x_i - μ) (x_i - μ)ᵀ z
    (the sum normalised), to unit length. Copied is the client with the largest |Σ_t z·x_i| so far; after the warm-up it
    is always the same. Here z starts as the exact first principal direction of the first round; the paper's start is
    random. The rows of the honest updates must be the same clients in every round.

    Args:
        target: index of the honest update to copy, from 0; None takes the paper's choice.
        warmup: rounds after which the target does not change any more, at least 1.

    Raises:
        InvalidParameter: there are not more honest updates than `target`.

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
        """The honest update that is copied."""
        if self.target is not None and self.target >= len(honest):
            raise InvalidParameter(f"Mimic: target must be below the number of honest updates, {len(honest)}, got {self.target}")
        if self.target is not None:
            return np.asarray(honest[self.target])
        scores = np.abs(self.next_memory(honest, f, context)["scores"][: len(honest)])
        return np.asarray(honest[int(np.argmax(scores))])

    def next_memory(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """Number of rounds t, mean μ, direction z, and each client's Σ_t z·x_i; they stay as they are after the warm-up."""
        past = context.memory
        t = int(past["rounds"]) if "rounds" in past else 0
        if t >= self.warmup:
            return dict(past)
        mean = honest.mean(axis=0)
        mean = (t * past["mean"] + mean) / (t + 1) if t else mean
        z = _power_step(honest - mean, past["direction"], t) if t else _principal(honest - mean)
        scores = honest @ z
        if t and len(past["scores"]) == len(scores):
            scores = scores + past["scores"]
        return {"rounds": np.array(t + 1), "mean": mean, "direction": z, "scores": scores}


def _principal(centred: Array) -> Array:
    """(d,) unit vector of the first principal direction of the centred rows; zeros where all rows are equal."""
    _, vectors = np.linalg.eigh(centred @ centred.T)
    return _unit(vectors[:, -1] @ centred)


def _power_step(centred: Array, z: Array, t: int) -> Array:
    """(d,) the next z of the online power iteration."""
    return _unit(t * z + _unit(centred.T @ (centred @ z)))


def _unit(vector: Array) -> Array:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), np.finfo(float).tiny))
