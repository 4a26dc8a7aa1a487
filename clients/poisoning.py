"""Clients that train honestly on poisoned data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

from flwr.client import NumPyClient

from clients.model_attack import ModelAttackClient
from flwr_byzantine import attacks
from flwr_byzantine.attacks.pairs import in_place_of, pair_of
from flwr_byzantine.attacks.poisoning import poisoned, predictor
from flwr_byzantine.attacks.training import TrainingAttack, malicious_training
from flwr_byzantine.flower.mount import Broadcast


class PoisoningClient(ModelAttackClient):
    """Trains on the attack's view of the honest client's data, then boosts or masks the update; evaluates honestly.

    An attack that trains in its own way calls the honest client's `fit` several times, on clean, poisoned and mixed data.

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

    def trained(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """The honest client's training on poisoned data, which are put back afterwards whatever happens, or the attack's own."""
        clean = getattr(self.honest, self.data)
        try:
            if isinstance(self.mounted, TrainingAttack) and not Broadcast.in_call(parameters, config).gradients:
                return self._learnt(self.mounted, parameters, config, clean)
            predict = self.predictor(parameters) if self.mounted.asks_model else None
            view = poisoned(clean, self.mounted, self.num_classes, self.seed, self.attacker, predict=predict, keys=self.keys)
            setattr(self.honest, self.data, view)
            return super().trained(parameters, config)
        finally:
            setattr(self.honest, self.data, clean)

    def predictor(self, parameters: list[Any]) -> Callable[[Any], Any]:
        """The model with these parameters as a function from examples to scores."""
        given = self.predict
        if given is not None:
            return lambda x: given(parameters, x)
        import torch

        self._demand(self.model, "torch module", "model")
        module = copy.deepcopy(getattr(self.honest, self.model))
        module.load_state_dict({name: torch.as_tensor(value) for name, value in zip(module.state_dict(), parameters, strict=True)})
        return predictor(module)

    def _learnt(
        self, attack: TrainingAttack, parameters: list[Any], config: dict[str, Any], clean: Any
    ) -> tuple[list[Any], int, dict[str, Any]]:
        """What the attack makes of the model by calling the honest training; number of examples and metrics are those of the first call."""
        told: list[Any] = []

        def train(arrays: list[Any], pair: tuple[Any, Any]) -> list[Any]:
            setattr(self.honest, self.data, in_place_of(clean, *pair, self.keys))
            made, *rest = super(PoisoningClient, self).trained(arrays, config)
            told.extend(rest)
            return made

        options = {"num_classes": self.num_classes, "seed": self.seed, "attacker": self.attacker}
        scores = lambda arrays, x: self.predictor(arrays)(x)  # noqa: E731
        made = malicious_training(attack, parameters, pair_of(clean, self.keys), train, scores, **options)
        return made, told[0], told[1]

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


class AlternatingMinimizationClient(PoisoningClient):
    """Mounts `attacks.AlternatingMinimization`: `AlternatingMinimizationClient(honest, num_classes=10, source=5, target=7, ...)`."""

    attack = attacks.AlternatingMinimization


class BackdoorCriticalLayersClient(PoisoningClient):
    """Mounts `attacks.BackdoorCriticalLayers`: it looks at models, see `model` and `predict`."""

    attack = attacks.BackdoorCriticalLayers


class ThreeDFedClient(PoisoningClient):
    """Mounts `attacks.ThreeDFed`: `ThreeDFedClient(honest, num_classes=10, colluders=4, ...)`, with partitions that differ modulo it."""

    attack = attacks.ThreeDFed
