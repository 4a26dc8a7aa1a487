"""Clients that train honestly and then send something else: the package's own-knowledge attacks as `NumPyClient`s."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from flwr.app import Context, RecordDict
from flwr.client import NumPyClient

from clients.base import MaliciousClient
from flwr_byzantine import attacks
from flwr_byzantine.flower.mount import Broadcast, named
from flwr_byzantine.mods import malicious_reply, partition_of


class ModelAttackClient(MaliciousClient):
    """Sends what the attack makes of the honest client's update; `ModelAttackClient.of(attack, honest)` for any attack.

    Under `ByzantineSGD` (config["reply-kind"] is "gradient") the honest client answers with a gradient, which is then its update.

    Args:
        honest: the client to wrap.
        seed: of the attack's randomness: `default_rng([seed, round, partition])`, as in `byzantine_mod`. The round is
            config["server_round"] or config["server-round"], else the calls of `fit` are counted. (Flower's own legacy
            strategies tell the round beside the config, where a mod sees it and a NumPyClient does not.)
        partition: who the client is; the context's partition id where there is a context.
        context: what `client_fn` got: the attack's memory then lies in `context.state` and outlives the client, which
            Flower creates anew for each message; without it, in the client itself.
        attack_args: the attack's parameters.
    """

    attack: ClassVar[Callable[..., attacks.OwnAttack]]

    def __init__(self, honest: NumPyClient, seed: int = 0, partition: int = 0, context: Context | None = None, **attack_args: Any) -> None:
        super().__init__(honest)
        self.mounted, self.seed = self.attack(**attack_args), seed
        self.partition = partition if context is None else partition_of(context)
        self.state = RecordDict() if context is None else context.state

    @classmethod
    def of(cls, attack: attacks.OwnAttack, honest: NumPyClient, **arguments: Any) -> Self:
        """A client that mounts this attack object; `arguments` are those of the class beside the attack's parameters.

        Example:
            >>> client = ModelAttackClient.of(attacks.Drift(step=0.1), NumPyClient(), seed=1, partition=3)
            >>> client.mounted.step, client.partition
            (0.1, 3)
        """
        subclass = type(f"{type(attack).__name__}Client", (cls,), {"attack": staticmethod(lambda: attack)})
        client: Self = subclass(honest, **arguments)
        return client

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """Train honestly, then let the attack act on the update."""
        broadcast = Broadcast.in_call(parameters, config)
        trained, examples, metrics = self.trained(parameters, config)
        sent = malicious_reply(self.mounted, broadcast, named(trained), self.state, self.partition, self.seed)
        return list(sent.values()), examples, metrics

    def trained(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """The honest client's result, for a copy of the parameters."""
        return self.honest.fit([np.copy(value) for value in parameters], config)


class SignFlipClient(ModelAttackClient):
    """Mounts `attacks.SignFlip`: `SignFlipClient(honest, scale=1.0)`."""

    attack = attacks.SignFlip


class GaussianClient(ModelAttackClient):
    """Mounts `attacks.Gaussian`: `GaussianClient(honest, std=1.0)`."""

    attack = attacks.Gaussian


class ScalingClient(ModelAttackClient):
    """Mounts `attacks.Scaling`: `ScalingClient(honest, factor=10.0)`."""

    attack = attacks.Scaling


class NaNClient(ModelAttackClient):
    """Mounts `attacks.NaNs`: `NaNClient(honest, share=1.0)`."""

    attack = attacks.NaNs


class FreeRiderClient(ModelAttackClient):
    """Mounts `attacks.Zero`: sends the broadcast model back, or under `ByzantineSGD` a gradient of zeros."""

    attack = attacks.Zero
