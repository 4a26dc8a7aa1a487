"""What happened to each node in a round, as data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from logging import INFO, WARNING
from typing import Any, TypeVar

import numpy as np

from flwr_byzantine.flower.words import escaped, printable
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.results import Detection, Outcome
from flwr_byzantine.theory.certificate import Certificate, Estimate

T = TypeVar("T")


@dataclass(frozen=True)
class Suspicion:
    """What a detector says of one node in one round.

    Attributes:
        score: how suspicious it is, larger is worse; each detector has a scale of its own.
        threshold: what the score is compared with, or None where it was compared with nothing.
        kept: whether the node was left in.
    """

    score: float
    threshold: float | None
    kept: bool


@dataclass(frozen=True)
class NodeReport:
    """One node in one round.

    Attributes:
        status: "kept" (part of the aggregate), "rejected" (by the rule), "invalid" (malformed reply, never read
            by the rule), "failed" (an error reply), or "missing" (asked, no reply).
        reason: one sentence, empty where the status says all.
        score: the rule's badness score (smaller is better), or None.
        weight: share of the aggregate that the node owns, 0 to 1 (an estimate for coordinate-wise rules).
        seconds: from the sending of the model to the arrival of the reply; None where no reply came, or its arrival was not seen.
        detections: name of a detector -> what it says; of those that judged the node.
        staleness: rounds between the model that the node was sent and that of the round, under `Buffered`; else None.
        reply_sha256: of the reply's arrays as they were read (`digests.digest`), under reproducible=True; empty where nothing was read.
    """

    status: str
    reason: str = ""
    score: float | None = None
    weight: float = 0.0
    seconds: float | None = field(default=None, compare=False)
    detections: dict[str, Suspicion] = field(default_factory=dict)
    staleness: int | None = None
    reply_sha256: str = ""

    def __post_init__(self) -> None:
        """Make the reason fit to print: it may hold a client's words."""
        object.__setattr__(self, "reason", printable(self.reason))

    @property
    def detected(self) -> bool:
        """Whether a detector left the node out."""
        return not all(found.kept for found in self.detections.values())

    @classmethod
    def of(cls, data: dict[str, Any]) -> NodeReport:
        """The report from a decoded line of JSON."""
        found = {name: _made(Suspicion, entry) for name, entry in data.get("detections", {}).items()}
        return _made(cls, {**data, "detections": found})


@dataclass(frozen=True)
class RoundReport:
    """One round.

    Attributes:
        server_round: 1, 2, ...
        n_sampled, n_replied, n_valid: nodes asked, nodes that answered at all, replies that reached the rule.
        f: number of Byzantine replies that the rule was run for.
        rule: the rule as run.
        feasible: whether n_valid was enough for the rule's guarantee.
        aggregated: whether the model was updated.
        note: why not, or what the guarantee of this round rests on; empty in a plain round.
        nodes: for each node id, what became of its reply.
        notes: what is to be known of the model's arrays: which decide nothing, which one decides too much, which ones do not move.
        certificate: whether the resilience condition held, where the strategy was made with `certificate=True`.
        run: id of the run, the same over its restarts; empty in lines that were written before runs had one.
        min_n: valid replies that the rule needs for its guarantee at this f; 0 where no rule could be had.
        kappa: the rule's declared bound on κ at n_valid replies, or None where none is known.
        banned: nodes that went into quarantine after this round -> the last round of the ban, 0 for good.
        planned: the last round of the run, where the loop that runs it says.
        seconds: from the choice of nodes to the report, or None.
        arithmetic: seconds of these from the last reply to the report: what the server took after the nodes were done, or None.
        ended: when the report was made, in seconds since 1970 (UTC), or None.
        truncation: share (0 to 1) of a layer's length that the rank of the server's adapter leaves out of the aggregate, the most of any
            layer; None without `lora=`.
        evaluation: of the model that the round began with, which is that after the round before: "clients" and "server" -> what an
            evaluation there found. That of the last round is in no report; callbacks of `on_report=` are told of it.
        model_sha256, aggregate_sha256: of the model that was broadcast and of the aggregate, under reproducible=True; empty otherwise.

    Example:
        >>> report = RoundReport(1, 3, 3, 3, 0, "Mean()", True, True, nodes={7: NodeReport("kept", weight=1.0)})
        >>> report.with_status("kept")
        [7]
    """

    server_round: int
    n_sampled: int
    n_replied: int
    n_valid: int
    f: int
    rule: str
    feasible: bool
    aggregated: bool
    note: str = ""
    nodes: dict[int, NodeReport] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    certificate: Certificate | None = None
    run: str = field(default="", compare=False)
    min_n: int = 0
    kappa: float | None = None
    banned: dict[int, int] = field(default_factory=dict)
    planned: int | None = field(default=None, compare=False)
    seconds: float | None = field(default=None, compare=False)
    arithmetic: float | None = field(default=None, compare=False)
    ended: float | None = field(default=None, compare=False)
    evaluation: dict[str, dict[str, float]] = field(default_factory=dict, compare=False)
    truncation: float | None = None
    model_sha256: str = ""
    aggregate_sha256: str = ""

    def __post_init__(self) -> None:
        """Make rule and note fit to print: a rule may be the user's own."""
        for name in ("rule", "note"):
            object.__setattr__(self, name, escaped(getattr(self, name)))

    def with_status(self, status: str) -> list[int]:
        """Ids of the nodes of one status."""
        return [node for node, report in self.nodes.items() if report.status == status]

    def lines(self) -> Iterator[tuple[int, str]]:
        """What a log says of the round: pairs of a level of `logging` and a text."""
        head = f"round {self.server_round}: "
        yield INFO, f"{head}{self.rule} kept {len(self.with_status('kept'))} of {self.n_sampled} nodes"
        if self.note:
            yield WARNING, head + self.note
        for text in troubles(self.nodes):
            yield WARNING, head + text

    def to_json(self) -> str:
        """One line of JSON; node ids become strings."""
        data = asdict(self)
        for entry in data["nodes"].values():
            for name in [name for name in ("detections", "staleness", "reply_sha256") if entry[name] in ({}, None, "")]:
                del entry[name]
        return json.dumps({"run": self.run, **data})

    @classmethod
    def from_json(cls, line: str) -> RoundReport:
        """The report from the line that `to_json` made of it, in this version or another: what is absent is empty, what is new left out."""
        return cls.of(json.loads(line))

    @classmethod
    def of(cls, data: dict[str, Any], node: Callable[[str], Any] = int) -> RoundReport:
        """The report from one decoded line, whose nodes have the names that `node` makes of those in the line."""
        data["nodes"] = {node(name): NodeReport.of(entry) for name, entry in data["nodes"].items()}
        data["banned"] = {node(name): until for name, until in data.get("banned", {}).items()}
        data["notes"] = tuple(data.get("notes", ()))
        if certificate := data.get("certificate"):
            found = certificate["estimate"]
            certificate["estimate"] = found and _made(Estimate, found)
            data["certificate"] = _made(Certificate, certificate)
        return _made(cls, data)


def _made(cls: type[T], data: Mapping[str, Any]) -> T:
    """An object of those fields that its class has."""
    known = {item.name for item in fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: value for name, value in data.items() if name in known})


def promise(rule: Rule | None, n: int) -> dict[str, Any]:
    """What the rule, if there is one, needs and declares at n replies: fields of a `RoundReport`."""
    if rule is None:
        return {}
    kappa = rule.kappa(n)
    return {"min_n": rule.min_n(), "kappa": None if kappa is None or not math.isfinite(kappa) else float(kappa)}


def unused(report: RoundReport, reason: str) -> RoundReport:
    """The report of a round that leaves the model as it was: no reply is part of it; what detectors said of them stays."""
    nodes = {node: _skipped(entry) if entry.status in ("kept", "rejected") else entry for node, entry in report.nodes.items()}
    return replace(report, aggregated=False, note=f"{reason}; the model stays as it was", nodes=nodes)


def _skipped(entry: NodeReport) -> NodeReport:
    return NodeReport("rejected", entry.reason if entry.detected else "the round was skipped", detections=entry.detections)


def troubles(nodes: Mapping[int, NodeReport]) -> Iterator[str]:
    """What a log says of the nodes whose replies could not be used."""
    for node, entry in nodes.items():
        if entry.status in ("invalid", "failed", "missing"):
            yield f"node {node} {entry.status}: {entry.reason or 'no reply'}"


def verdicts(nodes: Sequence[int], outcome: Outcome, rule: Rule) -> dict[int, NodeReport]:
    """Who was kept and who rejected by the rule, for each valid reply.

    Args:
        nodes: node ids, in the order of the rows.
        outcome: what the rule made of the rows.
        rule: the rule as run.
    """
    kept = outcome.influence > 1e-12
    if outcome.selected is not None and outcome.weights is None:
        kept = np.isin(np.arange(len(nodes)), outcome.selected)
    scores = [None] * len(nodes) if outcome.scores is None else [float(score) for score in outcome.scores]
    said = detected(nodes, outcome.detections) if outcome.detections else {}
    out = f"left out by {rule}"
    return {
        node: said[node] if node in said and said[node].detected else _of_rule(keep, out, score, float(weight), said.get(node))
        for node, keep, score, weight in zip(nodes, kept, scores, outcome.influence, strict=True)
    }


def _of_rule(kept: bool, out: str, score: float | None, weight: float, said: NodeReport | None) -> NodeReport:
    status, reason = ("kept", "") if kept else ("rejected", out)
    return NodeReport(status, reason, score, weight, detections={} if said is None else said.detections)


def detected(nodes: Sequence[int], detections: Sequence[Detection]) -> dict[int, NodeReport]:
    """What detectors say of each node: "rejected" where one leaves it out, with the score that it has there, else "kept"."""
    found = {}
    for i, node in enumerate(nodes):
        judged = [one for one in detections if not np.isnan(one.scores[i])]
        said = {one.name: Suspicion(float(one.scores[i]), one.threshold, bool(one.kept[i])) for one in judged}
        out = next((one for one in judged if not one.kept[i]), None)
        reason, score = ("", None) if out is None else (out.reason(i), float(out.scores[i]))
        found[node] = NodeReport("kept" if out is None else "rejected", reason, score, detections=said)
    return found
