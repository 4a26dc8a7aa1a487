"""What a task's server has of its own: the loss on data that it held back, an update trained on them, predictions on random inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord
from torch import nn

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.client import gradient
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks import training
from flwr_byzantine.experiments.tasks.data import Data
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.rules import Rule
from flwr_byzantine.strategy.trusted import trusts

EXAMPLES = 500  # of the validation split, at most, that rules and detectors are shown
INPUTS = 2000  # random ones; DeepSight's authors take 20,000
INPUT_STREAM = 4  # tells the generator of random inputs from others of the same seed


class ServersOwn:
    """The functions that strategies take as `server_loss=`, `server_update=` and `server_predict=`.

    The first two look at the validation split, which no client has; the update is what a client would send that had these examples: a
    model trained as the task says, or under "byzantine-sgd" the gradient of all of them.

    Args:
        task: data and training.
        net: of the task; its values are overwritten.
        data: of the task.

    Raises:
        InvalidParameter: by the first two, where the task has no validation split.

    Example:
        >>> from flwr_byzantine.experiments.tasks.data import load
        >>> from flwr_byzantine.experiments.tasks.models import model
        >>> task = Task(validation=0.1)
        >>> net = model(task)
        >>> round(ServersOwn(task, net, load(task)).loss(1, net.state_dict()), 1)
        2.3
    """

    def __init__(self, task: Task, net: nn.Module, data: Data) -> None:
        self.task, self.net, self.data = task, net, data

    def arguments(self, rule: Rule | None) -> dict[str, Any]:
        """The strategy's; an update only for rules that trust one, since it is trained in each round."""
        update = {"server_update": self.update} if rule is not None and trusts(rule) else {}
        return {"server_loss": self.loss, "server_predict": self.predict, **update}

    def loss(self, server_round: int, arrays: Mapping[str, Any]) -> float:
        """Of a model on the examples."""
        return training.evaluate(self._loaded(arrays), *self._examples())[0]

    def update(self, server_round: int, arrays: ArrayRecord) -> Mapping[str, Array]:
        """The model as trained on the examples, or its gradient there."""
        (x, y), net, task = self._examples(), self._loaded(arrays.to_torch_state_dict()), self.task
        generator = training.randomness(task, task.num_clients, server_round)  # which no client has
        if task.method == "byzantine-sgd":
            with training.drawing(net, x, generator):
                return gradient(net, training.objective(task), [(x, y)]).arrays
        training.train(net, task, x, y, generator, task.lr_in(server_round))
        return {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}

    def predict(self, server_round: int, arrays: Mapping[str, Any]) -> Array:
        """(inputs, classes) probabilities that a model gives random inputs, which are others in each round."""
        return np.asarray(training.outputs(self._loaded(arrays), self._inputs(server_round)).softmax(dim=1).numpy())

    def _examples(self) -> training.Examples:
        if not len(self.data.validation_y):
            raise InvalidParameter("this rule asks for data of the server's own, and the task has none: set validation, say to 0.1")
        return self.data.validation_x[:EXAMPLES], self.data.validation_y[:EXAMPLES]

    def _inputs(self, server_round: int) -> torch.Tensor:
        """Uniform in the range of the data, or over the tokens."""
        rng, data = np.random.default_rng([self.task.seed, INPUT_STREAM, server_round]), self.data
        if data.vocabulary:
            return torch.from_numpy(rng.integers(data.vocabulary, size=(INPUTS, *data.shape)))
        return data.test_scale.rows(torch.from_numpy(rng.random((INPUTS, *data.shape), dtype=np.float32)))

    def _loaded(self, arrays: Mapping[str, Any]) -> nn.Module:
        self.net.load_state_dict({name: torch.as_tensor(value) for name, value in arrays.items()})
        return self.net
