"""The ranking: the area under accuracy against attackers, in units of FedAvg's accuracy where nobody attacks, mean over tasks.

Rules are listed by that score. Two are told apart where the difference, paired by seed, is above 0 by its two-sided 95 % interval
(Student's). From the top down a rule shares the place of the first one of the group above it unless it is told from that one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.leaderboard.tasks import Board, board, mean_over, relative
from flwr_byzantine.experiments.report.noise import T95
from flwr_byzantine.experiments.report.scores import Score
from flwr_byzantine.experiments.report.settings import grouped, rules_of, varying
from flwr_byzantine.experiments.results import Result, Setting, show

ATTACKERS = ("f", "num_malicious")
NEEDED = (*ATTACKERS, "num_clients", "seed")


@dataclass(frozen=True)
class Standing:
    """A rule's place; all scores are in units of FedAvg's accuracy where nobody attacks, means over tasks, one value a seed.

    Attributes:
        rule: its name with options.
        score: the area under accuracy against the share of attackers, which ranks.
        cost: what is lost where nobody attacks.
        worst: what is left in the worst case with the most attackers tried.
        place: from 1 on; tied rules have the same.
        tied: whether another rule has the same place.
    """

    rule: str
    score: Score
    cost: Score
    worst: Score
    place: int = 0
    tied: bool = False


@dataclass(frozen=True)
class Leaderboard:
    """The ranked rules, and the tasks behind them.

    Attributes:
        boards: one for each task.
        standings: best first.
        unranked: for each rule that lacks results, which.
    """

    boards: tuple[Board, ...]
    standings: tuple[Standing, ...]
    unranked: dict[str, tuple[str, ...]]


def leaderboard(cells: Sequence[Result]) -> Leaderboard:
    """Rank the rules of one sweep or several: cells over rules, attacks, num-malicious from 0 on, and seeds, on one task or more.

    Tasks are told apart by the keys that vary, but for the number of attackers and f.

    Args:
        cells: as `report.load` gives them; of several with one key, as where files overlap, the last counts.

    Raises:
        InvalidParameter: no cells, or one that does not say f, attackers, clients and seed; a task lacks what it needs, seeds
            differ between tasks, or no rule has all results.

    Example:
        >>> runs = [("fedavg", "none", 0, 0.9), ("fedavg", "alie", 3, 0.1), ("fedavg", "none", 3, 0.9)]
        >>> runs += [("median", "none", 0, 0.9), ("median", "alie", 3, 0.7), ("median", "none", 3, 0.8)]
        >>> at = {"num_clients": 9, "dataset": "digits"}
        >>> config = [(at | {"strategy": s, "attack": a, "num_malicious": m, "f": m}, x) for s, a, m, x in runs]
        >>> cells = [Result(c | {"seed": seed}, final={"accuracy": x}) for c, x in config for seed in (0, 1)]
        >>> [(each.place, each.rule, round(each.score.mean, 2)) for each in leaderboard(cells).standings]
        [(1, 'median', 0.89), (2, 'fedavg', 0.56)]
    """
    _check(cells)
    cells = list({cell.key or str(number): cell for number, cell in enumerate(cells)}.values())
    keys = [key for key in varying(cells) if key not in ATTACKERS]
    boards = tuple(board(_name(setting, members), members) for setting, members in grouped(cells, keys).items())
    _same_seeds(boards)
    rules = rules_of(cells)
    unranked = {rule: missing for rule in rules if (missing := tuple(_missing(rule, boards)))}
    if len(unranked) == len(rules):
        rule, missing = next(iter(unranked.items()))
        raise InvalidParameter(f"leaderboard: no rule has all its results; {rule} lacks {missing[0]}; let the sweeps finish")
    standings = [_standing(rule, boards) for rule in rules if rule not in unranked]
    return Leaderboard(boards, placed(standings), unranked)


def _check(cells: Sequence[Result]) -> None:
    if not cells:
        raise InvalidParameter("leaderboard: there is no cell; give the results of one sweep at least")
    for cell in cells:
        if lacking := [key for key in NEEDED if key not in cell.config]:
            raise InvalidParameter(
                f"leaderboard: a cell of {cell.rule} under {cell.attack} does not say {', '.join(lacking)}; run its sweep again"
            )


def _name(setting: Setting, cells: Sequence[Result]) -> str:
    """The values that tell the task from the others; the data set where nothing does."""
    words = [show(value) if isinstance(value, str) else f"{key} = {show(value)}" for key, value in setting]
    return ", ".join(words) or str(cells[0].config.get("dataset", "the task"))


def _same_seeds(boards: Sequence[Board]) -> None:
    first = boards[0]
    for other in boards[1:]:
        if other.seeds != first.seeds:
            problem = f"leaderboard: {first.name} has the seeds {list(first.seeds)}, {other.name} {list(other.seeds)}"
            raise InvalidParameter(f"{problem}; run the same ones on all tasks")


def _missing(rule: str, boards: Sequence[Board]) -> Iterable[str]:
    for each in boards:
        if rule not in each.curves:
            yield f"{each.name}: all"
        else:
            yield from (f"{each.name}: {text}" for text in each.curves[rule].missing)


def _standing(rule: str, boards: Sequence[Board]) -> Standing:
    curves = [(each.curves[rule], each.reference) for each in boards]
    score = mean_over([relative(curve.area, reference) for curve, reference in curves])
    cost = mean_over([relative(curve.cost, reference) for curve, reference in curves])
    return Standing(rule, score, cost, mean_over([relative(curve.points[-1].score, reference) for curve, reference in curves]))


def placed(standings: Iterable[Standing]) -> tuple[Standing, ...]:
    """The standings by score, with their places."""
    groups: list[list[Standing]] = []
    for each in sorted(standings, key=lambda each: -each.score.mean):
        if groups and not clearly_above(groups[-1][0].score, each.score):
            groups[-1].append(each)
        else:
            groups.append([each])
    firsts = [1 + sum(map(len, groups[:i])) for i in range(len(groups))]
    return tuple(replace(each, place=place, tied=len(group) > 1) for group, place in zip(groups, firsts, strict=True) for each in group)


def clearly_above(one: Score, other: Score) -> bool:
    """Whether one score is above another by more than noise: the 95 % interval of the difference, paired by seed.

    Example:
        >>> one = Score((0.80, 0.70, 0.90))
        >>> [clearly_above(one, Score(other)) for other in ((0.70, 0.61, 0.79), (0.60, 0.75, 0.80))]
        [True, False]
    """
    differences = [a - b for a, b in zip(one.values, other.values, strict=True)]
    seeds = len(differences)
    quantile = T95[seeds - 2] if seeds - 2 < len(T95) else 1.96
    return fmean(differences) > quantile * stdev(differences) / math.sqrt(seeds)
