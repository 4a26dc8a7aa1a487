"""Who is asked in a round of a strategy, how long their answers are waited for, and what evaluations have found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from logging import WARNING
from typing import Any

from flwr_byzantine.flower.patience import Patience, Quorum
from flwr_byzantine.flower.presence import Presence
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.strategy.counting import RuleFor, quorum, silence, substitutes, unknown
from flwr_byzantine.strategy.inspection import evaluations
from flwr_byzantine.strategy.metrics import Log, numbers_of
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.quarantine import Ledger
from flwr_byzantine.strategy.report import troubles
from flwr_byzantine.strategy.run import Run
from flwr_byzantine.strategy.steps import ServerStep
from flwr_byzantine.strategy.timing import Timing


class Exchange(Run):
    """A run that asks nodes and waits for them; arguments as `Run`.

    Attributes:
        presence: how long nodes that are wanted and not there are waited for.
        asked: the nodes that were sent this round's model.
        nobody: why nobody was, where that is no intention of the strategy below.
        told: whether this run has said how many silent nodes stop a round.
        evaluating: the nodes that are to evaluate the model.
        timing: the round's clock.
    """

    def __init__(self, policy: Policy, rule: RuleFor, step: ServerStep, log: Log, inner: Callable[[], object]) -> None:
        super().__init__(policy, rule, step, log, inner)
        self.presence = Presence(policy, log)
        self.asked: list[int] = []
        self.nobody, self.told = "", False
        self.evaluating: list[int] = []
        self.timing = Timing()

    @property
    def ledger(self) -> Ledger | None:
        """Every node's record, where the policy has a quarantine."""
        return self.state.ledger_under(self.policy.quarantine)

    def current(self, training: bool) -> int:
        """Flower's number of the round that is under way, in its training or in its evaluation."""
        return len(self.state.own) + training

    def allows(self, node: int, server_round: int) -> bool:
        """Whether a node may be asked in a round of Flower's number, to train or to evaluate: quarantine holds for both."""
        return self.ledger is None or self.ledger.allows(node, self.number(server_round))

    def ask(self, nodes: list[int], nobody: str = "") -> None:
        """Note who is sent this round's model, or why nobody is; once in a run, say how many silent ones stop a round."""
        self.asked, self.nobody = nodes, "" if nodes else nobody
        if nodes and not self.told:
            self.told = True
            self.log(*silence(self.rule, len(nodes), unknown(self.policy)))

    def substitutes(self, server_round: int, asked: Sequence[int], there: Iterable[int]) -> dict[int, int]:
        """After skipped rounds, whom to ask in place of those that gave no valid reply in them; the others keep their place."""
        free, number = [node for node in there if self.allows(node, server_round)], self.number(server_round)
        return substitutes(asked, self.state.silent | {node for node in asked if not self.allows(node, server_round)}, free, number)

    def patience(self, n: int, training: bool, limit: float, now: Callable[[], float] | None = None) -> Patience:
        """The clock of an exchange with n nodes, which ends after `limit` seconds at the latest, on its own clock or on `now`."""
        policy, own = self.policy, self.policy.reply_timeout_in(self.number(self.current(training)))
        asked = policy.min_valid_replies
        least = quorum(self.rule, n, training, unknown(policy)) if asked is None else Quorum(min(n, asked))
        patience = Patience(least, policy.grace, limit if own is None else min(limit, own), now)
        self.timing.answered = patience.seconds if training else self.timing.answered
        return patience

    def evaluated(self, server_round: int, replies: Sequence[Reply]) -> list[Reply]:
        """The replies to an evaluation that can be used, by node; the log names the other nodes that were asked, and why."""
        usable, others = evaluations(self.evaluating, replies)
        for text in troubles(others):
            self.log(WARNING, f"round {self.number(server_round)}, evaluation: {text}")
        self.evaluating = []
        return usable

    def note_evaluation(self, server_round: int, where: str, metrics: Any) -> None:
        """Keep what an evaluation of the round's model found, by the "clients" or on the "server", for the next report; tell of it."""
        if numbers := numbers_of(metrics):
            self.state.evaluation[where] = numbers
            self.keeper.evaluated(self.number(server_round), where, numbers)
