"""Clients that train honestly and then send something else: the package's own-knowledge attacks as `NumPyClient`s."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from flwr.app import Context, RecordDict
from flwr.client import NumPyClient

from clients.base import MaliciousClient
from flwr_byzantine import attacks
from flwr_byzantine.flower.records import ROUNDS, moved
from flwr_byzantine.mods import partition_of, turn


class ModelAttackClient(MaliciousClient):
    """Sends broadcast + attack(update) for the honest client's update.

    Args:
        honest: the client to wrap.
        seed: of the attack's randomness: `default_rng([seed, round, partition])`, as in `byzantine_mod`. The round is
            config["server_round"] or config["server-round"], else the calls of `fit` are counted.
        partition: who the client is; the context's partition id where there is a context.
        context: what `client_fn` got: the attack's memory then lies in `context.state` and outlives the client, which
            Flower creates anew for each message; without it, in the client itself.
        attack_args: the attack's parameters.
    """

    attack: ClassVar[type[attacks.OwnAttack]]

    def __init__(self, honest: NumPyClient, seed: int = 0, partition: int = 0, context: Context | None = None, **attack_args: Any) -> None:
        super().__init__(honest)
        self.turn, self.seed = self.attack(**attack_args), seed
        self.partition = partition if context is None else partition_of(context)
        self.state = RecordDict() if context is None else context.state

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """Train honestly, then turn the update."""
        trained, examples, metrics = self.honest.fit([np.copy(value) for value in parameters], config)
        like = [np.asarray(value) for value in trained]
        update = np.concatenate([np.subtract(new, old, dtype=np.float64).ravel() for new, old in zip(like, parameters, strict=True)])
        broadcast = np.concatenate([np.ravel(value) for value in parameters])
        round = next((int(config[key]) for key in ROUNDS if key in config), None)
        sent = turn(self.turn, update, broadcast, self.state, self.partition, self.seed, round)
        return moved(like, parameters, sent), examples, metrics


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
