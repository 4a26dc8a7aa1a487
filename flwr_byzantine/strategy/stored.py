"""Rounds that are kept for whoever verifies them: all that the aggregate was made of, one file a round, the last few of a run."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from logging import ERROR
from pathlib import Path
from typing import Any

from flwr_byzantine import rules
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import ByzantineError, InvalidParameter
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.flower.words import printable
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.chains import Chain
from flwr_byzantine.rules.results import State
from flwr_byzantine.strategy.checkpoint import UNREADABLE, Snapshot, contents, save
from flwr_byzantine.strategy.combining import Aggregated
from flwr_byzantine.strategy.digests import Digests
from flwr_byzantine.strategy.inspection import Inspected
from flwr_byzantine.strategy.metrics import finite_numbers
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.report import RoundReport
from flwr_byzantine.strategy.roles import Roles
from flwr_byzantine.strategy.template import Template

KIND = "round of replies"
NAME = "{run}-round-{number:06d}.round"
CLASSES = {cls.__name__: cls for cls in (*rules.available(), Chain)}


@dataclass(frozen=True)
class Stored:
    """A round as it was before its arithmetic, and what its report says.

    Attributes:
        rule: as run; None for one of a class that is not of this package.
        template: the broadcast model.
        seen: the valid replies; of their metrics, the number of examples alone.
        state: the rule's before the round, or None before its first.
        trusted: (d,) the server's own update, or None.
        weighting: of the policy.
        report: of the round, as far as it was known then.
    """

    rule: Rule | None
    template: Template
    seen: Inspected
    state: State | None
    trusted: Array | None
    weighting: Any
    report: RoundReport

    def snapshot(self) -> Snapshot:
        """What is written."""
        template, groups = self.template, {} if self.state is None else {f"state/{k}": v for k, v in self.state.arrays.items()}
        groups |= {f"model/{name}": value for name, value in template.unflatten(template.values).items()}
        groups |= {f"reply/{node}/{k}": row for node, rows in self.seen.rows.items() for k, row in enumerate(rows)}
        groups |= {} if self.trusted is None else {"trusted": self.trusted}
        facts = {
            "kind": KIND,
            "rule": None if self.rule is None else rule_form(self.rule),
            "shared": template.names if template.partial else None,
            "kinds": dict(template.roles.kinds),
            "known": template.known,
            "gradients": template.gradients,
            "examples": {node: _number(reply.examples) for node, reply in self.seen.replies.items()},
            "state_round": None if self.state is None else self.state.round,
            "weighting": self.weighting,
            "report": self.report.to_json(),
        }
        return Snapshot(self.report.server_round, groups, facts)

    @classmethod
    def of(cls, snapshot: Snapshot) -> Stored:
        """The round from what was written."""
        facts, report = snapshot.facts, RoundReport.from_json(snapshot.facts["report"])
        model, known, shared = snapshot.group("model"), facts["known"], facts["shared"]
        sizes = {name: value.size for name, value in model.items() if shared is None or name in shared}
        template = Template(model, None, known).of_shared(shared, Roles(sizes, facts["kinds"], len(model) - len(sizes)))
        if facts["gradients"]:
            template.measure_from_zero()
        rows = {int(node): list(snapshot.group(f"reply/{node}").values()) for node in facts["examples"]}
        replies = {node: Reply(node, metrics={}, examples=facts["examples"][str(node)]) for node in rows}
        state = None if facts["state_round"] is None else State(facts["state_round"], snapshot.group("state"))
        rule = None if facts["rule"] is None else rule_from(facts["rule"])
        return cls(rule, template, Inspected(rows, replies, {}), state, snapshot.arrays.get("trusted"), facts["weighting"], report)


def _number(value: Any) -> float | None:
    """A client's number of examples, where it is one."""
    found = None if isinstance(value, list) else finite_numbers(value)
    return found[0] if found else None


def rule_form(rule: Rule) -> Any:
    """A rule as JSON: its class's name and its parameters; None where it, or one within it, is not of this package."""
    if CLASSES.get(type(rule).__name__) is not type(rule):
        return None
    form = {item.name: _value_form(getattr(rule, item.name)) for item in fields(rule)}
    return None if _foreign(form) else {"class": type(rule).__name__, **form}


def _value_form(value: Any) -> Any:
    if isinstance(value, Rule):
        return rule_form(value) or {"class": None}
    return [_value_form(part) for part in value] if isinstance(value, tuple) else value


def _foreign(form: Any) -> bool:
    return '"class": null' in json.dumps(form)


def rule_from(form: dict[str, Any]) -> Rule:
    """The rule that `rule_form` made this of.

    Example:
        >>> str(rule_from(rule_form(rules.chain(rules.NNM(f=1), rules.GAS(f=1, base=rules.Median())))))
        'NNM(f=1) + GAS(f=1, base=Median(f=1))'
    """
    cls = CLASSES[form["class"]]
    given = {name: _value_from(value) for name, value in form.items() if name != "class"}
    return Chain(given["parts"]) if cls is Chain else cls(**given)


def _value_from(value: Any) -> Any:
    if isinstance(value, dict):
        return rule_from(value)
    return tuple(map(_value_from, value)) if isinstance(value, list) else value


def attested(stored: Stored, made: Aggregated, policy: Policy, run: str, log: Callable[[int, str], None]) -> RoundReport:
    """The report with the digests of all that was in the round; the round is kept where the policy says."""
    report = Digests.of(stored.template, stored.seen.rows, made).entered(stored.report)
    if policy.replies_path is not None:
        keep(replace(stored, report=replace(report, run=run)), policy, run, log)
    return report


def keep(stored: Stored, policy: Policy, run: str, log: Callable[[int, str], None]) -> None:
    """Write a round, and remove the run's rounds before the last few; a failure costs a line in the log."""
    folder, number = Path(str(policy.replies_path)), stored.report.server_round
    try:
        save(folder / NAME.format(run=run, number=number), stored.snapshot())
        for path in folder.iterdir():
            found = re.fullmatch(rf"{re.escape(run)}-round-(\d+)\.round", path.name)
            if found and not number - policy.replies_kept < int(found[1]) <= number:
                path.unlink(missing_ok=True)
    except OSError as error:
        log(ERROR, f"round {number}'s replies could not be kept in {folder} ({error}); the run goes on, and this round cannot be verified")


def read(path: str | Path) -> Stored:
    """A round that was kept.

    Raises:
        InvalidParameter: there is no such file, or it holds something else.
        Damaged: it holds no whole round.
    """
    if not os.path.lexists(path):
        raise InvalidParameter(f"there is no round {str(path)!r}; give a file that replies_path= keeps")
    try:
        snapshot = contents(Path(path))
    except UNREADABLE as error:
        raise Damaged(printable(error)) from None
    if snapshot.facts.get("kind") != KIND:
        raise InvalidParameter(f"{str(path)!r} holds a run, and no round of replies; give a file that replies_path= keeps")
    try:
        return Stored.of(snapshot)
    except (*UNREADABLE, AttributeError, ByzantineError) as error:
        raise Damaged(f"it holds no round as this version keeps it ({printable(error)})") from None


class Damaged(InvalidParameter):
    """A file that holds no whole round."""
