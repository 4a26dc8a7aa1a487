"""A run from its beginning to its end, over restarts: what it carries from round to round, and its files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from logging import INFO, WARNING
from typing import Any

import numpy as np

from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.strategy.adapted import Adapted
from flwr_byzantine.strategy.attributes import Attributes
from flwr_byzantine.strategy.counting import RuleFor
from flwr_byzantine.strategy.identity import Identity
from flwr_byzantine.strategy.keeper import Keeper
from flwr_byzantine.strategy.majority import without_model
from flwr_byzantine.strategy.metrics import Log
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.report import RoundReport
from flwr_byzantine.strategy.roles import Choice, decide, not_finite, shared_names
from flwr_byzantine.strategy.run_state import Expected, RunState
from flwr_byzantine.strategy.steps import ServerStep
from flwr_byzantine.strategy.template import Template

# attributes that are no state of a run
OURS = {item.name for item in fields(Policy)} | {"core", "descent", "_grid", "_attached", "_clock", "_parameters"}
NOT_BEGUN = (
    "strategy: resume=True goes on in start() (legacy API: in initialize_parameters), which was not called; a strategy around this "
    "one, such as differential privacy, makes another model of each round, which no checkpoint of this one holds: leave out resume="
)
CHANGED = (
    "the model of round {} was changed before it was sent: a strategy around this one did it, and neither that nor its state is in "
    "the checkpoint, so that a restart is another run"
)

FEW = 0.1  # an array of which more is infinite or NaN in the first model is state; of others these values stay as they are
NOT_FINITE = (
    "strategy: array {!r} of the model is not finite any more, and was when the run began: a server optimiser that diverged, most likely; "
    "give it a smaller step. last_model is the model of the round before"
)


class Run:
    """What a strategy's rounds belong to.

    Args:
        policy: the strategy's arguments, read anew in each round.
        rule: from the number of replies that arrived to the rule of the round.
        step: what becomes of model and aggregate.
        log: takes a level of `logging` and a text.
        inner: gives the strategy whose state is saved with the run.

    Attributes:
        state: what the run carries from round to round.
        keeper: its files.
        fresh: whether this round's model has no arrays yet.
        last_model, last_round: name -> array after the last round that ended, and its number; None and 0 before.
    """

    def __init__(self, policy: Policy, rule: RuleFor, step: ServerStep, log: Log, inner: Callable[[], object]) -> None:
        self.policy, self.rule, self.step, self.log, self.inner = policy, rule, step, log, inner
        self.state = RunState()
        self.keeper = Keeper(policy, log)
        self.last_model: Mapping[str, Array] | None = None
        self.last_round, self.fresh = 0, False
        self._told = False
        self._settled_by: dict[str, Choice | None] = {}
        self._remarked = {"state"}

    @property
    def reports(self) -> list[RoundReport]:
        """One report for each training round."""
        return self.state.reports

    def spill(self) -> Spill | None:
        """A new file for a round's replies, where the policy names a folder."""
        return None if self.policy.spill is None else Spill(self.policy.spill)

    def number(self, server_round: int) -> int:
        """Flower's number of a round, with the rounds of the run that was resumed."""
        return server_round + self.state.offset

    def resume(self, model: Expected = None, app: str = "", idle: bool = True) -> dict[str, Array] | None:
        """The model to go on from, with everything else restored, or None to begin anew.

        Args:
            model: gives name -> array that the program begins with; None where it is not known.
            app: Flower's name of the app, where it is known.
            idle: nobody will tell when the run is over.

        Raises:
            InvalidParameter: a checkpoint that this run cannot go on from, or may not write; one sentence says why.
        """
        self.state.begin()
        if self.policy.checkpoint is not None:
            self._identify(app)
        self.keeper.known(len(self.reports))
        snapshot = self.keeper.open(idle)
        if snapshot is None:
            return None
        lora, saved = self.policy.lora, snapshot.group("model")
        expected = model if lora is None or model is None else lambda: lora.of_ranks(model(), saved)
        try:
            found = self.state.restore(snapshot, self.keeper.target, self.policy.quarantine, self.step, expected)
        except InvalidParameter:
            self.keeper.close()
            raise
        self.last_model, self.last_round = found, snapshot.server_round
        self.log(INFO, f"resumed after round {self.state.offset} from {self.keeper.target}")
        self.keeper.resume(self.reports)
        return found

    def _identify(self, app: str = "") -> None:
        """Note what the run is, and what its strategies were made with."""
        inner = self.inner()
        self.state.identity = Identity.of(self.policy, inner, self.rule, app)
        self.state.attributes = Attributes([self.policy, inner], OURS)

    def of_app(self, app: str) -> None:
        """Flower's name of the app has become known: under the legacy API once clients are sampled.

        Raises:
            InvalidParameter: the run goes on from the checkpoint of another app.
        """
        if self.state.identity is not None:
            mine = replace(self.state.identity, app=app)
            self.state.identity = mine.require(asdict(self.state.identity), self.keeper.target)

    @contextmanager
    def running(self, model: Expected, app: str) -> Iterator[dict[str, Array] | None]:
        """A whole run, which ends with the block; yields what `resume` gives."""
        found = self.resume(model, app, idle=False)
        try:
            yield found
        except Exception as error:
            if self.last_model is not None:
                error.add_note(f"the model after round {self.last_round} is the strategy's last_model")
            raise
        finally:
            self.end()
            self.keeper.close()

    def rounds_left(self, num_rounds: int) -> int:
        """How many of so many rounds are left after those that the run, or before it begins its checkpoint, has; none is said."""
        done = self.state.offset if self.state.run else self.keeper.peek()
        if done >= max(num_rounds, 1):
            text = f"already complete: {done} of {num_rounds} rounds are in {self.keeper.target}; nothing is left to do"
            self.log(WARNING, text)
        return max(0, num_rounds - done)

    def decide(self, template: Template) -> Template:
        """What clients share of a model, with its roles, which the log says once; a rule or step with vectors of other arrays begins anew.

        Raises:
            InvalidParameter: `shared=` or `judge=` does not fit the model, or an array that is judged is not finite any more.
        """
        arrays, state = template.unflatten(template.values), self.state
        if not arrays:
            return template
        infinite = not_finite(dict(zip(template.names, template.values, strict=True)))
        state.infinite = infinite if state.infinite is None else state.infinite
        shared = shared_names(arrays, self._settled("shared", state.shared, arrays))
        judge = self._settled("judge", state.judged if shared == state.shared else None, arrays)
        masks = [name for name, count in state.infinite.items() if name in arrays and count > FEW * arrays[name].size]
        template = template.of_shared(shared, decide(arrays, judge, masks, shared))
        template.adapted = None if self.policy.lora is None else Adapted.of(self.policy.lora, template, self.rule(100))
        judged = template.roles.judged(template.names)
        if lost := [name for name, count in infinite.items() if name in judged and count > state.infinite.get(name, 0)]:
            raise InvalidParameter(NOT_FINITE.format(lost[0]))
        if (judged, shared) != (state.judged, state.shared):
            self._judge(judged)
            state.shared = shared
            if template.roles.kinds or template.unshared:
                self.log(INFO, str(template.roles))
        return template

    def _judge(self, judged: list[str]) -> None:
        """These arrays are judged from now on; vectors of others that a rule or a step has kept are forgotten."""
        if self.state.judged not in (None, judged):
            self.state.rule, self.step.arrays = None, {}
        self.state.judged = judged

    def _settled(self, argument: str, kept: list[str] | None, names: Collection[str]) -> Any:
        """What says which arrays are meant: those that were, unless the argument has been set anew since or the model is another."""
        now, first = getattr(self.policy, argument), argument not in self._settled_by
        known = callable(now) if first else now is self._settled_by[argument]
        self._settled_by[argument] = now
        return kept if kept and known and set(kept) <= set(names) else now

    def begins_empty(self, payloads: Collection[str]) -> bool:
        """Whether a round begins with a model without arrays, as Flower allows: the log says that replies make the first one.

        Raises:
            InvalidParameter: this run cannot go without.
        """
        self.fresh = not payloads
        if self.fresh:
            self.log(INFO, without_model(self.step.gradients, self.policy.shared))
        return self.fresh

    def remark(self, server_round: int, remarks: Mapping[str, str]) -> tuple[str, ...]:
        """The notes for a round's report; the log has each once in a run, and what is judged from the first round."""
        for key, text in remarks.items():
            if key not in self._remarked:
                self._remarked.add(key)
                self.log(WARNING, f"round {server_round}: {text}")
        return tuple(remarks.values())

    def end(self) -> None:
        """The last round is over; the core forgets it."""

    def ensure_begun(self) -> None:
        """Begin the run, where a round is asked for and nobody has begun one.

        Raises:
            InvalidParameter: it was to go on from a checkpoint.
        """
        if not self.state.run:
            if self.policy.resume:
                raise InvalidParameter(NOT_BEGUN)
            self.resume()

    def compare(self, model: Mapping[str, Array]) -> None:
        """Say, once, that the model that is sent is not the one in the checkpoint."""
        kept = self.last_model
        if self.policy.checkpoint is None or kept is None or self._told:
            return
        if kept.keys() != model.keys() or any(not np.array_equal(kept[name], value, equal_nan=True) for name, value in model.items()):
            self._told = True
            self.log(WARNING, CHANGED.format(self.last_round))

    def keep(self, server_round: int, model: Mapping[str, Array]) -> None:
        """Keep the model after a round, and write the checkpoint."""
        if not model:
            return
        self.last_model, self.last_round = model, server_round
        if self.policy.checkpoint is not None:
            if self.state.identity is None:  # the attribute was set during the run
                self._identify()
            self.keeper.save(lambda: self.state.snapshot(server_round, model, self.step))
            for name in self.state.newly_unsaved():
                text = "what changes in it during the run is lost by a restart; keep that in numbers, texts, arrays, lists or dicts"
                self.log(WARNING, f"not in the checkpoint: {name}; {text}")
