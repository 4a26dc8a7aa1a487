"""Clients that train honestly and then send something else: the package's own-knowledge attacks as `NumPyClient`s."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from flwr.client import NumPyClient

from clients.base import MaliciousClient
from flwr_byzantine import attacks


class ModelAttackClient(MaliciousClient):
    """Sends broadcast + attack(update) for the honest client's update.

    Args:
        honest: the client to wrap.
        seed: of the attack's randomness; each call of `fit` draws anew.
        attack_args: the attack's parameters.
    """

    attack: ClassVar[type[attacks.OwnAttack]]

    def __init__(self, honest: NumPyClient, seed: int = 0, **attack_args: Any) -> None:
        super().__init__(honest)
        self.turn = self.attack(**attack_args)
        self._rng = np.random.default_rng(seed)

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """Train honestly, then turn the update."""
        trained, examples, metrics = self.honest.fit([np.copy(value) for value in parameters], config)
        update = np.concatenate([np.subtract(new, old, dtype=np.float64).ravel() for new, old in zip(trained, parameters, strict=True)])
        turned, start, sent = self.turn.own(update, self._rng), 0, []
        for new, old in zip(trained, parameters, strict=True):
            part = turned[start : start + old.size].reshape(old.shape)
            sent.append((old + part).astype(np.asarray(new).dtype))
            start += old.size
        return sent, examples, metrics


class SignFlipClient(ModelAttackClient):
    """`attacks.SignFlip`: `SignFlipClient(honest, scale=1.0)`."""

    attack = attacks.SignFlip


class GaussianClient(ModelAttackClient):
    """`attacks.Gaussian`: `GaussianClient(honest, std=1.0)`."""

    attack = attacks.Gaussian


class ScalingClient(ModelAttackClient):
    """`attacks.Scaling`: `ScalingClient(honest, factor=10.0)`."""

    attack = attacks.Scaling


class NaNClient(ModelAttackClient):
    """`attacks.NaNs`: `NaNClient(honest, share=1.0)`."""

    attack = attacks.NaNs


class FreeRiderClient(ModelAttackClient):
    """`attacks.Zero`: sends the broadcast model back."""

    attack = attacks.Zero
