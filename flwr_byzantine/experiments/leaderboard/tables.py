"""The leaderboard as tables and CSV."""

from __future__ import annotations

from collections.abc import Iterable

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.leaderboard.ranking import Leaderboard, Standing
from flwr_byzantine.experiments.leaderboard.tasks import UNABLE, Board, Curve, Point
from flwr_byzantine.experiments.report.scores import Score
from flwr_byzantine.experiments.report.tables import percent
from flwr_byzantine.monitor.show.table import Field, Table, bold_best, to_csv

NOTES = (
    "Score, honest cost and worst case: in percent of FedAvg's accuracy where nobody attacks, mean over tasks. Score: the area under "
    "accuracy in the worst case over attacks, against the share of attackers from none to the most tried; it ranks. Honest cost: what is "
    "lost where nobody attacks, the rule told of the most attackers that it can take. Worst case: what is left with the most attackers "
    "tried. Columns of tasks: the area, as the mean accuracy in percent. ±: one standard deviation over seeds.",
    "=: tied, not told from the first of its place by the 95 % interval of the difference, paired by seed.",
)
CHANCE = f"{UNABLE}: the rule needs more clients for so many attackers, and counts as guessing."


def ranked(found: Leaderboard) -> Table:
    """The one table: rules by place, with score, honest cost, worst case, and each task's area."""
    rows = [_ranked(found, each) for each in found.standings]
    unranked = tuple(f"Not ranked: {rule}, without {'; '.join(missing)}." for rule, missing in found.unranked.items())
    header = ("place", "rule", "score", "honest cost", "worst case", *(board.name for board in found.boards))
    marked = bold_best(rows, [None, None, True, False, True, *[True] * len(found.boards)])
    return Table("Leaderboard", header, marked, NOTES + unranked, right=[0])


def _ranked(found: Leaderboard, each: Standing) -> tuple[Field, ...]:
    areas = [board.curves[each.rule].area for board in found.boards]
    return Field(f"{each.place}{'=' * each.tied}"), Field(each.rule), *map(percent, (each.score, each.cost, each.worst, *areas))


def of_task(found: Leaderboard, board: Board) -> Table:
    """One task: accuracy against attackers, under which attack it is least; rules in the order of their places."""
    rows = [[Field(rule), _cost(curve), *map(_point, curve.points), percent(curve.area)] for rule, curve in _curves(found, board)]
    clients = {
        point.share: count for _, curve in _curves(found, board) for point, count in zip(curve.points[1:], board.attacks, strict=True)
    }
    header = ("rule", "honest cost", "no attack", *(f"{count} attackers ({100 * share:.0f} %)" for share, count in clients.items()), "area")
    marked = bold_best(rows, [None, False, *[True] * (len(header) - 2)])
    tried = [f"Attacks by {count}: {', '.join(attacks)}." for count, attacks in board.attacks.items()]
    unable = [CHANCE] * any(point.attack == UNABLE for _, curve in _curves(found, board) for point in curve.points)
    title = f"{board.name}: test accuracy in the worst case over attacks, in percent"
    return Table(title, header, marked, (*tried, *unable))


def _curves(found: Leaderboard, board: Board) -> list[tuple[str, Curve]]:
    return [(each.rule, board.curves[each.rule]) for each in found.standings]


def _cost(curve: Curve) -> Field:
    shown = percent(curve.cost)
    return Field("0.0" if shown.text == "-0.0" else shown.text, shown.small, number=shown.number)


def _point(point: Point) -> Field:
    shown = percent(point.score)
    if point.attack == UNABLE:
        return Field(shown.text, UNABLE)
    return shown if point.attack == NO_ATTACK else Field(shown.text, f"{shown.small} {point.attack}".strip(), number=shown.number)


def csv(found: Leaderboard) -> str:
    """A line for each rule, task and number of attackers: shares in [0, 1], names in snake_case."""
    header = ["place", "rule", "score", "score_std", "task", "area", "area_std", "honest_cost", "honest_cost_std"]
    return to_csv([*header, "malicious", "share", "attack", "accuracy", "accuracy_std", "seeds"], _lines(found))


def _lines(found: Leaderboard) -> Iterable[list[object]]:
    for each in found.standings:
        for board in found.boards:
            curve = board.curves[each.rule]
            head = [each.place, each.rule, *_both(each.score), board.name, *_both(curve.area), *_both(curve.cost)]
            for count, point in zip((0, *board.attacks), curve.points, strict=True):
                yield [*head, count, point.share, point.attack, *_both(point.score), len(board.seeds)]


def _both(score: Score) -> tuple[float, float]:
    return score.mean, score.std
