"""How many replies a round needs, what becomes of f where there are fewer, and who is asked in place of the silent."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields
from logging import INFO, WARNING

from flwr_byzantine.flower.patience import Quorum
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.parsing import AUTO

RuleFor = Callable[[int], Rule]  # the rule for a round in which n replies arrived
SLOW = 5  # one in so many may be slow whatever f is
FURTHER = 1000  # nodes more than are asked: how far a better number of them is looked for


def rule_or_reason(rule_for: RuleFor, n: int) -> Rule | str:
    """The rule at n replies, or why there is none: a function of the user's need not have one for every n, whatever it raises."""
    try:
        return rule_for(n)
    except Exception as error:
        return f"there is no rule for {n} replies: {type(error).__name__}: {error}"


def in_words(rule_for: RuleFor) -> str:
    """The rule before it is known how many replies arrive; where it depends on their number, as with f as a share, two examples.

    Example:
        >>> from flwr_byzantine import rules
        >>> in_words(lambda n: rules.Krum(f=2))
        'Krum(f=2)'
        >>> in_words(lambda n: rules.Krum(f=n // 5))
        'depends on how many replies a round has: with 10, Krum(f=2); with 100, Krum(f=20)'
    """
    few, many = (str(rule_or_reason(rule_for, n)) for n in (10, 100))
    return few if few == many else f"depends on how many replies a round has: with 10, {few}; with 100, {many}"


def feasible(rule_for: RuleFor, n: int, invalid: int = 0, silent: int = 0) -> tuple[Rule | None, str]:
    """The rule at n valid replies, and what it rests on; None where there is none for so many, and why.

    Where n is too few, f may fall by the replies found invalid (THEORY §5), and further by the silent where they count: by as
    many as it takes, and not below 0.

    Args:
        rule_for: from the number of replies that arrived to the rule of the round.
        n: valid replies.
        invalid: replies found invalid.
        silent: nodes that answered with errors or not at all, where f may fall by them (`on_missing="lower-f"`), else 0.

    Example:
        >>> from flwr_byzantine import rules
        >>> feasible(lambda n: rules.TrimmedMean(f=2), n=3, invalid=1)[0]
        TrimmedMean(f=1)
        >>> feasible(lambda n: rules.TrimmedMean(f=2), n=3, silent=3)[0]
        TrimmedMean(f=1)
    """
    rule = rule_or_reason(rule_for, n + invalid)
    if isinstance(rule, str):
        return None, rule
    if n >= rule.min_n():
        return rule, ""
    lower = rule.with_f(max(0, rule.f - invalid))
    if invalid <= rule.f and n >= lower.min_n():
        return lower, f"f lowered from {rule.f} to {lower.f}: rests on the {invalid} invalid replies being Byzantine ones"
    for f in range(rule.f - 1, max(0, rule.f - invalid - silent) - 1, -1) if silent else ():
        if n >= rule.with_f(f).min_n():
            rests = f"rests on {rule.f - f} of the {invalid + silent} nodes without a valid reply being Byzantine ones"
            return rule.with_f(f), f"f lowered from {rule.f} to {f} by on_missing='lower-f': {rests}"
    return rule, ""


def unknown(strategy: object) -> bool:
    """Whether a strategy's f is "auto": nobody says how many replies may be Byzantine."""
    return getattr(strategy, "f", None) == AUTO


def largest_that_came(rule_for: RuleFor, n: int) -> tuple[Rule | None, str]:
    """As `feasible`, for f="auto": nobody said how many may be Byzantine, so that f is of the n replies that came, and never falls.

    Example:
        >>> from flwr_byzantine import rules
        >>> largest_that_came(lambda n: rules.Krum(f=max(0, (n - 3) // 2)), 4)[1]
        "f='auto' is 0 at 4 replies: Krum(f=0) withstands no Byzantine one; ask more nodes"
    """
    rule = rule_or_reason(rule_for, n)
    if isinstance(rule, str):
        return None, rule
    nobody = not too_few(rule, n) and _would_withstand(rule)
    return rule, f"f={AUTO!r} is 0 at {n} replies: {rule} withstands no Byzantine one; ask more nodes" if nobody else ""


def _would_withstand(rule: Rule) -> bool:
    """Whether f is 0, of a rule that takes an f: a plain mean takes none, and nobody expects it to withstand anybody."""
    return rule.f == 0 and any("f" in {item.name for item in fields(stage)} for stage in rule.stages())


def enough(rule_for: RuleFor, n: int) -> bool:
    """Whether n valid replies are enough for the rule."""
    rule = rule_or_reason(rule_for, n)
    return not (isinstance(rule, str) or too_few(rule, n))


def too_few(rule: Rule, n: int) -> str:
    """Why n valid replies are not enough for the rule; empty where they are."""
    least = max(rule.min_n(), 1)
    return "" if n >= least else f"{rule} needs at least {least} valid replies, got {n}"


def quorum(rule_for: RuleFor, n: int, training: bool, auto: bool = False) -> Quorum:
    """How many of the n nodes asked must have answered before the others get no more than the grace period.

    All but f, or all but a fifth where f is less: no rule says that nobody is slow or silent. In training as many as a rule needs.
    All but a fifth where f is "auto": who answers fast must not choose an f that falls with the replies.
    """
    if auto:
        return Quorum(least := max(1, n - n // SLOW), least if training else 0)
    rule = rule_or_reason(rule_for, n)
    if isinstance(rule, str):
        return Quorum(n)
    least = max(1, n - max(rule.f, n // SLOW))
    return Quorum(least, next((m for m in range(least, n) if enough(rule_for, m)), n) if training else least)


def silence(rule_for: RuleFor, n: int, auto: bool = False) -> tuple[int, str]:
    """What to say at the start of a run in which n nodes are asked: how many silent ones stop a round, and how many to ask.

    Where f is "auto", how many Byzantine ones a round withstands.

    Returns:
        A level of `logging`, and a sentence: a warning where f nodes can stop a round, or every round is without a rule.

    Example:
        >>> from flwr_byzantine import rules
        >>> silence(lambda n: rules.Krum(f=2), 8)[1]
        'of 8 nodes asked f=2 may be Byzantine, but 2 that answer with errors or not at all stop a round; ask 9 or more'
    """
    rule = rule_or_reason(rule_for, n)
    if isinstance(rule, str):
        return WARNING, f"{n} nodes are asked, and {rule}"
    if auto:
        return _allowed(rule_for, rule, n)
    stops = next(k for k in range(n + 1) if not enough(rule_for, n - k))
    better = next((more for more in range(n, n + FURTHER) if enough(rule_for, more - _faults(rule_for, more))), None)
    advice = "" if better is None else f"; ask {better} or more"
    if stops == 0:
        return WARNING, f"{n} nodes are asked, and {rule} needs at least {rule.min_n()} valid replies: no round can be aggregated{advice}"
    if stops <= rule.f:
        bad = f"of {n} nodes asked f={rule.f} may be Byzantine, but {stops} that answer with errors or not at all stop a round"
        return WARNING, bad + advice
    return INFO, f"of {n} nodes asked f={rule.f} may be Byzantine; {stops} that answer with errors or not at all stop a round"


def _allowed(rule_for: RuleFor, rule: Rule, n: int) -> tuple[int, str]:
    """What `silence` says where f is "auto"."""
    if _would_withstand(rule):
        return WARNING, f"{n} nodes are asked, at which f={AUTO!r} is 0: {rule} withstands no Byzantine one; ask more nodes"
    waits = quorum(rule_for, n, True, True).enough
    return INFO, f"of {n} nodes asked f={AUTO!r} allows {rule.f} to be Byzantine, {_faults(rule_for, waits)} where {waits} answer"


def _faults(rule_for: RuleFor, n: int) -> int:
    rule = rule_or_reason(rule_for, n)
    return n if isinstance(rule, str) else rule.f


def substitutes(asked: Sequence[int], silent: Collection[int], there: Iterable[int], seed: int) -> dict[int, int]:
    """Who is asked in place of whom: each silent node in place of which there is one that nobody has asked.

    Args:
        asked: the nodes sampled for the round.
        silent: those without a valid reply in the rounds skipped before.
        there: all nodes that may be asked.
        seed: of the draw among them, the round's number.

    Example:
        >>> substitutes([1, 2, 3], {2, 3}, [1, 2, 3, 4], seed=1)
        {2: 4}
    """
    spare = sorted(set(there) - set(asked) - set(silent))
    random.Random(seed).shuffle(spare)
    return dict(zip([node for node in asked if node in silent], spare, strict=False))
