"""Means over seeds, worst cases over attacks, and what robustness costs where nobody attacks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.report.settings import attacks_of, comparable, grouped, rules_of, varying
from flwr_byzantine.experiments.results import Result, Setting
from flwr_byzantine.rules.parsing import FEDAVG

WORST = "worst"  # the column of the worst case, beside those of the attacks


@dataclass(frozen=True)
class Score:
    """One measure over seeds.

    Attributes:
        values: one for each finished seed; NaN where the run's measure is no number.
        failed: seeds whose run failed.

    Example:
        >>> score = Score((0.5, 0.7))
        >>> round(score.mean, 3), round(score.std, 3)
        (0.6, 0.141)
    """

    values: tuple[float, ...] = ()
    failed: int = 0

    @classmethod
    def of(cls, cells: Iterable[Result], measure: str = "accuracy") -> Score:
        """The score of cells that differ in their seed only."""
        cells = list(cells)
        return cls(tuple(cell.value(measure) for cell in cells if cell.ok), sum(not cell.ok for cell in cells))

    @property
    def mean(self) -> float:
        """Mean over seeds; NaN without a finished seed, or where one is NaN: leaving it out would flatter the rule."""
        return fmean(self.values) if self.values else math.nan

    @property
    def std(self) -> float:
        """Sample standard deviation over seeds; NaN below two seeds."""
        return stdev(self.values) if len(self.values) > 1 and math.isfinite(self.mean) else math.nan

    @property
    def known(self) -> bool:
        """Whether the mean is a number."""
        return math.isfinite(self.mean)


@dataclass(frozen=True)
class Row:
    """One rule in one setting.

    Attributes:
        rule: its name with options.
        scores: a Score for each attack, "none" included where it was run.
        worst_attack: the attack with the least mean, or "" where no attack has a number.
        complete: whether every attack of the setting has a number; else the worst case may be worse than the one shown.
        cost: accuracy lost with no attack against FedAvg with no attack; NaN where either was not run.
        strategies: the strategies' names without options.
    """

    rule: str
    scores: dict[str, Score]
    worst_attack: str
    complete: bool
    cost: float
    strategies: frozenset[str] = frozenset()

    @property
    def worst(self) -> Score:
        """The score under the worst attack; where no attack has a number, that of any."""
        without = (score for attack, score in self.scores.items() if attack != NO_ATTACK)
        return self.scores[self.worst_attack] if self.worst_attack else next(without, Score())

    def column(self, name: str) -> Score:
        """The score under an attack, or the "worst"."""
        return self.worst if name == WORST else self.scores.get(name, Score())


@dataclass(frozen=True)
class WorstCase:
    """The table of one setting: rules × attacks.

    Attributes:
        setting: the values of the keys that tell this table from the others.
        attacks: the columns; "none" first where it was run.
        rows: one for each rule.
        cells: the runs behind it.
    """

    setting: Setting
    attacks: tuple[str, ...]
    rows: tuple[Row, ...]
    cells: tuple[Result, ...] = field(default=(), repr=False)

    def row(self, rule: str) -> Row:
        """The row of a rule."""
        return next(row for row in self.rows if row.rule == rule)


class Reference:
    """The runs of FedAvg with no attack, against which the honest cost is measured.

    Args:
        cells: all cells of the sweep.
        keys: the keys that tell settings apart.
    """

    def __init__(self, cells: Sequence[Result], keys: Sequence[str]) -> None:
        self._keys = keys
        self._without_f = [key for key in keys if key not in ("f", "num_malicious")]
        self._plain = [cell for cell in cells if cell.config["strategy"] == FEDAVG and cell.attack == NO_ATTACK]

    def of(self, cells: Sequence[Result]) -> list[Result]:
        """The reference runs of the settings of `cells`; where none has the same f, those of any f, since FedAvg does not use it."""
        for keys in (self._keys, self._without_f):
            wanted = {cell.setting(keys) for cell in cells}
            found = [cell for cell in self._plain if cell.setting(keys) in wanted]
            if found:
                return found
        return []


def worst_case(
    cells: Sequence[Result], keys: Sequence[str] | None = None, measure: str = "accuracy", reference: Reference | None = None
) -> list[WorstCase]:
    """A table of rules × attacks for each setting.

    The worst case is the least, over attacks, of the mean over seeds; a run without attack does not count as an attack.

    Args:
        cells: as `load` gives them.
        keys: the configuration keys that tell settings apart; None finds those that vary.
        measure: any of `final`.
        reference: what the honest cost is against; None finds FedAvg with no attack among `cells`.

    Example:
        >>> runs = [("krum", "none", 0.8), ("krum", "alie", 0.5), ("krum", "ipm", 0.7)]
        >>> line = {"key": "", "status": "ok"}
        >>> cells = [Result.of(line | {"config": {"strategy": s, "attack": a}, "final": {"accuracy": x}}) for s, a, x in runs]
        >>> row = worst_case(cells)[0].row("krum")
        >>> row.worst_attack, row.worst.mean
        ('alie', 0.5)
    """
    keys = varying(cells) if keys is None else keys
    cells = comparable(cells, keys)
    reference = reference or Reference(cells, keys)
    return [_table(setting, members, measure, reference) for setting, members in grouped(cells, keys).items()]


def _table(setting: Setting, cells: Sequence[Result], measure: str, reference: Reference) -> WorstCase:
    attacks = attacks_of(cells)
    has_honest = any(cell.attack == NO_ATTACK for cell in cells)
    rows = [_row(rule, [cell for cell in cells if cell.rule == rule], attacks, measure, reference) for rule in rules_of(cells)]
    return WorstCase(setting, (NO_ATTACK,) * has_honest + tuple(attacks), tuple(rows), tuple(cells))


def _row(rule: str, cells: Sequence[Result], attacks: Sequence[str], measure: str, reference: Reference) -> Row:
    present = {cell.attack for cell in cells}
    scores = {attack: Score.of((cell for cell in cells if cell.attack == attack), measure) for attack in sorted(present)}
    known = [attack for attack in attacks if attack in scores and scores[attack].known]
    worst = min(known, key=lambda attack: scores[attack].mean, default="")
    honest = scores.get(NO_ATTACK, Score()).mean
    cost = Score.of(reference.of(cells), measure).mean - honest
    strategies = frozenset(cell.config["strategy"] for cell in cells)
    return Row(rule, scores, worst, bool(attacks) and len(known) == len(attacks), cost, strategies)
