"""Several clients' training as one program: their models stacked in one tensor an array, `torch.func`'s vmap over them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from flwr_byzantine.errors import InvalidParameter

Tensors = dict[str, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]
MakeOptimizer = Callable[[list[torch.Tensor]], torch.optim.Optimizer]


class Program:
    """Gradients of the mean cross entropy for several clients in one call.

    Args:
        net: the model, in training mode; its own values are not used. One program is for one thread.

    Attributes:
        weights: names of what is trained, arrays that are tied to one of them left out.
        buffers: names of the other arrays of its state_dict.

    Example:
        >>> program = Program(nn.Linear(2, 3))
        >>> model = {name: value.detach() for name, value in program.net.named_parameters()}
        >>> found = program.at_one_model(model, {}, torch.ones(5, 4, 2), torch.zeros(5, 4, dtype=torch.long))
        >>> found["weight"].shape
        torch.Size([5, 3, 2])
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = copy.deepcopy(net)
        self.weights = [name for name, value in self.net.named_parameters() if value.requires_grad]
        known = {*self.weights, *tied(self.net)}
        self.buffers = [name for name in self.net.state_dict() if name not in known]
        gradient = grad(self._loss)
        self.at_one_model = vmap(gradient, in_dims=(None, 0, 0, 0), randomness="different")
        self.at_own_models = vmap(gradient, in_dims=(0, 0, 0, 0), randomness="different")

    def _loss(self, weights: Tensors, buffers: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(functional_call(self.net, (weights, buffers), (x,)), y)


def tied(net: nn.Module) -> dict[str, str]:
    """Name -> name of the parameter whose values it shares, for each that comes later in the model than that one.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> net[1].weight = net[0].weight
        >>> tied(net)
        {'1.weight': '0.weight'}
    """
    first: dict[int, str] = {}
    every = [(name, first.setdefault(id(value), name)) for name, value in net.named_parameters(remove_duplicate=False)]
    return {name: earlier for name, earlier in every if name != earlier}


class Team:
    """Clients that train from one model in local steps, each with its own batches.

    In each step those next to each other whose batches are of one size make one call: batches are never padded, since padding would
    change the statistics of batch normalisation.

    Args:
        program: for this thread.
        model: name -> array of the broadcast model.
        k: number of clients.
        optimizer: makes one of `torch.optim` for tensors; each client has its own state.

    Attributes:
        weights, buffers: name -> (k, ...) what each client has by now.

    Example:
        >>> program = Program(nn.Linear(2, 2))
        >>> team = Team(program, program.net.state_dict(), 2, lambda tensors: torch.optim.SGD(tensors, lr=0.1))
        >>> batch = torch.ones(4, 2), torch.zeros(4, dtype=torch.long)
        >>> team.train([[batch], [batch, batch]])
        >>> bool(team.weights["bias"][0, 0] < team.weights["bias"][1, 0])
        True
    """

    def __init__(self, program: Program, model: Mapping[str, torch.Tensor], k: int, optimizer: MakeOptimizer) -> None:
        self.program = program
        stacked = {
            name: value.detach().expand(k, *value.shape).clone(memory_format=torch.contiguous_format) for name, value in model.items()
        }
        names = dict(program.net.named_parameters())
        self.weights = {name: stacked[name] for name in names}
        self.buffers = {name: value for name, value in stacked.items() if name not in names}
        self._optimizers = Optimizers(optimizer, list(self.weights.values()), k)

    def train(self, batches: Sequence[Sequence[Batch]]) -> None:
        """Take all steps.

        Args:
            batches: of each client, in its order.
        """
        for t in range(max(map(len, batches), default=0)):
            sizes = [len(own[t][1]) if t < len(own) else 0 for own in batches]
            for size, members in groupby(range(len(batches)), key=sizes.__getitem__):
                if size:
                    run = list(members)
                    self._step(slice(run[0], run[-1] + 1), [batches[client][t] for client in run])

    def _step(self, run: slice, batches: Sequence[Batch]) -> None:
        x, y = (torch.stack(parts) for parts in zip(*batches, strict=True))
        weights = {name: value[run] for name, value in self.weights.items()}
        buffers = {name: value[run] for name, value in self.buffers.items()}
        self._optimizers.step(run, list(self.program.at_own_models(weights, buffers, x, y).values()))


class Optimizers:
    """One optimiser of `torch.optim` for stacked tensors, as if each client had its own.

    Args:
        make: makes the optimiser of tensors.
        values: (k, ...) stacked tensors, changed in place.
        k: number of clients.

    Raises:
        InvalidParameter: in a step, where the optimiser's state is no number for each value, or one for each step.
    """

    def __init__(self, make: MakeOptimizer, values: list[torch.Tensor], k: int) -> None:
        self.make, self.values = make, values
        self._saved: list[list[dict[str, Any]]] = [[] for _ in range(k)]  # of each client, of each tensor
        self._run: slice | None = None
        self._optimizer: Any = None
        self._tensors: list[torch.Tensor] = []

    def step(self, run: slice, gradients: Sequence[torch.Tensor]) -> None:
        """One step of the clients in `run`, which have all taken as many."""
        if run != self._run:
            self._save()
            self._load(run)
        for tensor, gradient in zip(self._tensors, gradients, strict=True):
            tensor.grad = gradient
        self._optimizer.step()

    def _load(self, run: slice) -> None:
        self._run, self._tensors = run, [value[run] for value in self.values]
        self._optimizer = self.make(self._tensors)
        saved = self._saved[run]
        for place, tensor in enumerate(self._tensors if saved[0] else []):
            states = [of_client[place] for of_client in saved]
            self._optimizer.state[tensor] = {key: _joined([state[key] for state in states]) for key in states[0]}

    def _save(self) -> None:
        if self._run is None:
            return
        for k, client in enumerate(range(self._run.start, self._run.stop)):
            self._saved[client] = [
                {key: _part(self._optimizer, value, tensor, k) for key, value in self._optimizer.state[tensor].items()}
                for tensor in self._tensors
            ]


def _copies(value: torch.Tensor, k: int) -> torch.Tensor:
    return value.detach().expand(k, *value.shape).clone(memory_format=torch.contiguous_format)


def _part(optimizer: torch.optim.Optimizer, value: Any, tensor: torch.Tensor, k: int) -> Any:
    """Client k's part of a value of an optimiser's state."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.shape == tensor.shape:
        return value[k]
    if value.ndim == 0:
        return value.clone()
    problem = f"{type(optimizer).__name__} keeps a state of shape {tuple(value.shape)} for values of shape {tuple(tensor.shape)}"
    raise InvalidParameter(f"engine 'batched': {problem}, which cannot be told apart by clients; take the engine 'local'")


def _joined(parts: list[Any]) -> Any:
    first = parts[0]
    if not isinstance(first, torch.Tensor):
        return first
    return torch.stack(parts) if first.ndim else first.clone()
