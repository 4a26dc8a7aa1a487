"""Clients that train honestly on poisoned data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

from flwr.client import NumPyClient

from clients.model_attack import ModelAttackClient
from flwr_byzantine import attacks
from flwr_byzantine.attacks.poisoning import poisoned, predictor


class PoisoningClient(ModelAttackClient):
    """Trains on the attack's view of the honest client's data, then boosts or masks the update; evaluates honestly.

    `PoisoningClient.of(attack, honest)` mounts any attack on data.

    Args:
        honest: the client to wrap; it must keep its training data in an attribute, which is exchanged while it trains.
        num_classes: number of classes.
        data: the attribute's name; it may hold whatever `attacks.poisoning.poisoned` takes: a DataLoader, a dataset,
            a pair (x, y), an iterable of batches.
        seed: of the choice of examples, the same in every round, and of the attack's randomness.
        attacker: which attacker this is, from 0; it decides the choice of examples and the part of a distributed
            trigger. None takes the partition.
        keys: names of x and y where examples are mappings, as in flwr-datasets.
        model: for attacks that look at the broadcast model: name of the attribute with the torch module; a copy of it gets
            the broadcast parameters, in the order of its state_dict.
        predict: (parameters, examples) -> (n, num_classes) scores, in place of a torch module.
        attack_args: the attack's parameters, and `partition` and `context` of `ModelAttackClient`.

    Raises:
        AttributeError: the honest client has no such attribute.
    """

    attack: ClassVar[Callable[..., attacks.DataAttack]]
    mounted: attacks.DataAttack

    def __init__(
        self,
        honest: NumPyClient,
        num_classes: int = 10,
        data: str = "trainloader",
        seed: int = 0,
        attacker: int | None = None,
        keys: tuple[Any, Any] | None = None,
        *,
        model: str = "model",
        predict: Callable[[list[Any], Any], Any] | None = None,
        **attack_args: Any,
    ) -> None:
        super().__init__(honest, seed, **attack_args)
        self._demand(data, "training data", "data")
        self.num_classes, self.data, self.keys, self.model, self.predict = num_classes, data, keys, model, predict
        self.attacker = self.partition if attacker is None else attacker
        if self.mounted.asks_model and predict is None:
            self._demand(model, "torch module", "model")

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """Honest training on poisoned data, which is put back afterwards whatever happens."""
        clean, predict = getattr(self.honest, self.data), self.predictor(parameters)
        view = poisoned(clean, self.mounted, self.num_classes, self.seed, self.attacker, predict=predict, keys=self.keys)
        setattr(self.honest, self.data, view)
        try:
            return super().fit(parameters, config)
        finally:
            setattr(self.honest, self.data, clean)

    def predictor(self, parameters: list[Any]) -> Callable[[Any], Any] | None:
        """The broadcast model as a function from examples to scores; None for attacks that do not look at it."""
        given = self.predict
        if not self.mounted.asks_model:
            return None
        if given is not None:
            return lambda x: given(parameters, x)
        import torch

        module = copy.deepcopy(getattr(self.honest, self.model))
        module.load_state_dict({name: torch.as_tensor(value) for name, value in zip(module.state_dict(), parameters, strict=True)})
        return predictor(module)

    def _demand(self, attribute: str, what: str, argument: str) -> None:
        if not hasattr(self.honest, attribute):
            raise AttributeError(
                f"{type(self).__name__} needs the {what} of {type(self.honest).__name__} in an attribute, found no {attribute!r}; "
                f"name it by {argument}="
            )


class LabelFlipClient(PoisoningClient):
    """Mounts `attacks.LabelFlip`: `LabelFlipClient(honest, num_classes=10, data="trainloader")` trains on num_classes - 1 - y."""

    attack = attacks.LabelFlip


class DynamicLabelFlipClient(PoisoningClient):
    """Mounts `attacks.DynamicLabelFlip`: trains on the labels that the broadcast model, see `model` and `predict`, likes least."""

    attack = attacks.DynamicLabelFlip


class BackdoorClient(PoisoningClient):
    """Mounts `attacks.Backdoor`: `BackdoorClient(honest, num_classes=10, target=0, patch=3, boost=1.0, ...)`."""

    attack = attacks.Backdoor


class DistributedBackdoorClient(PoisoningClient):
    """Mounts `attacks.DistributedBackdoor`: each client trains on its part of the trigger, by its partition or `attacker`."""

    attack = attacks.DistributedBackdoor


class EdgeCaseBackdoorClient(PoisoningClient):
    """Mounts `attacks.EdgeCaseBackdoor`: `EdgeCaseBackdoorClient(honest, num_classes=10, source=7, target=1, ...)`."""

    attack = attacks.EdgeCaseBackdoor
