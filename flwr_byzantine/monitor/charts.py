"""Lines over the rounds of a run: replies, scores, bounds, times, evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flwr_byzantine.flower.words import printable
from flwr_byzantine.monitor.records import NodeRecord
from flwr_byzantine.monitor.show.colours import ALERT, INK, PALETTE, QUIET
from flwr_byzantine.monitor.show.figures import NARROW, WIDE, Drawing, Picture, in_style, panels, svg_of
from flwr_byzantine.monitor.show.looks import looks
from flwr_byzantine.strategy.report import RoundReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORST = 5  # nodes that have a line of their own
WIDE_RANGE = 1000.0  # ratio of largest to smallest from which an axis is logarithmic
LARGEST, DECADES = 1e150, 1e12  # a value that is drawn; the range that an axis with zeros shows
HEIGHT, SMALL = 2.7, 2.5  # inches of a chart on a wide and on a narrow page
Points = Mapping[int, float | None]
Line = tuple[str, Points, dict[str, Any]]
SCORES = "The rule's score of each reply; smaller is better."
SHARES = "This rule gives no scores: what of the aggregate is whose."


def pictures(reports: Sequence[RoundReport], nodes: Sequence[NodeRecord]) -> list[Picture]:
    """Every chart that the reports have numbers for, wide and narrow."""
    with in_style():
        pairs = zip(_drawings(reports, nodes, WIDE), _drawings(reports, nodes, NARROW), strict=True)
        return [Picture(wide.name, wide.section, wide.caption, svg_of(wide.figure), "", svg_of(narrow.figure)) for wide, narrow in pairs]


def _drawings(reports: Sequence[RoundReport], nodes: Sequence[NodeRecord], room: float) -> Iterator[Drawing]:
    yield _replies(reports, room)
    yield from _scores(nodes, room)
    yield from _bounds(reports, room)
    yield from _times(reports, nodes, room)
    yield from _evaluations(reports, room)


def _chart(name: str, section: str, caption: str, lines: Sequence[Line], room: float, from_zero: bool = False, **axis: Any) -> Drawing:
    """One panel of lines over rounds; what is not finite is left out.

    Args:
        name: of the drawing.
        section: of the drawing.
        caption: of the drawing.
        lines: label, round -> value, and arguments of `plot`.
        room: inches.
        from_zero: whether the vertical axis begins at 0.
        axis: arguments of the axis' `set`.
    """
    figure, (panel,) = panels(1, room, room - 0.3, SMALL if room <= NARROW else HEIGHT, margin=(0.3, 0.5), below="round")
    for label, points, style in lines:
        panel.plot(*_finite(points), label=_shown(label), **{"linewidth": 1.6, **style, **_dot(points)})
    panel.set(**axis)
    if from_zero:
        panel.set_ylim(0, 1.06 * max([*(value for _, points, _ in lines for value in _finite(points)[1]), 1e-9]))
    _scale(panel, [value for _, points, _ in lines for value in _finite(points)[1]])
    columns = max(1, min(len(lines), int(room / 1.7)))
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    return Drawing(name, section, caption, figure)


def _shown(label: str) -> str:
    """A label that the legend has, though it begins with "_"; "_" alone says that there is none."""
    return f" {label}" if label.startswith("_") and label != "_" else label


def _dot(points: Points) -> dict[str, Any]:
    """A marker where there is but one point, of which no line can be drawn."""
    return {"marker": "o", "markersize": 5} if len(_finite(points)[0]) == 1 else {}


def _scale(panel: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where values differ by orders of magnitude; rounds as integers."""
    from matplotlib.ticker import MaxNLocator

    positive = [value for value in values if value > 0]
    if positive and len(positive) == len(values) and max(positive) > WIDE_RANGE * min(positive):
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
    elif positive and max(positive) > WIDE_RANGE * float(np.median(np.abs(values))):
        panel.set_yscale("symlog", linthresh=max(min(positive), max(positive) / DECADES))
        panel.yaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))


def _finite(points: Points) -> tuple[list[int], list[float]]:
    known = {number: float(value) for number, value in points.items() if value is not None and abs(value) <= LARGEST}
    return list(known), list(known.values())


def _replies(reports: Sequence[RoundReport], room: float) -> Drawing:
    by_round = {report.server_round: report for report in reports}
    lines = [
        ("asked", {n: r.n_sampled for n, r in by_round.items()}, {"color": QUIET, "linestyle": ":"}),
        ("valid", {n: r.n_valid for n, r in by_round.items()}, {"color": PALETTE[1]}),
        ("kept", {n: len(r.with_status("kept")) for n, r in by_round.items()}, {"color": PALETTE[2]}),
        ("the rule needs", {n: r.min_n for n, r in by_round.items() if r.min_n}, {"color": ALERT, "linestyle": "--"}),
        ("f", {n: r.f for n, r in by_round.items()}, {"color": PALETTE[4]}),
    ]
    if skipped := {n: r.n_valid for n, r in by_round.items() if not r.aggregated}:
        lines.append(("skipped", skipped, {"color": ALERT, "linestyle": "", "marker": "x"}))
    caption = "Replies of each round: how far the valid ones are above what the rule needs is the margin for silence and malformed replies."
    return _chart("replies", "Replies, f and margin", caption, [line for line in lines if line[1]], room, from_zero=True)


def _scores(nodes: Sequence[NodeRecord], room: float) -> Iterator[Drawing]:
    known = {"scores": any(node.scores for node in nodes), "weights": any(any(node.weights.values()) for node in nodes)}
    what = next((name for name, found in known.items() if found), "")
    if not what:
        return
    suspects = [node for node in nodes if node.suspicion > 0 and getattr(node, what)][:WORST]
    others = _columns([getattr(node, what) for node in nodes if node not in suspects])
    shown = looks([node.name for node in suspects])
    lines: list[Line] = [
        (short(node.name), getattr(node, what), {**shown[node.name].line_style(len(node.statuses)), "zorder": 3}) for node in suspects
    ]
    for label, take, style in (("others: median", np.median, "-"), ("least, greatest", np.min, ":"), ("_", np.max, ":")):
        points = {number: float(take(values)) for number, values in others.items()}
        lines.append((label, points, {"color": INK, "linestyle": style, "linewidth": 1.1}))
    title, meaning = ("Scores", SCORES) if what == "scores" else ("Share of the aggregate", SHARES)
    caption = f"{meaning} The {len(suspects)} most suspicious nodes one by one; of all others the least, the median and the greatest."
    yield _chart("scores", title, caption, [line for line in lines if line[1]], room)


def _columns(series: Sequence[Points]) -> dict[int, np.ndarray]:
    """Round -> the finite values of all nodes."""
    found: dict[int, list[float]] = {}
    for points in series:
        for number, value in zip(*_finite(points), strict=True):
            found.setdefault(number, []).append(value)
    return {number: np.array(found[number]) for number in sorted(found)}


def _bounds(reports: Sequence[RoundReport], room: float) -> Iterator[Drawing]:
    kappa = {report.server_round: report.kappa for report in reports if report.kappa is not None}
    if kappa:
        caption = "κ, the rule's declared bound for the replies that were valid: smaller is better; a gap is a round without a bound."
        yield _chart("kappa", "κ", caption, [("κ", kappa, {"color": PALETTE[1]})], room, from_zero=True)
    found = {report.server_round: report.certificate for report in reports if report.certificate is not None}
    sine = {number: each.sin_alpha for number, each in found.items() if each.sin_alpha is not None}
    if sine:
        edge = dict.fromkeys(sine, 1.0)
        held = {number: value for number, value in sine.items() if found[number].holds}
        lines = [
            ("sin α", sine, {"color": PALETTE[0]}),
            ("1: no guarantee above", edge, {"color": ALERT, "linestyle": "--"}),
            ("it held", held, {"color": PALETTE[2], "linestyle": "", "marker": "o"}),
        ]
        caption = "The certificate of each round: below 1 the aggregate is certain to descend, by the margin 1 - sin α."
        yield _chart("certificate", "Certificate", caption, [line for line in lines if line[1]], room)


def _times(reports: Sequence[RoundReport], nodes: Sequence[NodeRecord], room: float) -> Iterator[Drawing]:
    whole = {report.server_round: report.seconds for report in reports if report.seconds is not None}
    if not whole:
        return
    slowest = sorted((node for node in nodes if node.seconds), key=lambda node: -node.slowness)[:3]
    shown = looks([node.name for node in slowest])
    lines: list[Line] = [("whole round", whole, {"color": INK})]
    lines += [(short(node.name), node.seconds, shown[node.name].line_style(len(node.seconds))) for node in slowest]
    yield _chart("times", "Times", "Seconds of each round, and of the three slowest nodes by their median.", lines, room, ylabel="seconds")


def _evaluations(reports: Sequence[RoundReport], room: float) -> Iterator[Drawing]:
    """Of the model before each round, which is that after the round before."""
    series: dict[str, dict[str, dict[int, float]]] = {}
    for report in reports:
        for where, metrics in report.evaluation.items():
            for name, value in metrics.items():
                series.setdefault(printable(name, 40), {}).setdefault(printable(where, 40), {})[report.server_round - 1] = value
    for number, (name, places) in enumerate(sorted(series.items())[:8]):
        lines = [(f"{name}, {where}", points, {"color": PALETTE[i % 7]}) for i, (where, points) in enumerate(sorted(places.items()))]
        caption = f"{name} of the model after each round, as found in an evaluation; that of the last round is in no report."
        yield _chart(f"evaluation-{number}", "Evaluation", caption, lines, room)


def short(name: str) -> str:
    """A node's id in a legend: of a long one both ends.

    Example:
        >>> short("10848414821662469597"), short("7")
        ('1084…9597', '7')
    """
    return name if len(name) <= 10 else f"{name[:4]}…{name[-4:]}"
