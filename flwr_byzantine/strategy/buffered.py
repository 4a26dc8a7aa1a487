"""Buffered asynchronous rounds: nobody waits for the slowest node."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field
from logging import INFO
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result, Strategy

from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower import compat
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.strategy.arguments import AnyRule, Faults, rule_of
from flwr_byzantine.strategy.buffered_grid import BufferedGrid
from flwr_byzantine.strategy.steps import ServerStep, Towards
from flwr_byzantine.strategy.wrapper import Wrapper
from flwr_byzantine.theory.sampling import smallest_f

OWN = {
    "size": Constraint(int, ge=1),
    "num_malicious": Constraint(int, ge=0, optional=True),
    "pool": Constraint(int, ge=1, optional=True),
    "epsilon": Constraint(float, gt=0, lt=1),
    "max_staleness": Constraint(int, ge=0),
    "staleness_exponent": Constraint(float, ge=0, lt=math.inf),
    "server_learning_rate": Constraint(float, gt=0, lt=math.inf),
}


@dataclass(eq=False, repr=False)
class Buffered(Wrapper):
    """Asynchronous rounds: the model moves whenever so many valid replies have come, and no node waits for another.

    Each node is sent the newest model as soon as it has answered. When `size` valid replies are in the buffer, at most one a node, the
    rule runs over their deltas, each to the model that its node was sent, multiplied by (1 + s)^(-1/2) where that model was
    replaced s times since; the model moves by `server_learning_rate` times the aggregate. A round of reports, checkpoints, quarantine
    and detectors is a buffer. A restart goes on from the last model with an empty buffer. Clients evaluate the last model only.

    Args:
        rule: as for `Robust`.
        size: valid replies in a buffer.
        strategy: a Flower strategy: whom it samples, as many work at a time; what it makes of the aggregate is the next model.
        f: as for `Robust`: replies of a buffer that may be Byzantine. With an attacker who answers at once that is min(size, the
            Byzantine nodes of the whole federation): none of them is missing in any buffer.
        num_malicious: in place of f, Byzantine nodes of the whole federation, from which f follows.
        pool: valid replies that must have come before a buffer is drawn from them by lot; the others wait on. Who is in it no attacker
            can choose then, and f from `num_malicious` is that of a sample of `size` out of `pool`. None: the first to come.
        epsilon: with `pool`, acceptable probability that some buffer of the run has more than f Byzantine replies.
        max_staleness: how often the model that a node was sent may have been replaced since; older replies are dropped.
        staleness_exponent: of the discount; FedBuff's is 1/2, 0 discounts nothing.
        server_learning_rate: of the step along the aggregate.

    The fields of `Policy` follow by keyword, as for `Robust`. A node that is silent for longer than a synchronous round would wait
    for it (`grace`, `reply_timeout`) is asked again; a buffer that is not full after `reply_timeout` is aggregated with the replies that
    are there, where these are enough for the rule. `judge` as there.

    Source: Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek, Huba, AISTATS 2022 (FedBuff), with a robust rule in place of the average.

    Example:
        >>> strategy = Buffered("nnm+trimmed-mean", size=25, num_malicious=10)
        >>> str(strategy.rule_at(25))
        'NNM(f=10) + TrimmedMean(f=10)'
        >>> strategy.pool = 40
        >>> strategy.rule_at(25).f
        9
    """

    rule: AnyRule
    size: int
    strategy: Strategy = field(default_factory=FedAvg)
    _: KW_ONLY
    f: Faults = None
    num_malicious: int | None = None
    pool: int | None = None
    epsilon: float = 0.01
    max_staleness: int = 20
    staleness_exponent: float = 0.5
    server_learning_rate: float = 1.0

    def check_policy(self) -> None:
        """Check the arguments of buffers too.

        Raises:
            InvalidParameter: as of every strategy; or a buffer that is too small for the rule.
        """
        if isinstance(self.rule, str) and self.f is None and self.num_malicious is None:
            raise InvalidParameter("Buffered: a rule by name needs num_malicious, the Byzantine nodes of the federation, or f, of a buffer")
        super().check_policy()
        for name, constraint in OWN.items():
            check("Buffered", name, getattr(self, name), constraint)
        if self.pool is not None and self.pool < self.size:
            raise InvalidParameter(f"Buffered: a buffer of size={self.size} cannot be drawn from pool={self.pool}; give a larger pool")
        if self.num_malicious is not None and self.f is not None:
            raise InvalidParameter(f"Buffered: give f or num_malicious, not both; got f={self.f!r} and num_malicious={self.num_malicious}")
        if self.lora is not None:
            raise InvalidParameter("Buffered: a delta of LoRA's factors means nothing at another model; leave out lora=")
        self._check_size()

    def _check_size(self) -> None:
        rule = self.rule_at(self.size)
        if self.pool is None and self.num_malicious is not None and self.num_malicious > self.size:  # all of a larger one may be in it
            rule = rule.with_f(self.num_malicious)
        if rule.min_n() > self.size:
            raise InvalidParameter(
                f"Buffered: {rule} needs size={rule.min_n()} at least, got {self.size}; lower f, or take a larger buffer"
            )

    def rule_at(self, n: int) -> Rule:
        """The rule for a buffer; n counts where it is less than `size`."""
        n = min(n, self.size)
        if self.num_malicious is None:
            return rule_of(self.rule, self.f, n)
        f = self._faults(self.num_malicious)
        return rule_of(self.rule, f, n) if isinstance(self.rule, str) else rule_of(self.rule, None, n).with_f(f)

    def _faults(self, bad: int) -> int:
        """The number f of a buffer where `bad` nodes of the federation are Byzantine."""
        grid = self._grid
        pool = min(self._wanted(), (grid.drawn_from if isinstance(grid, BufferedGrid) else 0) or self._wanted())
        if self.pool is None or pool <= self.size:
            return min(bad, self.size)
        planned = self.core.planned if "core" in self.__dict__ else None
        return smallest_f(pool, min(bad, pool), self.size, 1 if planned is None else max(1, self.core.number(planned)), self.epsilon)

    def _wanted(self) -> int:
        """Valid replies that a buffer waits for."""
        return self.size if self.pool is None else self.pool

    def _drawn(self, nodes: list[int]) -> list[int]:
        """Those whose replies are the buffer's, of the nodes whose replies wait, first come first."""
        return sorted(nodes[: self.size] if self.pool is None else self._by_lot(sorted(nodes), "buffer")[: self.size])

    def _by_lot(self, nodes: list[int], purpose: str) -> list[int]:
        """The nodes in an order that follows from the run and the round."""
        with self.core.state.draws.of(purpose, self.core.number(self.core.current(training=True))):
            return random.sample(nodes, len(nodes))

    def _least_nodes(self, training: bool) -> int:
        """As many nodes as a buffer has before the first one, whatever happens later."""
        first = training and not self.core.state.own
        return max(super()._least_nodes(training), self._wanted() if first else 0)

    def _server_step(self) -> ServerStep:
        return Towards(self)

    def _watched(self, grid: Any) -> BufferedGrid:
        return BufferedGrid(grid, self)

    def summary(self) -> None:
        """Log how buffers are filled, then as every strategy."""
        drawn = "the first to come" if self.pool is None else f"drawn by lot from {self.pool}"
        compat.log(
            INFO,
            f"buffers of {self.size} replies, {drawn}; a reply to a model that was replaced s times since counts (1 + s)^-"
            f"{self.staleness_exponent:g}, up to s={self.max_staleness}",
        )
        super().summary()

    def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """The messages of the strategy below after the last buffer; none before, since nodes are at work."""
        planned = self.core.planned
        return [] if planned is None or server_round < planned else super().configure_evaluate(server_round, arrays, config, grid)

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """As Flower's, with a buffer for each round; nodes go on with their work from one to the next.

        Args:
            grid: of Flower's, or another; one with a clock of its own, such as `TimedGrid`, is waited for on that.
            initial_arrays: the first model.
            num_rounds: buffers to aggregate.
            timeout: seconds that a buffer may take.
            train_config: sent with each model.
            evaluate_config: sent with the last one.
            evaluate_fn: called with each model on the server.

        Raises:
            InfeasibleRound: as of every strategy.
            InvalidParameter: over so many buffers, one has more Byzantine replies than the rule withstands with too large a probability;
                or there is no first model.
        """
        if not initial_arrays:
            raise InvalidParameter("Buffered: deltas are to the model that a node was sent; give a first model, initial_arrays with arrays")
        self.core.planned = num_rounds
        self._check_size()
        return super().start(grid, initial_arrays, num_rounds, timeout, train_config, evaluate_config, evaluate_fn)
