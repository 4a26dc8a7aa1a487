"""Constructor arguments of the named strategies: Flower's own, then ours.

They are read off Flower's class of the same name, so that names, order and defaults are Flower's and cannot
drift; the arguments common to all our strategies follow, by keyword. Both APIs share this file.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar

from flwr_byzantine import rules
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.strategy.core import RuleFor, rule_for
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.trusted import MISSING

POLICY = {item.name: item.default for item in dataclasses.fields(Policy)}
Make = Callable[..., RuleFor]
RULE_ARGUMENTS = (
    "num_malicious_nodes",
    "num_nodes_to_select",
    "beta",
    "selection_rule",
    "num_malicious_clients",
    "num_clients_to_keep",
    "first_aggregation_rule",
)


def split(cls: type, like: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Arguments for the inner FedAvg, for the rule, and for `Robust`, bound as Flower's class `like` would bind them.

    Raises:
        TypeError: an argument that neither Flower's class nor ours knows.
    """
    ours = {name: kwargs.pop(name) for name in POLICY if name in kwargs}
    rule = {name: kwargs.pop(name) for name in ("f", *cls.options) if name in kwargs}  # type: ignore[attr-defined]
    bound = inspect.signature(like.__init__).bind(None, *args, **kwargs)  # type: ignore[misc]
    bound.apply_defaults()
    values = {name: value for name, value in bound.arguments.items() if name not in ("self", "aggregation_rule_kwargs")}
    rule |= {name: values.pop(name) for name in RULE_ARGUMENTS if name in values}
    return values, rule, ours


def signature_of(cls: type, like: type) -> inspect.Signature:
    """Flower's constructor, then our keyword arguments."""
    theirs = [p for name, p in inspect.signature(like.__init__).parameters.items() if name != "self" and p.kind is not p.VAR_KEYWORD]  # type: ignore[misc]
    names = [name for name in ("f", *cls.options, *POLICY) if name not in {p.name for p in theirs}]  # type: ignore[attr-defined]
    ours = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=POLICY.get(name)) for name in names]
    return inspect.Signature(theirs + ours)


def count(f: Any, declared: int, name: str) -> Any:
    """F where it is given, else Flower's count of malicious nodes; both is a contradiction."""
    check("strategy", name, declared, Constraint(int, ge=0))
    if f is None:
        return int(declared)
    if declared:
        raise InvalidParameter(f"strategy: give f or {name}, not both; got f={f!r} and {name}={declared!r}")
    return f


class Named:
    """Mixin for a `Robust` strategy that is known by a rule's name."""

    like: ClassVar[type]  # Flower's class whose arguments it takes
    average: ClassVar[type]  # Flower's FedAvg of the same API
    options: ClassVar[tuple[str, ...]] = ()  # the rule's parameters that Flower's class does not have
    make: Make
    trusting: ClassVar[bool] = False  # needs server_update

    def __init_subclass__(cls) -> None:
        """Show Flower's arguments in help and in editors."""
        super().__init_subclass__()
        if hasattr(cls, "like"):
            cls.__signature__ = signature_of(cls, cls.like)  # type: ignore[attr-defined]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        inner, rule, ours = split(type(self), self.like, args, kwargs)
        if self.trusting and ours.get("server_update") is None:
            raise InvalidParameter(MISSING.format(rule=type(self).__name__))
        super().__init__(self.make(**rule), self.average(**inner), **ours)  # type: ignore[call-arg]


def krum(f: Any = None, num_malicious_nodes: int = 0) -> RuleFor:
    """Krum for a declared number of malicious nodes."""
    return rule_for(lambda f: rules.Krum(f=f), count(f, num_malicious_nodes, "num_malicious_nodes"), int)


def multi_krum(f: Any = None, num_malicious_nodes: int = 0, num_nodes_to_select: int | None = 1, m: int | None = None) -> RuleFor:
    """One-shot Multi-Krum that keeps m (Flower's num_nodes_to_select)."""
    keep = num_nodes_to_select if m is None else m
    return rule_for(lambda f: rules.MultiKrum(f=f, m=keep), count(f, num_malicious_nodes, "num_malicious_nodes"), int)


def bulyan(f: Any = None, num_malicious_nodes: int = 0, selection_rule: Any = None) -> RuleFor:
    """The paper's Bulyan, whose selection is Krum's."""
    if selection_rule is not None:
        raise InvalidParameter(f"Bulyan: selection_rule must be None (the paper's iterated Krum), got {selection_rule!r}")
    return rule_for(lambda f: rules.Bulyan(f=f), count(f, num_malicious_nodes, "num_malicious_nodes"), int)


def trimmed(f: Any = None, beta: float = 0.2) -> RuleFor:
    """F per side, or Flower's fraction beta: int(beta n)."""
    check("FedTrimmedAvg", "beta", beta, Constraint(float, ge=0, lt=0.5))
    return rule_for(lambda f: rules.TrimmedMean(f=f), f, lambda n: int(beta * n))


def keeping(f: Any = None, num_malicious_clients: int = 0, num_clients_to_keep: int = 0, m: int | None = None) -> RuleFor:
    """The legacy Krum: num_clients_to_keep = 0 is Krum, more is Multi-Krum."""
    keep, declared = m or num_clients_to_keep, count(f, num_malicious_clients, "num_malicious_clients")
    return rule_for(lambda f: rules.MultiKrum(f=f, m=keep) if keep else rules.Krum(f=f), declared, int)


def keeping_many(f: Any = None, num_malicious_clients: int = 0, num_clients_to_keep: int = 0, m: int | None = None) -> RuleFor:
    """The legacy Multi-Krum: keeps n - f unless it is told how many."""
    keep = m or num_clients_to_keep or None
    return rule_for(lambda f: rules.MultiKrum(f=f, m=keep), count(f, num_malicious_clients, "num_malicious_clients"), int)


def legacy_bulyan(f: Any = None, num_malicious_clients: int = 0, first_aggregation_rule: Any = None) -> RuleFor:
    """The paper's Bulyan, whatever Flower's default selection."""
    return rule_for(lambda f: rules.Bulyan(f=f), count(f, num_malicious_clients, "num_malicious_clients"), int)


SERVER_DEFAULTS: dict[type, dict[str, Any]] = {rules.MoNNA: {"trusted": None}}  # a server has no row of its own to trust


def simple(rule: Any) -> Make:
    """A rule with its own parameters and f.

    Where the rule itself does not use f (medians), it only declares the guarantee and is the most that the replies
    allow unless given; elsewhere it must be given.
    """
    item = rule.__dataclass_fields__.get("f")

    def make(f: Any = None, **arguments: Any) -> RuleFor:
        if f is None and item is not None and item.default is dataclasses.MISSING:
            raise InvalidParameter(f"{rule.__name__}: f must be given: how many replies of a round may be Byzantine (a count, or a share)")
        given = SERVER_DEFAULTS.get(rule, {}) | {name: value for name, value in arguments.items() if value is not None}
        return rule_for(lambda f: rule(**given) if item is None else rule(f=f, **given), f, lambda n: max(n - 1, 0) // 2)

    return make


def options_of(rule: type[rules.Rule]) -> tuple[str, ...]:
    """The rule's parameters besides f."""
    return tuple(item.name for item in fields(rule) if item.name != "f")


CATALOGUE = tuple(  # rules without a namesake in Flower: a strategy for each, in both APIs
    rule
    for rule in rules.available()
    if not issubclass(rule, rules.PreAggregation) and rule.__name__ not in ("Mean", "Krum", "MultiKrum", "Bulyan", "FLTrust")
)


def catalogue(base: type, module: str) -> dict[str, type]:
    """A named strategy for each rule of `CATALOGUE`, on the API's base class."""
    return {
        rule.__name__: type(
            rule.__name__,
            (base,),
            {
                "__doc__": f"`rules.{rule.__name__}` over FedAvg's arguments; f and the rule's own parameters by keyword.",
                "__module__": module,
                "options": options_of(rule),
                "make": staticmethod(simple(rule)),
            },
        )
        for rule in CATALOGUE
    }
