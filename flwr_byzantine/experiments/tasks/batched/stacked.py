"""Several clients' training as one program: their models stacked in one tensor an array, `torch.func`'s vmap over them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks.batched.recorded import Function, Recordings
from flwr_byzantine.experiments.tasks.batched.tables import picked
from flwr_byzantine.flower.spans import span

Tensors = dict[str, torch.Tensor]
MakeOptimizer = Callable[[list[torch.Tensor]], torch.optim.Optimizer]


class Program:
    """Gradients of the cross entropy for several clients in one call, each example with a weight; 0 is for rows that fill a batch up.

    Args:
        net: the model, in training mode; its own values are not used. One program is for one thread.
        recordings: of these gradients, for the programs of all threads; None records nothing.

    Attributes:
        weights: names of what is trained, arrays that are tied to one of them left out.
        buffers: names of the other arrays of its state_dict.

    Example:
        >>> program = Program(nn.Linear(2, 3))
        >>> model = {name: value.detach() for name, value in program.net.named_parameters()}
        >>> found = program.at_one_model(model, {}, torch.ones(5, 4, 2), torch.zeros(5, 4, dtype=torch.long), torch.full((5, 4), 1 / 4))
        >>> found["weight"].shape
        torch.Size([5, 3, 2])
    """

    def __init__(self, net: nn.Module, recordings: Recordings | None = None) -> None:
        self.net = copy.deepcopy(net)
        self.weights = [name for name, value in self.net.named_parameters() if value.requires_grad]
        known = {*self.weights, *tied(self.net)}
        self.buffers = [name for name in self.net.state_dict() if name not in known]
        gradient = grad(self._loss)
        self.at_one_model: Function = vmap(gradient, in_dims=(None, 0, 0, 0, 0), randomness="different")
        self.at_own_models: Function = vmap(gradient, randomness="different")
        if recordings is not None:
            self.at_one_model = recordings.of("at one model", self.at_one_model)
            self.at_own_models = recordings.of("at own models", self.at_own_models)

    def _loss(self, weights: Tensors, buffers: Tensors, x: torch.Tensor, y: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        scores = functional_call(self.net, (weights, buffers), (x,))
        return nn.functional.cross_entropy(scores, y, reduction="none") @ share


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


def stacks(net: nn.Module, x: torch.Tensor, at_one_model: bool) -> bool:
    """Whether several clients of the net can be one program, tried out on two examples.

    Vmap takes no step that depends on values; and where it would take the clients one after the other, which it warns of, so can we.

    Args:
        net: the model.
        x: two examples or more.
        at_one_model: whether the clients' models are one, as for gradients.

    Example:
        >>> stacks(nn.Linear(2, 2), torch.ones(2, 2), at_one_model=True)
        True
    """
    program = Program(net)
    gradients = program.at_one_model if at_one_model else program.at_own_models
    state = {name: value.detach() for name, value in program.net.state_dict(keep_vars=True).items()}
    weights = {name: state[name] if at_one_model else _copies(state[name], 2) for name in program.weights}
    buffers = {name: _copies(state[name], 2) for name in program.buffers}
    y, shares = torch.zeros(2, 2, dtype=torch.long, device=x.device), torch.ones(2, 2, device=x.device)
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.filterwarnings("error", "There is a performance drop")
            gradients(weights, buffers, x[y], y, shares)
    except Exception:  # whatever the model does that vmap cannot
        return False
    return True


class Steps:
    """The batches of several clients side by side, in one shape: rows that fill up a shorter batch have weight 0.

    Args:
        places: of each client, the places of each batch's examples in some table; clients with more batches come first.

    Attributes:
        places: (steps, k, batch) into the table.
        shares: (steps, k, batch) one over the number of examples in the batch, or 0.
        active: (steps) how many clients take each step.

    Example:
        >>> steps = Steps([[torch.tensor([3, 4]), torch.tensor([5])], [torch.tensor([7])]])
        >>> steps.places.tolist(), steps.shares.tolist(), steps.active
        ([[[3, 4], [7, 0]], [[5, 0], [0, 0]]], [[[0.5, 0.5], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]], [2, 1])
    """

    def __init__(self, places: Sequence[Sequence[torch.Tensor]]) -> None:
        most = max(map(len, places), default=0)
        shape = most, len(places), max((len(batch) for own in places for batch in own), default=0)
        self.places, self.shares = torch.zeros(shape, dtype=torch.long), torch.zeros(shape)
        for k, own in enumerate(places):
            for t, batch in enumerate(own):
                self.places[t, k, : len(batch)] = batch
                self.shares[t, k, : len(batch)] = 1 / len(batch)
        self.active = [sum(t < len(own) for own in places) for t in range(most)]


class Team:
    """Clients that train from one model in local steps, each with its own batches.

    For models in which each row of a batch counts for itself; under batch normalisation the rows that fill up a batch would count too.

    Args:
        program: for this thread.
        model: name -> array of the broadcast model.
        k: number of clients.
        optimizer: makes one of `torch.optim` for tensors; each client has its own state.

    Attributes:
        weights: name -> (k, ...) what each client has made of each trained array.
        buffers: the same of the others.

    Example:
        >>> program = Program(nn.Linear(2, 2))
        >>> team = Team(program, program.net.state_dict(), 2, lambda tensors: torch.optim.SGD(tensors, lr=0.1))
        >>> x, y = torch.ones(4, 2), torch.zeros(4, dtype=torch.long)
        >>> team.train(x, y, Steps([[torch.arange(4), torch.arange(3)], [torch.arange(2)]]))
        >>> bool(team.weights["bias"][0, 0] > team.weights["bias"][1, 0])
        True
    """

    def __init__(self, program: Program, model: Mapping[str, torch.Tensor], k: int, optimizer: MakeOptimizer) -> None:
        self.program = program
        self.weights = {name: _copies(model[name], k) for name in program.weights}
        self.buffers = {name: _copies(model[name], k) for name in program.buffers}
        self._optimizers = Optimizers(optimizer, list(self.weights.values()), k)

    def train(self, x: torch.Tensor, y: torch.Tensor, steps: Steps) -> None:
        """Take all steps.

        Args:
            x: table of all clients' examples.
            y: their labels.
            steps: of the clients in their order.
        """
        for places, shares, k in zip(steps.places, steps.shares, steps.active, strict=True):
            weights = {name: value[:k] for name, value in self.weights.items()}
            buffers = {name: value[:k] for name, value in self.buffers.items()}
            with span("gather"):
                chosen, share = places[:k].to(x.device), shares[:k].to(x.device)
                images, labels = picked(x, chosen), picked(y, chosen)
            with span("gradients"):
                found = self.program.at_own_models(weights, buffers, images, labels, share)
            with span("optimiser"):
                self._optimizers.step(k, list(found.values()))


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
        self._tensors, self._optimizer = self._of(k)

    def step(self, k: int, gradients: Sequence[torch.Tensor]) -> None:
        """One step of the first k clients; the others have taken their last one."""
        if k < len(self._tensors[0]):
            self._narrow(k)
        for tensor, gradient in zip(self._tensors, gradients, strict=True):
            tensor.grad = gradient.contiguous()
        self._optimizer.step()

    def _of(self, k: int) -> tuple[list[torch.Tensor], Any]:
        tensors = [value[:k] for value in self.values]
        return tensors, self.make(tensors)

    def _narrow(self, k: int) -> None:
        """Go on with the first k clients and their state."""
        before, states = self._tensors, self._optimizer.state
        self._tensors, self._optimizer = self._of(k)
        for old, new in zip(before, self._tensors, strict=True):
            self._optimizer.state[new] = {key: _first(self._optimizer, value, old, k) for key, value in states[old].items()}


def _first(optimizer: torch.optim.Optimizer, value: Any, tensor: torch.Tensor, k: int) -> Any:
    """The first k clients' part of a value of an optimiser's state."""
    if not isinstance(value, torch.Tensor) or value.ndim == 0:
        return value
    if value.shape == tensor.shape:
        return value[:k]
    problem = f"{type(optimizer).__name__} keeps a state of shape {tuple(value.shape)} for values of shape {tuple(tensor.shape)}"
    raise InvalidParameter(f"engine 'batched': {problem}, which cannot be told apart by clients; take the engine 'local'")


def _copies(value: torch.Tensor, k: int) -> torch.Tensor:
    return value.detach().expand(k, *value.shape).clone(memory_format=torch.contiguous_format)
