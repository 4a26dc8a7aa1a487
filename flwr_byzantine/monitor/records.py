"""What became of each node over the rounds of a run, worst first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from flwr_byzantine.flower.words import escaped
from flwr_byzantine.strategy.report import NodeReport, RoundReport

STATUSES = ("kept", "rejected", "invalid", "failed", "missing")
SKIPPED, QUARANTINE, NOT_ASKED = "skipped", "quarantine", "not asked"  # skipped: valid, in a round that left the model as it was
COLOURS = {  # middle tones, to be seen on light and on dark paper; apart for colour-blind readers in hue and in lightness
    "kept": "#4a9c84",
    "rejected": "#e8682c",
    "invalid": "#b01e8e",
    "failed": "#e6b01f",
    "missing": "#8b949e",
    SKIPPED: "#a9cdc2",
    QUARANTINE: "#3f6fd8",
}
MARKS = {"kept": "·", "rejected": "R", "invalid": "I", "failed": "F", "missing": "M", SKIPPED: "-", QUARANTINE: "Q", NOT_ASKED: " "}
OUTSIDE = 0.3  # weight of an answer that failed or never came: it may be an honest node's


@dataclass
class Ban:
    """A stay in quarantine: the round after which it began, its last round (0: for good), and what led to it."""

    after: int
    until: int
    why: str

    def holds(self, number: int) -> bool:
        """Whether a round falls into it."""
        return number > self.after and (self.until == 0 or number <= self.until)


@dataclass
class NodeRecord:
    """One node over a run.

    Attributes:
        name: its id.
        statuses: round -> what became of its reply, of the rounds in which it was asked.
        reasons: round -> why, where a reason was given.
        scores, seconds: round -> the rule's score of its reply, and how long it took to answer, where they are known.
        weights: round -> its share of the aggregate.
        bans: its stays in quarantine.
        suspicion: sum over rounds, 0 at least: 1 for an invalid reply; s for a rejected one and s - 1 for a kept one in a round whose
            rule kept the share s of the valid replies, which is 0 in the mean for whom the rule leaves out by chance; 0.3 for an error
            or no reply, which may be an honest node's.
    """

    name: str
    statuses: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    weights: dict[int, float] = field(default_factory=dict)
    bans: list[Ban] = field(default_factory=list)
    suspicion: float = 0.0

    def count(self, status: str) -> int:
        """How often its reply had this status."""
        return list(self.statuses.values()).count(status)

    def at(self, number: int) -> str:
        """What became of it in a round: a status, "quarantine" or "not asked"."""
        if number in self.statuses:
            return self.statuses[number]
        return QUARANTINE if any(ban.holds(number) for ban in self.bans) else NOT_ASKED

    @property
    def slowness(self) -> float:
        """Median seconds to an answer; 0 where none is known."""
        return median(self.seconds.values()) if self.seconds else 0.0

    def last_reason(self) -> tuple[int, str]:
        """The last round with a reason, and it; 0 where there is none."""
        number = max(self.reasons, default=0)
        return number, self.reasons.get(number, "")


def records(reports: Sequence[RoundReport]) -> list[NodeRecord]:
    """All nodes of a run, the most suspicious first."""
    found: dict[str, NodeRecord] = {}
    for report in reports:
        share = kept_share(report)
        for node, entry in report.nodes.items():
            record = found.setdefault(str(node), NodeRecord(str(node)))
            record.suspicion += _weight(entry.status, share)
            _enter(record, report, entry)
        for node, until in report.banned.items():
            record = found.setdefault(str(node), NodeRecord(str(node)))
            record.bans.append(Ban(report.server_round, until, _why(record)))
    for record in found.values():
        record.suspicion = max(0.0, record.suspicion)
    return sorted(found.values(), key=lambda record: (-record.suspicion, len(record.name), record.name))


def _enter(record: NodeRecord, report: RoundReport, entry: NodeReport) -> None:
    number, skipped = report.server_round, entry.status == "rejected" and not report.aggregated
    record.statuses[number] = SKIPPED if skipped else escaped(entry.status)
    if entry.reason and not skipped:
        record.reasons[number] = entry.reason
    for values, name in ((record.scores, "score"), (record.seconds, "seconds"), (record.weights, "weight")):
        if (value := getattr(entry, name)) is not None and not math.isnan(value):
            values[number] = float(value)


def kept_share(report: RoundReport) -> float:
    """Which share of the valid replies the rule kept."""
    return len(report.with_status("kept")) / max(1, report.n_valid)


def _weight(status: str, share: float) -> float:
    return {"invalid": 1.0, "rejected": share, "kept": share - 1.0, "failed": OUTSIDE, "missing": OUTSIDE}.get(status, 0.0)


def _why(record: NodeRecord) -> str:
    """What led to a ban: its bad rounds since the one before, and the reason of the last of them."""
    since = max((ban.until for ban in record.bans), default=0)
    bad = Counter(status for number, status in record.statuses.items() if number > since and status != "kept")
    said = ", ".join(f"{count} {status}" for status, count in bad.most_common())
    _, reason = record.last_reason()
    return "; ".join([*[said] * bool(said), *[f"the last: {reason}"] * bool(reason)])
