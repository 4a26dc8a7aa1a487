"""A task's federation on the engine "batched": clients, attack, strategy and measures on arrays, in this process."""

from __future__ import annotations

import math
import multiprocessing
from collections import deque
from collections.abc import Container, Iterator, Mapping
from typing import cast

import numpy as np
import torch

from flwr_byzantine.adversary import Adversary, Trained
from flwr_byzantine.arrays.parallel import cores
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks import Attack
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.detection import Verdict, verdicts
from flwr_byzantine.experiments.measures import History, ReplyShares, evaluated, kappa_seen, shares_of_average, shares_of_report
from flwr_byzantine.experiments.tasks import malicious
from flwr_byzantine.experiments.tasks.batched.average import Average
from flwr_byzantine.experiments.tasks.batched.clients import Clients
from flwr_byzantine.experiments.tasks.batched.held import Held
from flwr_byzantine.experiments.tasks.batched.tables import Answers
from flwr_byzantine.experiments.tasks.evaluator import Evaluator, OnReport, OnRound
from flwr_byzantine.experiments.tasks.federation import strategy_of
from flwr_byzantine.experiments.tasks.learned import TaskModel
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.experiments.tasks.notices import notices
from flwr_byzantine.experiments.tasks.participation import attackers, participants
from flwr_byzantine.experiments.tasks.sampling import below_of
from flwr_byzantine.experiments.tasks.server_step import ServerStep
from flwr_byzantine.experiments.tasks.task import NO_REFRESH, Task
from flwr_byzantine.flower.mount import Broadcast
from flwr_byzantine.flower.spans import span
from flwr_byzantine.rules import Mean, Rule
from flwr_byzantine.strategy.in_process import InProcess
from flwr_byzantine.strategy.report import RoundReport
from flwr_byzantine.strategy.wrapper import Wrapper

Model = Mapping[str, Array]


def federate(
    task: Task,
    rule: Rule | None,
    attack: Attack | None,
    rounds: int,
    on_round: OnRound = lambda _round, _accuracy: None,
    evaluate_every: int = 1,
    on_report: OnReport | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> tuple[History, Model]:
    """As `federation.federate`, with no Grid: nothing is written to npy bytes, and small models train as one.

    Args:
        task: as there, and the other arguments too.
        rule: see there.
        attack: see there.
        rounds: see there.
        on_round: see there.
        evaluate_every: see there.
        on_report: see there.
        device: of PyTorch, where clients train; None is "cuda" where there is a GPU, else "cpu".
        threads: how many train at the same time; None is one for each core, or one where this process is one of several.

    Returns:
        What was measured, and the final model, name -> array.

    Example:
        >>> task = Task(partition="sorted", num_clients=3, local_epochs=1)
        >>> history, _ = federate(task, None, None, rounds=2)
        >>> len(history.accuracy), history.malicious_share
        (3, [0.0, 0.0])
    """
    torch.set_num_threads(1)
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device is None else device
    return Federation(task, rule, attack, where, on_report is not None, threads).run(rounds, on_round, evaluate_every, on_report)


class Federation:
    """The rounds of one federation.

    Attackers whose own replies change nothing train nothing: not those of this round, nor, as redrawn ones' momentum, of a later one.

    Args:
        task: data and training.
        rule: or None for the plain average.
        attack: or None.
        device: where clients train.
        certificate: whether reports hold one.
        threads: see `federate`.
    """

    def __init__(self, task: Task, rule: Rule | None, attack: Attack | None, device: str, certificate: bool, threads: int | None) -> None:
        if task.refresh:
            raise InvalidParameter(NO_REFRESH)
        self.task, self.attack = task, attack
        self.learned = TaskModel(task, attack, device)
        below = below_of(task)
        self.strategy = strategy_of(task, rule, below, certificate, self.learned.servers_own(rule))
        self.step = ServerStep(task, self.strategy)
        self.server = InProcess(self.strategy) if isinstance(self.strategy, Wrapper) else Average(below)
        harm = self.learned.harm(self.step) if attack is not None and attack.knowledge == "rule" else None
        self.adversary = None if attack is None else Adversary(attack, Mean() if rule is None else rule, task.seed, harm)
        self.attackers_net = model(task)
        remembered = task.method == "byzantine-sgd" and task.momentum > 0 and task.attackers == "redrawn"
        self.unasked = attack is not None and attack.knowledge != "own" and not remembered
        self.held = Held(task, attack)
        self.clients = Clients(task, model(task), self.held, _threads() if threads is None else threads, device)
        self.recorder = Recorder()

    def run(self, rounds: int, on_round: OnRound, evaluate_every: int, on_report: OnReport | None) -> tuple[History, Model]:
        """All rounds; see `federate`."""
        evaluator = self.evaluator(evaluated(rounds, evaluate_every), on_round, on_report)
        now = deque(self.rounds(rounds, evaluator), maxlen=1).pop()
        evaluator.history.notices = notices(self.task, self.attack, rounds, [] if self.adversary is None else self.adversary.notices)
        return evaluator.history, now

    def evaluator(self, due: Container[int], on_round: OnRound, on_report: OnReport | None = None) -> Evaluator:
        """What measures the rounds."""
        return Evaluator(self.learned.measured, self.strategy, self.recorder, due, on_round, on_report, self.step.aggregate)

    def rounds(self, count: int, evaluator: Evaluator) -> Iterator[Model]:
        """The first model, and that after each round, once it is measured."""
        now: Model = {name: value.numpy().copy() for name, value in model(self.task).state_dict().items()}
        with self.server.running(now):
            for number in range(count + 1):
                now = self._round(number, now) if number else now
                evaluator.note(number, vector(now), now)
                yield now

    def _round(self, number: int, now: Model) -> Model:
        there = sorted(participants(self.task, number))
        bad = frozenset() if self.attack is None else attackers(self.task, number)
        self.held.begin(now, bad)
        broadcast = Broadcast(now, self.task.method == "byzantine-sgd", number)
        honest = [client for client in there if client not in bad]
        seen = honest if self.unasked and honest else there
        answers = self._answers(now, seen, number)
        replies: dict[int, Model] = dict(zip(seen, answers.arrays, strict=True))
        rows = answers.rows if seen is honest else answers.rows[[seen.index(client) for client in honest]]
        if self.adversary is not None:
            replies |= self._learnt(now, [client for client in there if client in bad], number)
            replies |= self._attacked(broadcast, replies, rows, honest, [client for client in there if client in bad])
        self.recorder.begin({client: len(self.held(client)[1]) for client in there}, bad & set(there), rows)
        return self.server.round(number, now, {client + 1: replies[client] for client in there}, self.recorder.examples)

    @span("clients")
    def _answers(self, now: Model, clients: list[int], number: int) -> Answers:
        if self.task.method == "byzantine-sgd":
            return self.clients.gradients(now, clients, number)
        return self.clients.models(now, clients, number, self.task.lr_in(number))

    @span("attack")
    def _learnt(self, now: Model, bad: list[int], number: int) -> dict[int, Model]:
        """What the round's attackers have trained, where the attack trains in its own way."""
        made: dict[int, Model] = {}
        for client in bad if self.attack is not None and malicious.trains_itself(self.task, self.attack) else []:
            malicious.fill(self.attackers_net, list(now.values()))
            malicious.train(self.attackers_net, self.task, cast(Attack, self.attack), client, number)
            made[client] = dict(zip(now, malicious.arrays_of(self.attackers_net), strict=True))
        return made

    @span("attack")
    def _attacked(
        self, broadcast: Broadcast, replies: Mapping[int, Model], rows: Array, honest: list[int], bad: list[int]
    ) -> dict[int, Model]:
        """What the round's attackers send."""
        adversary = cast(Adversary, self.adversary)
        adversary.enter(broadcast)
        if not adversary.sees(honest, bad):
            return {}
        trained = [Trained(client, broadcast, replies.get(client, broadcast.model)) for client in (*honest, *bad)]
        updates = None if adversary.own else rows if broadcast.gradients else _moves(rows, broadcast.vector)
        return dict(zip(bad, adversary.replies(trained[: len(honest)], trained[len(honest) :], broadcast, updates), strict=True))


class Recorder:
    """What an `Evaluator` asks of the replies of the last round.

    Attributes:
        examples: node id -> number of examples.
    """

    def __init__(self) -> None:
        self.examples: dict[int, int] = {}
        self.bad: frozenset[int] = frozenset()
        self.rows: Array = np.zeros((0, 0))

    def begin(self, counts: Mapping[int, int], bad: frozenset[int], rows: Array) -> None:
        """A round's clients with their numbers of examples, the attackers, and the (h, d) honest replies."""
        self.examples = {client + 1: count for client, count in counts.items()}
        self.bad, self.rows = bad, rows

    @property
    def attackers(self) -> int:
        """How many took part."""
        return len(self.bad)

    def shares(self, report: RoundReport | None) -> ReplyShares:
        """See `RecordingGrid.shares`."""
        if report is not None:
            return shares_of_report(report, self._numbers, self.bad)
        return shares_of_average({node - 1: float(count) for node, count in self.examples.items()}, self.bad)

    def verdicts(self, report: RoundReport) -> list[Verdict]:
        """See `RecordingGrid.verdicts`."""
        return verdicts(report, self._numbers, self.bad)

    @property
    def _numbers(self) -> dict[int, int]:
        return {node: node - 1 for node in self.examples}

    def kappa(self, aggregate: Array) -> float:
        """See `RecordingGrid.kappa`."""
        return kappa_seen(aggregate, self.rows) if len(self.rows) else math.nan


def vector(arrays: Model) -> Array:
    """(d,) all values of a model in its order."""
    return np.concatenate([value.ravel() for value in arrays.values()])


def _moves(rows: Array, origin: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.subtract(rows, origin, dtype=np.float64)


def _threads() -> int:
    """Threads that train: one where this process is one of several, as in a sweep."""
    return cores() if multiprocessing.parent_process() is None else 1
