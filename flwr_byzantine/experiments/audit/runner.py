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
from typing import Any

import numpy as np

from flwr_byzantine.declare.names import check_options, did_you_mean
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.audit.battery import Case
from flwr_byzantine.experiments.audit.federation import GOAL, HONEST, ROUNDS, Model, N, Outcome, message_run
from flwr_byzantine.experiments.audit.legacy import legacy_run
from flwr_byzantine.flower.words import is_printable, printable

OUTCOMES = ("survived", "skipped", "dtype changed", "structure changed", "metrics spoilt", "poisoned", "non-finite", "crashed")
TOLERANCE = 0.1  # distance from the honest result; honest updates spread by 0.01
ELSEWHERE = (
    "audit: expected a strategy that goes where clients that all agree go, so that what hostile ones change is seen; with honest replies "
    "alone it ends elsewhere ({detail}); audit it with whole steps, and without noise, as by --options '{{\"alpha\": 1.0}}' for SLSGD"
)
Make = Callable[[], Any]


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
        InvalidParameter: the strategy fails even when every reply is honest.
    """
    run = legacy_run if legacy else message_run
    with _quiet():
        honest = _try(run, make, HONEST, ())
        if honest.outcome in ("poisoned", "skipped"):
            raise InvalidParameter(ELSEWHERE.format(detail=honest.detail or honest.outcome))
        if honest.outcome != "survived":
            raise InvalidParameter(f"audit: the strategy fails when all replies are honest: {honest.outcome} {honest.detail}")
        findings = list[Finding]()
        for case in cases:
            places = (where or placements(f)) if case.legacy or not legacy else ()
            findings.extend(_try(run, make, case, nodes) for nodes in places)
    return findings


def _try(run: Callable[..., Outcome], make: Make, case: Case, nodes: tuple[int, ...]) -> Finding:
    random.seed(0)  # Flower samples nodes, and so orders replies, by the global generator
    try:
        model, metrics = run(make(), case, nodes)
    except Exception as error:
        return Finding(case.name, nodes, "crashed", printable(f"{type(error).__name__}: {error}"))
    return Finding(case.name, nodes, *_judge(model, metrics))


def _judge(model: Model | None, metrics: list[tuple[str, Any]]) -> tuple[str, str]:
    expected = {name: (1 - 0.5**ROUNDS) * goal for name, goal in GOAL.items()}
    if model is None:
        return "skipped", "no round was aggregated"
    if [(name, value.shape) for name, value in model.items()] != [(name, value.shape) for name, value in expected.items()]:
        return "structure changed", str([(name, value.shape) for name, value in model.items()])
    if any(value.dtype.kind not in "fiu" for value in model.values()):
        return "structure changed", str([str(value.dtype) for value in model.values()])
    if not all(np.isfinite(value).all() for value in model.values()):
        return "non-finite", ""
    off = max(float(np.abs(model[name].astype(float) - expected[name]).max()) for name in expected)
    if off > TOLERANCE:
        halfway = max(float(np.abs(model[name] - expected[name] * 2 / 3).max()) for name in expected)
        return ("skipped" if halfway < TOLERANCE else "poisoned"), f"{off:.3g} off"
    if any(model[name].dtype != expected[name].dtype for name in expected):
        return "dtype changed", str([str(value.dtype) for value in model.values()])
    bad = [(name, value) for name, value in metrics if not (is_printable(name) and _finite(value))]
    return ("metrics spoilt", printable(bad[:2])) if bad else ("survived", "")


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
