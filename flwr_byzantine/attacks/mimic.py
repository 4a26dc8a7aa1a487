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
    (the sum normalised), to unit length. Copied is the client with the largest |z·Σ_t x_i|, the sum over the rounds so far
    and z the present one; after the warm-up it is always the same. Here z starts as the exact first principal direction of
    the first round; the paper's start is random. The rows of the honest updates must be the same clients in every round.

    Args:
        target: index of the honest update to copy, from 0; None leaves it to `choice`.
        warmup: rounds after which the target does not change any more, at least 1.
        choice: "paper", as above, or "epfl", that of the authors' code: the largest z·x_i, with its sign and of the present
            round alone.

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
    choice: str = param("paper", kind=str, choices=("paper", "epfl"))
    sees_model: ClassVar[bool] = False
    reference: ClassVar[str] = "Karimireddy, He, Jaggi, ICLR 2022"

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """The honest update that is copied."""
        if self.target is not None and self.target >= len(honest):
            raise InvalidParameter(f"Mimic: target must be below the number of honest updates, {len(honest)}, got {self.target}")
        if self.target is not None:
            return np.asarray(honest[self.target])
        scores = self.next_memory(honest, f, context)["scores"]
        return np.asarray(honest[int(np.argmax(scores[: len(honest)]))])

    def next_memory(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """Number of rounds t, mean μ, direction z, each client's Σ_t x_i and score; after the warm-up they stay, but the sums."""
        past = context.memory
        t = int(past["rounds"]) if "rounds" in past else 0
        if t >= self.warmup:
            return {name: value for name, value in past.items() if name != "sums"}
        mean = honest.mean(axis=0)
        mean = (t * past["mean"] + mean) / (t + 1) if t else mean
        z = _power_step(honest - mean, past["direction"], t) if t else _principal(honest - mean)
        sums = honest + past["sums"] if t and past["sums"].shape == honest.shape else honest
        scores = np.abs(sums @ z) if self.choice == "paper" else honest @ z
        return {"rounds": np.array(t + 1), "mean": mean, "direction": z, "sums": sums, "scores": scores}


def _principal(centred: Array) -> Array:
    """(d,) unit vector of the first principal direction of the centred rows; zeros where all rows are equal."""
    _, vectors = np.linalg.eigh(centred @ centred.T)
    return _unit(vectors[:, -1] @ centred)


def _power_step(centred: Array, z: Array, t: int) -> Array:
    """(d,) the next z of the online power iteration."""
    return _unit(t * z + _unit(centred.T @ (centred @ z)))


def _unit(vector: Array) -> Array:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), np.finfo(float).tiny))
