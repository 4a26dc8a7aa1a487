"""What the clients of a round answer, worked out in this process without a message."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.experiments.tasks import training
from flwr_byzantine.experiments.tasks.batched.recorded import Recordings, settled
from flwr_byzantine.experiments.tasks.batched.stacked import Program, Steps, Team, stacks, tied
from flwr_byzantine.experiments.tasks.batched.tables import Answers, Table, by_client, picked, split
from flwr_byzantine.experiments.tasks.cache import Cache
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.experiments.tasks.training import Examples
from flwr_byzantine.flower.spans import span

T = TypeVar("T")
TEAM_VALUES = 1 << 20  # values of the models that train as one, at most: these and their optimiser's state stay near the processor


class Clients:
    """All clients of a task: small models train together as one program (`stacked`), others one by one, each on a core.

    What is trained together differs in the last bits from what is trained one by one, since sums are made in another order. Models that
    draw random numbers, look at a batch as a whole or change buffers, those with convolutions, large ones and those that vmap cannot
    take train one by one, with the bits of the engine "local". Results do not depend on the number of threads.

    Args:
        task: data and training.
        net: the task's model; each thread has a copy.
        examples: of a client, by its number.
        threads: how many train at the same time.
        device: of PyTorch; on others than "cpu" only models that look at a batch as a whole or change buffers train one by one.

    Example:
        >>> from flwr_byzantine.experiments.tasks.models import model
        >>> task = Task(num_clients=3, local_epochs=1)
        >>> clients = Clients(task, model(task), lambda client: training.local_data(task, client))
        >>> broadcast = {name: value.numpy() for name, value in model(task).state_dict().items()}
        >>> len(clients.models(broadcast, [0, 2], server_round=1).arrays)
        2
    """

    def __init__(self, task: Task, net: nn.Module, examples: Callable[[int], Examples], threads: int = 1, device: str = "cpu") -> None:
        self.task, self.examples, self.device = task, examples, torch.device(device)
        self.net = copy.deepcopy(net).to(self.device).train()
        self.size = sum(value.numel() for value in net.parameters())
        shown, here = examples(task.num_clients - 1)[0], self.device.type == "cpu"
        self.drawn = training.draws(net, shown)
        whole = training.mixes(net, shown) or training.remembers(net, shown) != []
        alone = whole or (here and (self.drawn or _convolves(net) or 2 * self.size > TEAM_VALUES))
        self.together = not alone and stacks(self.net, shown.to(self.device), task.method == "byzantine-sgd")
        self.tied, self.recordings = tied(net), None if self.drawn or not settled(self.net) else Recordings()
        self._pool = None if threads == 1 or self.drawn or not here else ThreadPoolExecutor(threads)
        self._tables: Cache[Table] = Cache(size=1)
        self._own = threading.local()
        self._momentum: Array | None = None
        self._rows: Array = np.zeros((0, 0), np.float32)

    def models(self, model: Mapping[str, Array], clients: Sequence[int], server_round: int, lr: float | None = None) -> Answers:
        """The models that clients train from the broadcast one; buffers are each client's own.

        Args:
            model: name -> array of the broadcast model.
            clients: their numbers.
            server_round: from 1.
            lr: of the round; None is the task's.
        """
        found: dict[int, dict[str, Array]] = {}
        step = self.task.lr if lr is None else lr
        if self.together:
            table = self._table(clients)
            trained = self._map(lambda team: self._team(model, table, team, server_round, step), self._teams(clients))
        else:
            trained = self._map(lambda client: self._single(model, client, server_round, step), clients)
        for part in trained:
            found |= part
        self._record()
        arrays = [found[client] for client in clients]
        rows = self._matrix(len(clients), model, np.result_type(*(value.dtype for value in model.values())))
        for row, own in zip(rows, arrays, strict=True):
            np.concatenate([value.ravel() for value in own.values()], out=row)
        return Answers(arrays, rows)

    def gradients(self, model: Mapping[str, Array], clients: Sequence[int], server_round: int) -> Answers:
        """Each client's gradient at the broadcast model of one batch, or its momentum; zeros for what is not trained.

        Args:
            model: as for `models`.
            clients: as for `models`, those without momentum first.
            server_round: as for `models`.
        """
        rows = self._matrix(len(clients), model, np.result_type(*(value.dtype for value in model.values() if value.dtype.kind == "f")))
        targets = split(rows, model)
        if self.together:
            self._fill(targets, model, clients, server_round)
        else:
            list(self._map(lambda k: self._fill_one(targets, k, model, clients[k], server_round), range(len(clients))))
        self._record()
        rows = self._with_momentum(rows, clients)
        return Answers(by_client(split(rows, model), model), rows)

    def _record(self) -> None:
        """Between rounds, while no thread trains."""
        if self.recordings is not None:
            self.recordings.make()

    def _matrix(self, n: int, model: Mapping[str, Array], dtype: np.dtype[Any]) -> Array:
        """(n, d) of the last round's memory, which is as good as new: new memory takes longer than what is written to it."""
        shape = n, sum(value.size for value in model.values())
        if self._rows.shape != shape or self._rows.dtype != dtype:
            self._rows = np.zeros(shape, dtype)
        return self._rows

    def _teams(self, clients: Sequence[int]) -> list[list[int]]:
        """Those who train as one, with about as many batches each, since a team takes as long as the longest of it."""
        most = len(clients) if self.device.type != "cpu" else max(1, TEAM_VALUES // self.size)
        ordered = sorted(clients, key=lambda client: -len(self.examples(client)[1]))
        count = -(-len(clients) // most)
        return [list(map(int, team)) for team in np.array_split(ordered, count)]

    def _map(self, work: Callable[[Any], T], items: Iterable[Any]) -> Iterable[T]:
        return map(work, items) if self._pool is None else self._pool.map(work, items)

    def _table(self, clients: Sequence[int]) -> Table:
        """The clients' examples one after another; the last round's where they are the same."""
        found = [self.examples(client) for client in clients]
        return self._tables.get(None, [x for x, _ in found], lambda: Table.of(clients, found, self.device))

    def _team(
        self, model: Mapping[str, Array], table: Table, clients: list[int], server_round: int, lr: float
    ) -> dict[int, dict[str, Array]]:
        state = self._state(model)
        team = Team(self._program(), state, len(clients), lambda tensors: training.optimizer(self.task, tensors, lr))
        with self._drawing(table, clients[0], server_round):
            team.train(table.x, table.y, Steps([self._places(table, client, server_round) for client in clients]))
        stacked = {name: value.cpu().numpy() for name, value in (team.weights | team.buffers).items()}
        stacked |= {name: stacked[first] for name, first in self.tied.items()}
        return {client: {name: stacked[name][k, ...] for name in model} for k, client in enumerate(clients)}

    def _drawing(self, table: Table, client: int, server_round: int) -> AbstractContextManager[None]:
        """Where a model draws: what all draw together follows from the round of the first client."""
        return training.drawing(self.net, table.x, training.randomness(self.task, client, server_round)) if self.drawn else nullcontext()

    def _places(self, table: Table, client: int, server_round: int) -> list[torch.Tensor]:
        """The places in the table of the client's batches."""
        start, count = table.places[client]
        generator = training.randomness(self.task, client, server_round)
        return [start + places for places in training.batches(self.task, count, generator)]

    def _single(self, model: Mapping[str, Array], client: int, server_round: int, lr: float) -> dict[int, dict[str, Array]]:
        net, (x, y) = self._loaded(model), self.examples(client)
        x, y = x.to(self.device), y.to(self.device)
        training.train(net, self.task, x, y, training.randomness(self.task, client, server_round), lr)
        return {client: {name: np.array(value.cpu().numpy(), order="C") for name, value in net.state_dict().items()}}

    @span("gradients")
    def _fill(self, targets: Mapping[str, Array], model: Mapping[str, Array], clients: Sequence[int], server_round: int) -> None:
        program = self._program()
        state = self._state(model)
        with span("gather"):
            table = self._table(clients)
            places = torch.stack([self._batch_places(table, client, server_round) for client in clients]).to(self.device)
            x, y = picked(table.x, places), picked(table.y, places)
        shares = torch.full(y.shape, 1 / y.shape[1], device=self.device)
        weights = {name: state[name] for name in program.weights}
        buffers = {name: state[name].expand(len(clients), *state[name].shape).clone() for name in program.buffers}
        with self._drawing(table, clients[0], server_round):
            gradients = program.at_one_model(weights, buffers, x, y, shares)
        for name, gradient in gradients.items():
            decayed = gradient.add(weights[name], alpha=self.task.weight_decay) if self.task.weight_decay else gradient
            targets[name][...] = decayed.cpu().numpy()
        for name, first in self.tied.items():
            targets[name][...] = targets[first]

    def _fill_one(self, targets: Mapping[str, Array], k: int, model: Mapping[str, Array], client: int, server_round: int) -> None:
        net, batch = self._loaded(model), self._batch(client, server_round)
        weights = {name: value for name, value in net.named_parameters(remove_duplicate=False) if value.requires_grad}
        with training.drawing(net, batch[0], training.randomness(self.task, client, server_round)):
            gradients = torch.autograd.grad(training.objective(self.task)(net, batch), list(weights.values()), materialize_grads=True)
        for name, gradient in zip(weights, gradients, strict=True):
            targets[name][k] = gradient.cpu().numpy()

    def _batch(self, client: int, server_round: int) -> Examples:
        x, y = self.examples(client)
        places = training.one_batch(self.task, len(x), training.randomness(self.task, client, server_round))
        return x[places].to(self.device), y[places].to(self.device)

    def _batch_places(self, table: Table, client: int, server_round: int) -> torch.Tensor:
        start, count = table.places[client]
        return start + training.one_batch(self.task, count, training.randomness(self.task, client, server_round))

    @span("momentum")
    def _with_momentum(self, rows: Array, clients: Sequence[int]) -> Array:
        """Worker momentum, kept from round to round for each client of the task: see `client.gradient`."""
        if not self.task.momentum:
            return rows
        plain = sum(not self.task.momentum_of(client) for client in clients)
        if not plain:
            return self._moved(rows, clients)
        if plain < len(clients):
            rows[plain:] = self._moved(rows[plain:], clients[plain:])
        return rows

    def _moved(self, rows: Array, clients: Sequence[int]) -> Array:
        beta, averaged = self.task.momentum, self.task.momentum_form == "averaged"
        if self._momentum is None:
            self._momentum = np.zeros((self.task.num_clients, rows.shape[1]), rows.dtype)
        rows *= 1 - beta if averaged else 1
        together = list(clients) == list(range(clients[0], clients[-1] + 1))
        moved = self._momentum[clients[0] : clients[-1] + 1] if together else self._momentum[list(clients)]
        moved *= beta
        moved += rows
        if not together:  # in which case it is a copy
            self._momentum[list(clients)] = moved
        return moved

    def _program(self) -> Program:
        if not hasattr(self._own, "program"):
            self._own.program = Program(self.net, self.recordings)
        made: Program = self._own.program
        return made

    def _state(self, model: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        """The broadcast values in the model's own types: an average of integers is none."""
        kinds = self.net.state_dict()
        return {name: torch.as_tensor(value).to(kinds[name]) for name, value in model.items()}

    def _loaded(self, model: Mapping[str, Array]) -> nn.Module:
        """This thread's net with the broadcast values."""
        if not hasattr(self._own, "net"):
            self._own.net = copy.deepcopy(self.net)
        net: nn.Module = self._own.net
        with torch.no_grad():
            for value, new in zip(net.state_dict().values(), model.values(), strict=True):
                value.copy_(torch.as_tensor(new))
        return net


def _convolves(net: nn.Module) -> bool:
    return any(isinstance(part, nn.modules.conv._ConvNd) for part in net.modules())
