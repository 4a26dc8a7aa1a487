"""Who was left out of the aggregate, and whether rightly: the figures of detection of one federation.

Left out is whose reply came and has no part in the aggregate, whoever decided that: the inspection (malformed), a detector of the
chain, or the rule itself (Krum keeps one reply, Multi-Krum m of them, the mean all). What a detector does is seen before a mean.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.strategy.report import NodeReport, RoundReport

JUDGED = ("kept", "rejected", "invalid")  # statuses of replies that came
RATES = tuple(k / 20 for k in range(21))  # shares of honest clients left out at which a ROC curve is kept
SCALARS = ("precision", "recall", "auc", "rounds_to_first", "rounds_to_good", "honest_lost")


@dataclass(frozen=True)
class Verdict:
    """What a round made of one client.

    Attributes:
        client: its number.
        malicious: whether it attacks in this round.
        out: whether its reply was left out.
        score: how suspicious it is, more where it is larger; NaN where nobody says.
    """

    client: int
    malicious: bool
    out: bool
    score: float = math.nan


Round = Sequence[Verdict]


def verdicts(report: RoundReport, partition: Mapping[int, int], malicious: Container[int]) -> list[Verdict]:
    """The verdicts of a round on all who answered; none where the round was skipped and no detector had judged.

    Args:
        report: of one round.
        partition: node id -> client number; other nodes are not looked at.
        malicious: numbers of the clients that attack in this round.

    Example:
        >>> nodes = {7: NodeReport("kept", score=1.0, weight=1.0), 8: NodeReport("rejected", score=9.0)}
        >>> verdicts(RoundReport(1, 2, 2, 2, 0, "", True, True, nodes=nodes), {7: 0, 8: 1}, {1})[1]
        Verdict(client=1, malicious=True, out=True, score=9.0)
    """
    names = {name for entry in report.nodes.values() for name in entry.detections}
    if not (report.aggregated or names):
        return []
    came = {partition[node]: entry for node, entry in report.nodes.items() if node in partition and entry.status in JUDGED}
    out = {client: entry.status != "kept" if report.aggregated else _detected(entry) for client, entry in came.items()}
    return [Verdict(client, client in malicious, out[client], _score(entry, names)) for client, entry in sorted(came.items())]


def _detected(entry: NodeReport) -> bool:
    """Whether it was left out in a round that was skipped, in which every reply is rejected."""
    return entry.status == "invalid" or entry.detected


def _score(entry: NodeReport, detectors: set[str]) -> float:
    """Of the only detector, or the rule's where there is none: scores of several detectors are in no one unit."""
    if not detectors:
        return math.nan if entry.score is None else entry.score
    return entry.detections[min(detectors)].score if len(detectors) == 1 and entry.detections else math.nan


def precision(rounds: Iterable[Round]) -> float:
    """Share of the malicious among those left out; NaN where nobody was left out.

    Example:
        >>> precision([[Verdict(0, True, True), Verdict(1, False, True)], [Verdict(0, True, True)]])
        0.6666666666666666
    """
    return _share([verdict.malicious for seen in rounds for verdict in seen if verdict.out])


def recall(rounds: Iterable[Round]) -> float:
    """Share of those left out among the malicious; NaN where nobody attacked."""
    return _share([verdict.out for seen in rounds for verdict in seen if verdict.malicious])


def false_alarms(rounds: Iterable[Round]) -> float:
    """Share of those left out among the honest; NaN where nobody was honest."""
    return _share([verdict.out for seen in rounds for verdict in seen if not verdict.malicious])


def honest_lost(rounds: Iterable[Round]) -> float:
    """Share of the honest clients that were left out in more than half of the rounds in which they were honest and took part."""
    return _share([fmean(outs) > 0.5 for outs in _careers(rounds, malicious=False).values()])


def rounds_to_first(rounds: Iterable[Round]) -> float:
    """Median over attackers: at which of its attacks one was first left out; infinite where half of them never were.

    Example:
        >>> rounds_to_first([[Verdict(0, True, False)], [Verdict(0, True, True)]])
        2.0
    """
    careers = _careers(rounds, malicious=True).values()
    return float(median([outs.index(True) + 1 if any(outs) else math.inf for outs in careers])) if careers else math.nan


def rounds_to_good(rounds: Iterable[Round]) -> float:
    """As `rounds_to_first`: from which of its attacks on one was left out in all that followed."""
    careers = _careers(rounds, malicious=True).values()
    return float(median(map(_for_good, careers))) if careers else math.nan


def _for_good(outs: list[bool]) -> float:
    if not outs[-1]:
        return math.inf
    return len(outs) - outs[::-1].index(False) + 1 if False in outs else 1


def _careers(rounds: Iterable[Round], malicious: bool) -> Mapping[int, list[bool]]:
    """For each client, round after round in which it was malicious, or honest: whether it was left out."""
    found: dict[int, list[bool]] = defaultdict(list)
    for verdict in (verdict for seen in rounds for verdict in seen if verdict.malicious == malicious):
        found[verdict.client].append(verdict.out)
    return found


def auc(seen: Round) -> float:
    """Area under the ROC curve of one round's scores: how often a malicious client's is above an honest one's, ties by half.

    Example:
        >>> auc([Verdict(0, True, False, 3.0), Verdict(1, False, False, 1.0), Verdict(2, False, False, 3.0)])
        0.75
    """
    bad, good = _scores(seen, True), np.sort(_scores(seen, False))
    if not (len(bad) and len(good)):
        return math.nan
    below = np.searchsorted(good, bad, "left") + np.searchsorted(good, bad, "right")
    return float(below.mean() / (2 * len(good)))


def roc(seen: Round) -> list[float]:
    """Share of the malicious above a threshold, at thresholds above which `RATES` of the honest are; empty where there is no AUC.

    Between two thresholds, and where scores tie, the curve is straight.
    """
    bad, good = _scores(seen, True), _scores(seen, False)
    if not (len(bad) and len(good)):
        return []
    thresholds = np.unique([*bad, *good])[::-1]
    falsely, rightly = ([0.0, *(np.mean(scores >= at) for at in thresholds)] for scores in (good, bad))
    return [float(value) for value in np.interp(RATES, falsely, rightly)]


def _scores(seen: Round, malicious: bool) -> Array:
    found = (verdict.score for verdict in seen if verdict.malicious == malicious)
    return np.array([score for score in found if not math.isnan(score)])


def figures(rounds: Sequence[Round]) -> dict[str, float]:
    """The figures of a whole run by the names of `SCALARS`: precision and recall of all verdicts together, AUC as its mean over rounds."""
    areas = [area for area in map(auc, rounds) if not math.isnan(area)]
    pooled = (precision(rounds) if any(v.malicious for seen in rounds for v in seen) else math.nan, recall(rounds))
    when = (rounds_to_first(rounds), rounds_to_good(rounds), honest_lost(rounds))
    return dict(zip(SCALARS, (*pooled, fmean(areas) if areas else math.nan, *when), strict=True))


def mean_roc(rounds: Iterable[Round]) -> list[float]:
    """The mean over rounds of their ROC curves at `RATES`; empty where no round has one."""
    curves = [curve for curve in map(roc, rounds) if curve]
    return [round(float(value), 4) for value in np.mean(curves, axis=0)] if curves else []


def _share(of: Sequence[bool]) -> float:
    return fmean(of) if of else math.nan
