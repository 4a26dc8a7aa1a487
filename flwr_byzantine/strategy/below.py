"""Which of Flower's strategies a robust one may stand on, and what those ask of a round; both APIs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.strategy.numbers import NOT_AVERAGED

REFUSED = {  # beginnings of the names of Flower's classes -> why none of them can be wrapped
    ("DifferentialPrivacy", "DPFedAvg"): "inside {outer} it would make noise for one client's share of an average and see the aggregate "
    "alone; wrap the other way round, {name}({outer}(...), ...)",
    ("FedXgb",): f"{NOT_AVERAGED}; use {{name}} by itself, which no rule protects",
    ("QFedAvg",): "it weighs each client's update by the loss that the client claims, which one aggregate does not have; "
    "use FedAvg(), or {name} by itself, which no rule protects",
    ("Krum", "MultiKrum", "Bulyan"): "it chooses among several replies and gets the aggregate alone; use FedAvg(), or "
    "the strategy flwr_byzantine.{name} by itself",
    ("FedAvgAndroid",): "its tensors have a form of their own; use FedAvg() and clients that answer with NumPy arrays",
}
SECURE = (
    "strategy: secure aggregation (SecAgg, SecAgg+) hides the clients' updates and shows a strategy their average alone: no rule can tell "
    "a liar from it; use the default workflow with a robust strategy, or secure aggregation with FedAvg"
)
OF_FACTORS = (
    "strategy: lora= goes with a server that takes the aggregate as it is (FedAvg): {what} takes its steps in the factors A and B, "
    "which mean nothing by themselves; leave out lora=, or take FedAvg()"
)
LEAST = ("min_available_nodes", "min_train_nodes", "min_evaluate_nodes")  # attributes of the Message API's strategies
CONTAINERS = (dict, list, tuple, set, frozenset)
RATES = {
    "completion_rate_fit": "min_completion_rate_fit",
    "completion_rate_evaluate": "min_completion_rate_evaluate",
}  # attribute: argument


def standing_on(strategy: Any) -> Iterator[Any]:
    """The strategy, and those that it wraps, however deep, in lists and dicts too; each once.

    Example:
        >>> from flwr.serverapp.strategy import FedAvg
        >>> [type(found).__name__ for found in standing_on(FedAvg())]
        ['FedAvg']
    """
    waiting, seen = [strategy], {id(strategy)}
    for thing in waiting:  # which grows
        if not isinstance(thing, CONTAINERS):
            yield thing
        for part in _parts(thing):
            if id(part) not in seen and (isinstance(part, CONTAINERS) or _is_strategy(part)):
                seen.add(id(part))
                waiting.append(part)


def refuse_below_lora(strategy: Any, gradients: bool) -> None:
    """Refuse what would move the factors of adapters as if they were weights.

    Raises:
        InvalidParameter: one sentence names it.
    """
    names = {base.__name__ for found in standing_on(strategy) for base in type(found).__mro__}
    optimisers = sorted(names & {"FedOpt", "FedAvgM", "FedAdam", "FedAdagrad", "FedYogi"})
    if gradients or optimisers:
        raise InvalidParameter(OF_FACTORS.format(what="a descent along gradients" if gradients else optimisers[0]))


def _parts(thing: Any) -> Iterable[Any]:
    held = thing if isinstance(thing, CONTAINERS) else getattr(thing, "__dict__", {})
    return list(held.values() if isinstance(held, dict) else held)


def _is_strategy(thing: Any) -> bool:
    return hasattr(thing, "configure_train") or hasattr(thing, "configure_fit")


def check_wrapped(strategy: Any, outer: str) -> None:
    """Refuse Flower's strategies that would silently not do, inside a robust one, what they are for.

    Args:
        strategy: the one that is to be wrapped.
        outer: name of the robust one.

    Raises:
        InvalidParameter: one sentence says why, and what to use.
    """
    for found in standing_on(strategy):
        if reason := getattr(type(found), "never_wrapped", ""):
            raise InvalidParameter(f"{outer} cannot wrap {type(found).__name__}: {reason.format(outer=outer)}")
        for name in _flowers_names(type(found)):
            for beginnings, reason in REFUSED.items():
                if name.startswith(beginnings):
                    raise InvalidParameter(f"{outer} cannot wrap {name}: {reason.format(outer=outer, name=name)}")


def check_bases(cls: type) -> None:
    """Refuse a robust strategy one of whose bases, other than FedAvg, has an aggregation of its own: it would never be called.

    Raises:
        InvalidParameter: one sentence names the base.
    """
    for base in cls.__mro__:
        own = _is_flowers(base) and base.__name__ not in ("FedAvg", "Strategy")
        if own and ({"aggregate_train", "aggregate_fit"} & set(vars(base))):
            raise InvalidParameter(
                f"{cls.__name__}: the aggregation of its base {base.__name__} would never be called; wrap it instead, "
                f"Robust(rule, strategy={base.__name__}(...))"
            )


def _is_flowers(cls: type) -> bool:
    return cls.__module__.startswith("flwr.")


def _flowers_names(cls: type) -> list[str]:
    return [base.__name__ for base in cls.__mro__ if _is_flowers(base)]


def least_nodes(strategy: Any, training: bool) -> int:
    """How many nodes the strategies below want at least before a round of training or of evaluation; 0 where none says so."""
    names = ("min_available_nodes", "min_train_nodes" if training else "min_evaluate_nodes")
    return max(getattr(found, name, 0) for found in standing_on(strategy) for name in names)


@contextmanager
def content_with(strategy: Any, nodes: int) -> Iterator[None]:
    """Let the strategies below want no more than so many nodes meanwhile."""
    more = [(found, name, getattr(found, name, 0)) for found in standing_on(strategy) for name in LEAST]
    more = [(found, name, value) for found, name, value in more if value > nodes]
    try:
        for found, name, _ in more:
            setattr(found, name, nodes)
        yield
    finally:
        for found, name, value in more:
            setattr(found, name, value)


def objection(strategy: Any, rate: str, answered: int, failed: int) -> str:
    """Why a legacy strategy, or one that it wraps, does not want a round aggregated; empty where it has nothing against it.

    Args:
        strategy: as Flower made it; `accept_failures` and completion rates are read.
        rate: name of the attribute that says which share of the clients must answer.
        answered: clients whose results came.
        failed: clients whose results did not.
    """
    for found in standing_on(strategy):
        if failed and not getattr(found, "accept_failures", True):
            return f"accept_failures is False, and {failed} clients failed"
        least = getattr(found, rate, 0.0)
        if answered < least * (answered + failed):
            return f"{RATES[rate]} is {least}, and {answered} of {answered + failed} clients answered"
    return ""
