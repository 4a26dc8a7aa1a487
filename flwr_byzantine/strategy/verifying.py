"""Verifies a round that was kept: was it done as its report says?"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr_byzantine.errors import ByzantineError, InvalidParameter
from flwr_byzantine.flower.words import printable
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.server import Server
from flwr_byzantine.strategy.checkpoint import UNREADABLE
from flwr_byzantine.strategy.combining import Aggregated, combine
from flwr_byzantine.strategy.digests import Digests
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.report import NodeReport, RoundReport, promise, verdicts
from flwr_byzantine.strategy.stored import Damaged, Stored, read
from flwr_byzantine.strategy.trusted import layout

NEAR = 1e-9  # of weights and scores, relative: these are told, and nothing is made of them
LATER = {"seconds", "arithmetic", "ended", "planned", "banned", "evaluation", "nodes"}  # known when the round is kept: all but these
OF_A_NODE_LATER = {"seconds", "staleness"}


@dataclass(frozen=True)
class Verified:
    """What was found of one round.

    Attributes:
        path: the file that it was kept in.
        difference: the first thing that is not as the report says, in one sentence; empty where all is.
        report: of the round; None where the file holds no whole one.
        aggregate_sha256: of what was made of the replies now; empty where nothing can be.
    """

    path: str
    difference: str
    report: RoundReport | None = None
    aggregate_sha256: str = ""

    def __str__(self) -> str:
        if self.report is None:
            return f"{self.path} cannot be verified: {self.difference}"
        what = f"round {self.report.server_round} of run {self.report.run}"
        if self.difference:
            return f"{what} was not done as its report says: {self.difference}"
        return f"{what} was done as its report says: {self.report.rule} of {self.report.n_valid} replies, SHA-256 {self.aggregate_sha256}"


def verify(path: str | Path, rule: Rule | None = None, reports: str | Path | None = None) -> Verified:
    """Make a round's aggregate again of its stored replies, and compare all with what its report says.

    Args:
        path: a file that a strategy's `replies_path=` keeps.
        rule: the rule as run, where its class is not of this package; the file's by default.
        reports: the strategy's file of `report_path=`: what was kept must be what was reported there, too.

    Raises:
        InvalidParameter: no such file, one of another kind, or a rule that must be given.
    """
    try:
        stored = read(path)
    except Damaged as error:
        return Verified(str(path), str(error))
    told, rule = None if reports is None else _told(reports, stored.report), rule or stored.rule
    if rule is None:
        raise InvalidParameter(f"the round was run by {stored.report.rule}, no rule of this package; verify(path, rule=...) takes it")
    made, why = _again(stored, rule)
    try:
        digests = Digests.of(stored.template, stored.seen.rows, made)
    except ValueError:
        return Verified(str(path), "its replies are not shaped as its model")
    found = (*_from_line(stored.report, told), *_given(stored.report, rule, digests), why, *_found(stored, rule, made, digests))
    return Verified(str(path), next(filter(None, found), ""), stored.report, digests.aggregate)


def _again(stored: Stored, rule: Rule) -> tuple[Aggregated | None, str]:
    """What is made of the replies, or why nothing is."""
    server = Server(stored.trusted, layout=layout(stored.template))
    try:
        policy = Policy(reproducible=True, weighting=stored.weighting)
        return combine(policy, rule, stored.template, stored.seen, stored.state, server, None), ""
    except (ByzantineError, ValueError, TypeError) as error:
        return None, f"no aggregate can be made of these replies: {printable(error)}"


def _given(report: RoundReport, rule: Rule, now: Digests) -> Iterator[str]:
    """What is not as reported of that which the aggregate is made of."""
    if (str(rule), rule.f) != (report.rule, report.f):
        yield f"the rule is {rule}, and the report says {report.rule} for f={report.f}"
    if now.model != report.model_sha256:
        yield f"the model that was broadcast has SHA-256 {now.model}, and the report says {report.model_sha256 or 'none'}"
    yield from _replies(now, report)


def _found(stored: Stored, rule: Rule, made: Aggregated | None, now: Digests) -> Iterator[str]:
    """What is not as reported of what is made of it."""
    report = stored.report
    if not report.aggregated:
        yield "an aggregate was made, and the report says that the round had none"
    decided = {} if made is None else verdicts(list(stored.seen.rows), made.outcome, rule)
    for node, entry in decided.items():
        said = report.nodes.get(node, NodeReport("missing"))
        if said.status != entry.status:
            yield f"the rule has node {node} {entry.status}, and the report says {said.status}"
        if not (_near(said.weight, entry.weight) and _near(said.score, entry.score)):
            one, other = (f"weight {found.weight:.9g} and score {found.score}" for found in (entry, said))
            yield f"the rule gives node {node} {one}, and the report says {other}"
    if now.aggregate != report.aggregate_sha256:
        yield f"the aggregate has SHA-256 {now.aggregate}, and the report says {report.aggregate_sha256 or 'none'}"
    if (kappa := (len(decided), promise(rule, len(decided)).get("kappa"))) != (report.n_valid, report.kappa):
        yield f"the rule's kappa at {kappa[0]} replies is {kappa[1]}, and the report says {report.kappa} at {report.n_valid}"


def _replies(now: Digests, report: RoundReport) -> Iterator[str]:
    said = {node: entry.reply_sha256 for node, entry in report.nodes.items() if entry.status in ("kept", "rejected")}
    if missing := sorted(said.keys() ^ now.replies.keys()):
        where = "the report names, and is not there" if missing[0] in said else "is there, and the report does not name"
        yield f"the reply of node {missing[0]} {where}"
    for node, value in now.replies.items():
        if node in said and value != said[node]:
            yield f"the reply of node {node} has SHA-256 {value}, and the report says {said[node] or 'none'}"


def _near(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else one == other or math.isclose(one, other, rel_tol=NEAR, abs_tol=NEAR)


def _told(reports: str | Path, report: RoundReport) -> RoundReport:
    """The round's line in the file of reports."""
    try:
        lines = Path(reports).read_text(errors="replace").splitlines()
    except OSError as error:
        raise InvalidParameter(f"cannot read {reports} ({error.strerror}); give the file of report_path=") from None
    for line in reversed(lines):
        found = _line(line) if line.startswith(json.dumps({"run": report.run})[:-1]) else None
        if found is not None and found.server_round == report.server_round:
            return found
    raise InvalidParameter(f"{reports} has no line of round {report.server_round} of run {report.run}")


def _line(line: str) -> RoundReport | None:
    """The report of a line; None where a crash, or somebody, has left half of one."""
    try:
        return RoundReport.from_json(line)
    except (*UNREADABLE, AttributeError):
        return None


def _from_line(report: RoundReport, told: RoundReport | None) -> Iterator[str]:
    """What the file of reports says otherwise."""
    if told is None:
        return
    here, there = (json.loads(found.to_json()) for found in (report, told))
    yield from (f"the file of reports has {said}" for said in _differences(here, there, LATER))
    for node in sorted(report.nodes.keys() | told.nodes.keys()):
        one, other = (found["nodes"].get(str(node)) for found in (here, there))
        if one is None or other is None:
            which = "the file of reports says nothing of" if other is None else "the file of reports alone has"
            yield f"{which} node {node}"
        else:
            yield from (f"of node {node} the file of reports has {said}" for said in _differences(one, other, OF_A_NODE_LATER))


def _differences(here: dict[str, Any], there: dict[str, Any], later: set[str]) -> Iterator[str]:
    for name in [name for name in {**here, **there} if name not in later]:
        one, other = here.get(name), there.get(name)
        if not _equal(one, other):
            yield f"{name} {printable(repr(other))}, and the round {printable(repr(one))}"


def _equal(one: object, other: object) -> bool:
    """Whether two decoded values are written alike; NaN is like NaN."""
    return json.dumps(one) == json.dumps(other)
