"""One task: for each rule the accuracy in the worst case over attacks, against the share of attackers, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.datasets import chance
from flwr_byzantine.experiments.report.scores import Score
from flwr_byzantine.experiments.report.settings import rules_of, values
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.rules.parsing import FEDAVG, parse_strategy

UNABLE = "n too small"  # in the place of an attack, where the rule cannot take so many

Runs = dict[tuple[str, str, int], dict[int, float]]
"""By rule, attack and number of attackers: the accuracy of each seed."""


@dataclass(frozen=True)
class Point:
    """A rule with so many attackers.

    Attributes:
        share: of the clients that attack.
        attack: under which the mean over seeds is least; "none" without attackers, `UNABLE` where the rule needs more clients.
        score: the accuracies under it, one a seed.
    """

    share: float
    attack: str
    score: Score


@dataclass(frozen=True)
class Curve:
    """One rule on one task.

    Attributes:
        points: by share of attackers, from 0 on.
        cost: accuracy lost against FedAvg where nobody attacks, one value a seed, with the largest f that the rule can take.
        missing: the results that it lacks, in words; where there are any, points and cost lack them too.
    """

    points: tuple[Point, ...]
    cost: Score
    missing: tuple[str, ...] = ()

    @property
    def area(self) -> Score:
        """The area under accuracy against share, over the largest share: the mean accuracy between 0 and there, one value a seed."""
        shares = [point.share for point in self.points]
        return Score(tuple(area(shares, column) for column in zip(*(point.score.values for point in self.points), strict=True)))


def area(shares: Sequence[float], accuracies: Sequence[float]) -> float:
    """The area under straight lines between the points, over the length of the axis.

    Example:
        >>> area([0.0, 0.1, 0.4], [0.9, 0.7, 0.1])
        0.5
    """
    steps = [(shares[i + 1] - shares[i]) * (accuracies[i + 1] + accuracies[i]) / 2 for i in range(len(shares) - 1)]
    return sum(steps) / (shares[-1] - shares[0])


@dataclass(frozen=True)
class Board:
    """All rules on one task.

    Attributes:
        name: of the task.
        seeds: of every run.
        attacks: for each number of attackers those tried.
        curves: by rule.
        reference: FedAvg where nobody attacks.
        chance: the accuracy of guessing; 0 where it is not known.
    """

    name: str
    seeds: tuple[int, ...]
    attacks: dict[int, tuple[str, ...]]
    curves: dict[str, Curve]
    reference: Score
    chance: float


def board(name: str, cells: Sequence[Result]) -> Board:
    """The curves of every rule on one task.

    Raises:
        InvalidParameter: no attack, no run of FedAvg without attackers, one seed only, or two results for one place.
    """
    return _Reader(name, cells).board()


class _Reader:
    """The cells of one task by what they are of."""

    def __init__(self, name: str, cells: Sequence[Result]) -> None:
        self.name, self.cells, self.runs = name, cells, _runs(name, cells)
        self.seeds = tuple(values(cells, "seed"))
        self.example = {cell.config["num_malicious"]: cell.config for cell in cells}
        self.attacks: dict[int, tuple[str, ...]] = {}
        for count in sorted(self.example):
            found = {attack for _, attack, malicious in self.runs if malicious == count and attack != NO_ATTACK}
            self.attacks |= {count: tuple(sorted(found))} if found else {}
        if not self.attacks:
            raise InvalidParameter(f"leaderboard: nobody attacks on {name}; sweep over attacks, and over num-malicious from 0 on")
        if len(self.seeds) < 2:
            problem = f"leaderboard: {name} has the seed {self.seeds[0]} only"
            raise InvalidParameter(f"{problem}; sweep over two seeds at least (three are better), or no difference can be told from noise")

    def board(self) -> Board:
        """What was found."""
        reference = self._reference()
        curves = {rule: self._curve(rule, reference) for rule in rules_of(self.cells)}
        return Board(self.name, self.seeds, self.attacks, curves, reference, chance(self.cells[0].config))

    def _reference(self) -> Score:
        """FedAvg without attackers, one value a seed."""
        score = self._score(FEDAVG, NO_ATTACK, 0)
        if score is None:
            seeds = ", ".join(map(str, self.seeds))
            problem = f"leaderboard: {self.name} lacks FedAvg where nobody attacks in one of the seeds {seeds}"
            raise InvalidParameter(f'{problem}; add strategy = "fedavg" with attack = "none" and num-malicious = 0 to the sweep')
        if not all(score.values):
            problem = f"leaderboard: {self.name}: FedAvg where nobody attacks, in whose accuracy scores are measured, got none right"
            raise InvalidParameter(f"{problem} with seed {self.seeds[score.values.index(0)]}; give it a setting in which it learns")
        return score

    def _score(self, rule: str, attack: str, count: int) -> Score | None:
        """The accuracy of each seed; None unless all seeds have one."""
        found = self.runs.get((rule, attack, count), {})
        return Score(tuple(found[seed] for seed in self.seeds)) if set(found) == set(self.seeds) else None

    def _curve(self, rule: str, reference: Score) -> Curve:
        able = [count for count in self.attacks if self._takes(rule, count)]
        told = max(able, default=0)
        missing = [f"no attack, {count} told" for count in dict.fromkeys((0, told)) if self._score(rule, NO_ATTACK, count) is None]
        missing += [f"{a} by {count}" for count in able for a in self.attacks[count] if self._score(rule, a, count) is None]
        if missing:
            return Curve((), Score(), tuple(missing))
        start, plain = (self._score(rule, NO_ATTACK, count) or Score() for count in (0, told))
        points = [Point(0.0, NO_ATTACK, start), *(self._worst(rule, count, count in able) for count in self.attacks)]
        return Curve(tuple(points), Score(tuple(a - b for a, b in zip(reference.values, plain.values, strict=True))))

    def _worst(self, rule: str, count: int, able: bool) -> Point:
        config = self.example[count]
        share = count / config["num_clients"]
        if not able:
            return Point(share, UNABLE, Score((chance(config),) * len(self.seeds)))
        scores = {attack: self._score(rule, attack, count) or Score() for attack in self.attacks[count]}
        attack = min(scores, key=lambda name: scores[name].mean)
        return Point(share, attack, scores[attack])

    def _takes(self, rule: str, count: int) -> bool:
        """Whether the rule works with the f that goes with so many attackers among so many clients, or has run there."""
        if any(name == rule and malicious == count for name, _, malicious in self.runs):
            return True
        own, other = next(cell.config for cell in self.cells if cell.rule == rule), self.example[count]
        n = other.get("clients_per_round")
        try:
            made = parse_strategy(own["strategy"], other["f"], own.get("strategy_options"))
        except InvalidParameter:
            return False
        return made is None or made.min_n() <= (n if isinstance(n, int) else other["num_clients"])


def _runs(name: str, cells: Sequence[Result]) -> Runs:
    runs: Runs = {}
    first: dict[tuple[str, str, int, int], Result] = {}
    for cell in cells:
        place, seed = (cell.rule, cell.attack, cell.config["num_malicious"]), cell.config["seed"]
        other = first.setdefault((*place, seed), cell)
        if other is not cell:
            differ = ", ".join(key for key in sorted(cell.config) if cell.config[key] != other.config.get(key)) or "no key"
            problem = f"leaderboard: {name} has two results of {cell.rule} under {cell.attack} by {place[2]}, seed {seed}"
            raise InvalidParameter(f"{problem}, which differ in {differ}; keep one for each num-malicious")
        runs.setdefault(place, {})[seed] = cell.value() if cell.ok else math.nan
    return {place: {seed: value for seed, value in found.items() if math.isfinite(value)} for place, found in runs.items()}


def mean_over(scores: Sequence[Score]) -> Score:
    """The mean of several scores, seed by seed."""
    return Score(tuple(fmean(column) for column in zip(*(score.values for score in scores), strict=True)))


def relative(score: Score, reference: Score) -> Score:
    """A score in units of another, seed by seed."""
    return Score(tuple(a / b for a, b in zip(score.values, reference.values, strict=True)))
