"""What every robust strategy is, whichever of Flower's APIs it is for: a policy, a rule for each round, and a core that runs them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower import compat, console, loops
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.rules.base import Rule, refuse_irreproducible
from flwr_byzantine.rules.parsing import AUTO
from flwr_byzantine.strategy.adapted import refuse_rule
from flwr_byzantine.strategy.arguments import AnyRule, Faults, rule_of
from flwr_byzantine.strategy.below import SECURE, check_bases, check_wrapped, least_nodes, refuse_below_lora, standing_on
from flwr_byzantine.strategy.core import Core
from flwr_byzantine.strategy.inspection import Combined
from flwr_byzantine.strategy.metrics import aggregate_metrics
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.report import RoundReport
from flwr_byzantine.strategy.steps import Replace, ServerStep


class RobustStrategy(Policy):
    """Mixin: a Flower strategy that aggregates by a rule; the adapters of both APIs build on it.

    Attributes:
        core: runs the rounds.
    """

    def __post_init__(self) -> None:
        """Check the arguments and the strategies below, and begin before the first round.

        Raises:
            InvalidParameter: an argument that cannot be, or a strategy below that would silently not do what it is for.
        """
        self.check_policy()
        check_bases(type(self))
        self._check_rule()
        self.core = Core(self, self.rule_at, self._server_step(), compat.log, self._below)
        self.core.keeper.refuse_overwriting()
        if self.lora is not None:
            refuse_below_lora(self._below(), self.core.step.gradients)
            refuse_rule(self.rule_at(100))

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            """Set an attribute, with effect from the next round on.

            Raises:
                InvalidParameter: a value that the argument cannot have, or that no rule can be made of; nothing changes.
            """
            before = self.__dict__.get(name)
            super().__setattr__(name, value)
            if "core" in self.__dict__ and name in getattr(self, "__dataclass_fields__", ()):
                try:
                    self.check_policy()
                    self._check_rule()
                except InvalidParameter:
                    super().__setattr__(name, before)
                    raise

    def _check_rule(self) -> None:
        """Refuse parameters that the rule refuses, and a rule that `reproducible=True` cannot have, before the first round."""
        rule = self.rule_at(100)
        if self.reproducible:
            refuse_irreproducible(rule)

    def __copy__(self) -> Self:
        """A strategy of its own: a shallow copy would share rounds and reports with this one."""
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.rule_at(100)} at 100 replies>"

    @property
    def reports(self) -> list[RoundReport]:
        """One report for each training round."""
        return self.core.reports

    @property
    def last_model(self) -> Mapping[str, Array] | None:
        """Name -> array of the model after the last round, also where the run has ended with an error; None before."""
        return self.core.last_model

    def rounds_left(self, num_rounds: int) -> int:
        """How many of so many rounds are left after those in the checkpoint; says so in the log where there is none.

        For `ServerConfig(num_rounds=strategy.rounds_left(20))` of the legacy API; `start` of the Message API counts by itself.

        Args:
            num_rounds: of the whole run, over its restarts.
        """
        return self.core.rounds_left(num_rounds)

    def rule_at(self, n: int) -> Rule:
        """The rule for a round in which n replies arrived."""
        raise NotImplementedError  # every final strategy defines it

    def require_progress(self) -> None:
        """Raise where rounds ran and none of them changed the model: for the end of a loop of your own.

        Flower's loops need no such call: `start`, a legacy `Server` and Flower's workflows are known, and their last round raises.

        Raises:
            InfeasibleRound: one sentence says how many rounds, and why the last one was skipped.

        Example:
            >>> from flwr_byzantine import Krum
            >>> Krum(f=1).require_progress()  # no round, no complaint
        """
        self.core.state.require_progress()

    def _opens(self, server_round: int) -> None:
        """In a loop's first round: learn how many there will be.

        Raises:
            InvalidParameter: the loop is one of secure aggregation.
        """
        if server_round == 1:
            self.core.planned, self.core.told = loops.planned_rounds(), False
            if loops.aggregates_securely():
                raise InvalidParameter(SECURE)

    def _server_step(self) -> ServerStep:
        """What becomes of model and aggregate: the model is replaced, unless a final class says otherwise."""
        return Replace()

    def _below(self) -> Any:
        """The Flower strategy whose keys, metric functions and arrays count: this one, unless it wraps another."""
        return self

    def _least_nodes(self, training: bool) -> int:
        """How many nodes a round waits for before it begins; 0 where nobody says so."""
        return least_nodes(self._below(), training)

    def _apply(self, server_round: int, aggregate: Any, metrics: Any, like: Any) -> tuple[Any, Any]:
        """Model and metrics as the strategy below makes them of the aggregate; a plain average of one model is that model.

        Args:
            server_round: the round's number.
            aggregate: the next model, in the API's form.
            metrics: of the round, in the API's form.
            like: a valid reply in the API's form, of which an artificial one may be made.
        """
        return aggregate, metrics

    def _applied(self, combined: Combined, aggregate: Any, metrics: Any, like: Any) -> tuple[Any, Any]:
        """As `_apply`; a round in which the strategy below raises is reported before that ends the run."""
        carried = combined.state or combined.template.unshared or combined.template.fixed
        try:
            with self.core.state.draws.of("step", combined.server_round), np.errstate(invalid="ignore" if carried else None):
                return self._apply(combined.server_round, aggregate, metrics, like)  # of which infinite state is none of the optimiser's
        except Exception as error:
            self.core.abandon(combined, f"{type(self._below()).__name__} raised {type(error).__name__} on the aggregate")
            raise

    def _apply_evaluation(self, server_round: int, evaluation: Any, like: Any) -> Any:
        """The evaluation as the strategy below makes it of the medians, in the API's form; the arguments as for `_apply`."""
        return evaluation

    def _metrics_of(self, replies: Sequence[Reply], name: str, skip: str, call: Callable[[Any], Mapping[str, Any]]) -> dict[str, Any]:
        """The metrics of a round: by the user's function, which the strategy below has under `name`, or the medians.

        Args:
            replies: the valid replies, in a fixed order.
            name: of the attribute.
            skip: the key of the number of examples, which is not a metric.
            call: calls a user's function as Flower does.
        """
        function = getattr(self._below(), name, None)
        theirs = function is None or compat.is_flowers_average(function)
        return aggregate_metrics(replies, skip, None if theirs else lambda: call(function), compat.log)


class RobustWrapper(RobustStrategy):
    """Mixin: a robust strategy that wraps a Flower strategy, and hands it the aggregate as the only reply.

    Attributes:
        rule: a rule, a name with `f`, or a function from the number of replies to a rule.
        strategy: the wrapped one.
        f: with a name, the replies of a round that may be Byzantine; "auto" with a name, and in place of a rule's own.
    """

    wraps: ClassVar[type]  # the API's class of strategies
    default: ClassVar[type]  # what is wrapped where nothing is given

    rule: AnyRule
    strategy: Any
    f: Faults

    def __post_init__(self) -> None:
        """Check the wrapped strategy too.

        Raises:
            InvalidParameter: it is no strategy of this API, or none that can be wrapped.
        """
        self.strategy = self.default() if self.strategy is None else self.strategy
        if not isinstance(self.strategy, self.wraps):
            kind = f"{self.wraps.__module__.removesuffix('.strategy')}.Strategy"
            raise InvalidParameter(f"{type(self).__name__}: strategy must be a {kind}, got {self.strategy!r}")
        if any(isinstance(found, RobustStrategy) for found in standing_on(self.strategy)):
            raise InvalidParameter(f"{type(self).__name__}: {self.strategy!r} is robust already; chain rules instead, rules.chain(...)")
        check_wrapped(self.strategy, type(self).__name__)
        if self.f not in (None, AUTO) and not isinstance(self.rule, str):
            raise InvalidParameter(f"Robust: f goes with a rule's name, got f={self.f!r} and {self.rule!r}, which has its own")
        super().__post_init__()

    def rule_at(self, n: int) -> Rule:
        """The rule for a round in which n replies arrived."""
        return rule_of(self.rule, self.f, n)

    def _below(self) -> Any:
        """The wrapped strategy."""
        return self.strategy

    @contextmanager
    def _metrics_answered(self, name: str, metrics: Any) -> Iterator[None]:
        """Let the wrapped strategy's metrics function of that name, if it has a place for one, answer with these metrics meanwhile.

        What it logs of the aggregate, which it takes for the only reply, is left out.
        """
        own = vars(self.strategy)
        function = own.get(name)
        try:
            if name in own:
                setattr(self.strategy, name, lambda *_: metrics)
            with console.without_lines(console.OF_ONE_REPLY):
                yield
        finally:
            if name in own:
                setattr(self.strategy, name, function)
