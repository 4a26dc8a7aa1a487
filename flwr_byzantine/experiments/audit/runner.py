"""Runs a strategy against the battery, and says what became of the model."""

from __future__ import annotations

import importlib
import inspect
import logging
import math
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from flwr_byzantine.declare.names import check_options, did_you_mean
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.audit.battery import Case
from flwr_byzantine.experiments.audit.federation import HONEST, ROUNDS, Model, N, Outcome, message_run, start
from flwr_byzantine.experiments.audit.legacy import legacy_run
from flwr_byzantine.flower.words import is_printable, printable

OUTCOMES = ("survived", "skipped", "dtype changed", "structure changed", "metrics spoilt", "poisoned", "non-finite", "crashed")
TOLERANCE = 0.03  # distance from the honest result, in parts of the way there; clients go 3.75 at most, and spread by 0.01
FAILS = "audit: the strategy fails when all replies are honest: {0} {1}"
Make = Callable[[], Any]


@dataclass(frozen=True)
class Own:
    """Where a strategy takes the model when all replies are honest: what became of it otherwise is judged by that.

    Attributes:
        model: after all rounds.
        before: after one less.
    """

    model: Model
    before: Model

    def off(self, model: Model) -> float:
        """How far a model is from `model`, in parts of the way from the first one, in the coordinate that differs most."""
        return _apart(model, self.model) / _apart(self.model, start())

    def skipped(self, model: Model) -> bool:
        """Whether it is that of a run in which one round was skipped."""
        return _apart(model, self.before) <= TOLERANCE * _apart(self.model, start())


@dataclass(frozen=True)
class Finding:
    """What became of the run when certain nodes sent one kind of hostile reply.

    Attributes:
        case: its name.
        nodes: who sent it, of nodes 1..13.
        outcome: one of `OUTCOMES`.
        detail: the exception, or how far the model is off.
    """

    case: str
    nodes: tuple[int, ...]
    outcome: str
    detail: str = ""


def placements(f: int) -> list[tuple[int, ...]]:
    """The nodes that attack: the first, middle and last ones, 1 and f of them."""
    middle, sizes = N // 2, sorted({1, f})
    return [tuple(range(start, start + size)) for size in sizes for start in (1, middle, N - size + 1)]


def load_strategy(name: str, f: int, options: dict[str, Any] | None = None) -> Make:
    """A function that makes the strategy "module:Name", which is a class, or a function without required arguments.

    Args:
        name: e.g. "flwr.serverapp.strategy:Krum".
        f: given to the constructor under the name that it has there.
        options: further constructor arguments.

    Raises:
        InvalidParameter: no such module or name, or the strategy cannot be made.

    Example:
        >>> load_strategy("flwr_byzantine:Krum", f=2)().core.rule(11)
        Krum(f=2, neighbors='n-f-2', power=2)
    """
    found = _named(name)
    known = inspect.signature(found).parameters
    named = next((key for key in ("num_malicious_nodes", "num_malicious_clients", "f") if key in known), None)
    given = {**({named: f} if named else {}), **(options or {})}
    if not any(argument.kind is argument.VAR_KEYWORD for argument in known.values()):
        check_options(name, given, known)

    def make() -> Any:
        return found(**given)

    try:
        make()
    except Exception as error:
        raise InvalidParameter(f"audit: {name} cannot be made with {given} ({error}); pass its arguments as --options JSON") from None
    return make


def _named(name: str) -> Any:
    """What stands at MODULE:STRATEGY."""
    module, _, attribute = name.partition(":")
    try:
        place = importlib.import_module(module)
        return getattr(place, attribute)
    except (ImportError, ValueError) as error:
        raise InvalidParameter(f"audit: expected MODULE:STRATEGY such as flwr_byzantine:Krum, got {name!r} ({error})") from None
    except AttributeError:
        hint = did_you_mean(attribute, [known for known in dir(place) if not known.startswith("_")])
        raise InvalidParameter(
            f"audit: the module {module} has no {attribute!r}; {hint}expected MODULE:STRATEGY, a class or function"
        ) from None


def audit(
    make: Make,
    cases: Sequence[Case],
    f: int = 2,
    legacy: bool = False,
    where: Sequence[tuple[int, ...]] | None = None,
) -> list[Finding]:
    """Run the strategy against every case at every placement, two rounds of thirteen clients each.

    Args:
        make: makes a fresh strategy.
        cases: of `BATTERY`.
        f: attackers at most.
        legacy: the strategy is of the legacy API.
        where: placements; `placements(f)` by default.

    Raises:
        InvalidParameter: the strategy fails, or moves nowhere, even when every reply is honest.
    """
    run = partial(_run, legacy_run if legacy else message_run, make)
    with _quiet():
        own, findings = _own(run), list[Finding]()
        for case in cases:
            places = (where or placements(f)) if case.legacy or not legacy else ()
            findings.extend(_try(run, case, nodes, own) for nodes in places)
    return findings


def _run(run: Callable[..., Outcome], make: Make, *arguments: Any) -> Outcome:
    random.seed(0)  # Flower samples nodes, and so orders replies, by the global generator
    return run(make(), *arguments)


def _own(run: Callable[..., Outcome]) -> Own:
    """Of honest replies alone.

    Raises:
        InvalidParameter: the strategy fails even then, or leaves the model where it was.
    """
    try:
        (before, _), (model, metrics) = run(HONEST, (), ROUNDS - 1), run(HONEST, ())
    except Exception as error:
        raise InvalidParameter(FAILS.format("crashed", printable(f"{type(error).__name__}: {error}"))) from None
    own = Own(start() if model is None else model, start() if before is None else before)
    outcome, detail = _judge(model, metrics, own)
    if outcome != "survived":
        raise InvalidParameter(FAILS.format(outcome, detail))
    return own


def _try(run: Callable[..., Outcome], case: Case, nodes: tuple[int, ...], own: Own) -> Finding:
    try:
        model, metrics = run(case, nodes)
    except Exception as error:
        return Finding(case.name, nodes, "crashed", printable(f"{type(error).__name__}: {error}"))
    return Finding(case.name, nodes, *_judge(model, metrics, own))


def _judge(model: Model | None, metrics: list[tuple[str, Any]], own: Own) -> tuple[str, str]:
    expected = start()
    if model is None:
        return "skipped", "no round was aggregated"
    if [(name, value.shape) for name, value in model.items()] != [(name, value.shape) for name, value in expected.items()]:
        return "structure changed", str([(name, value.shape) for name, value in model.items()])
    if any(value.dtype.kind not in "fiu" for value in model.values()):
        return "structure changed", str([str(value.dtype) for value in model.values()])
    if not all(np.isfinite(value).all() for value in model.values()):
        return "non-finite", ""
    if _apart(own.model, expected) == 0:
        return "skipped", "the model stayed as it was"
    if (off := own.off(model)) > TOLERANCE:
        return ("skipped" if own.skipped(model) else "poisoned"), f"{100 * off:.3g} % of the way off"
    if any(model[name].dtype != expected[name].dtype for name in expected):
        return "dtype changed", str([str(value.dtype) for value in model.values()])
    bad = [(name, value) for name, value in metrics if not (is_printable(name) and _finite(value))]
    return ("metrics spoilt", printable(bad[:2])) if bad else ("survived", "")


def _apart(one: Model, other: Model) -> float:
    """The distance of two models in the coordinate that differs most."""
    return max(float(np.abs(one[name].astype(float) - other[name]).max()) for name in other)


def _finite(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, int | float) and math.isfinite(item) for item in items)


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("flwr")
    level, state = logger.level, random.getstate()
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what hostile numbers make of NumPy in the strategies under audit
            yield
    finally:
        logger.setLevel(level)
        random.setstate(state)
