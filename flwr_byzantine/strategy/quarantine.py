"""Nodes whose replies are bad again and again are not asked for a while."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from flwr_byzantine.declare.params import Declared, param
from flwr_byzantine.strategy.report import NodeReport, RoundReport


@dataclass(frozen=True)
class Quarantine(Declared):
    """When a node is no longer sampled.

    After each round a node's record becomes decay · record + the weight of its verdict; from `threshold` on it is not
    sampled for `rounds` rounds, and starts afresh after them.

    Bounds. With the default weights only a node's own malformed replies count, so no attacker can get a node banned that
    answers well. With `rejected` above 0 attackers can, by making the rule reject honest replies; then at most `limit` nodes
    are banned at any time, and a ban takes at least k rejections, the least k with weight · (1 - decay^k)/(1 - decay) at
    `threshold`. With `detected` above 0 the same holds for what detectors say, and more easily: a detector compares clients with
    each other, so that attackers who look alike, or who know how it predicts, make honest clients with unlike data the ones that
    stand out; those are banned then, round after round, up to `limit`, and the attackers' share among the rest grows. Give it
    a `limit` of f, since more nodes than that cannot all be Byzantine, a ban of finite `rounds`, and a weight below `threshold`, so
    that no single round decides. It counts in rounds that were skipped, too, if a detector had spoken.

    Args:
        invalid: weight of a malformed reply.
        rejected: weight of a reply that the rule left out, or a detector before it.
        detected: weight of a reply that a detector left out, which is added to that of `rejected`.
        failed: weight of an answer with an error.
        missing: weight of no answer.
        decay: how much of the record is left after a round.
        threshold: record from which a node is banned.
        rounds: length of a ban; 0 is for good.
        limit: most nodes banned at any time.

    Example:
        >>> Quarantine(threshold=2.0, rounds=5).rejected
        0.0
    """

    invalid: float = param(1.0, kind=float, ge=0)
    rejected: float = param(0.0, kind=float, ge=0)
    failed: float = param(0.0, kind=float, ge=0)
    missing: float = param(0.0, kind=float, ge=0)
    decay: float = param(0.9, kind=float, ge=0, le=1)
    threshold: float = param(2.5, kind=float, gt=0)
    rounds: int = param(20, ge=0)
    limit: int = param(10, ge=1)
    detected: float = param(0.0, kind=float, ge=0)

    def weight(self, entry: NodeReport) -> float:
        """What a round's verdict on a node adds to its record.

        Example:
            >>> from flwr_byzantine.strategy.report import Suspicion
            >>> said = {"FLDetector": Suspicion(3.2, 1.1, kept=False)}
            >>> Quarantine(rejected=0.5, detected=1.0).weight(NodeReport("rejected", detections=said))
            1.5
        """
        status = float(getattr(self, entry.status, 0.0))
        return status + self.detected if entry.detected else status


@dataclass
class Ledger:
    """Every node's record, and until which round it is banned (0: for good).

    Example:
        >>> ledger = Ledger(Quarantine())
        >>> ledger.allows(7, server_round=1)
        True
    """

    quarantine: Quarantine
    records: dict[int, float] = field(default_factory=dict)
    banned: dict[int, int] = field(default_factory=dict)

    def allows(self, node: int, server_round: int) -> bool:
        """Whether the node may be asked in this round."""
        until = self.banned.get(node)
        return until is None or (until != 0 and server_round > until)

    def update(self, report: RoundReport) -> list[int]:
        """Enter a round's verdicts; returns the nodes banned by it, worst first."""
        now = report.server_round
        for node in [node for node in self.banned if self.allows(node, now)]:
            del self.banned[node]
            self.records.pop(node, None)
        for node, entry in report.nodes.items():
            self.records[node] = self.quarantine.decay * self.records.get(node, 0.0) + self.quarantine.weight(entry)
        over = sorted((node for node in report.nodes if self._over(node)), key=lambda node: (-self.records[node], node))
        new = over[: max(0, self.quarantine.limit - len(self.banned))]
        self.banned.update({node: now + self.quarantine.rounds if self.quarantine.rounds else 0 for node in new})
        return new

    def _over(self, node: int) -> bool:
        return node not in self.banned and self.records[node] >= self.quarantine.threshold - 1e-9

    def to_json(self) -> str:
        """Records and bans; node ids become strings."""
        return json.dumps({"records": self.records, "banned": self.banned})

    @classmethod
    def from_json(cls, quarantine: Quarantine, text: str) -> Ledger:
        """The records that `to_json` wrote, under these conditions."""
        data = json.loads(text)
        records, banned = ({int(node): value for node, value in data[name].items()} for name in ("records", "banned"))
        return cls(quarantine, records, banned)
