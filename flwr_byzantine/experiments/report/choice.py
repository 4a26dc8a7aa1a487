"""Hyper-parameters chosen by the worst case over attacks, on the validation split, with its noise in mind.

The candidates within one standard error of the best are tied with it, and so are all where the best is not clearly above chance.
Of tied ones the middle value of those tried is chosen, and of two middle ones the smaller: a sweep is laid around what is expected
to work, and a value at its edge should be chosen for a reason. Source of the rule of one standard error: Breiman, Friedman, Olshen,
Stone, Classification and Regression Trees, 1984, section 3.4.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.declare.names import did_you_mean
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.datasets import chance
from flwr_byzantine.experiments.report.noise import Estimate
from flwr_byzantine.experiments.report.settings import attacks_of, grouped, multivalued, rank, values, varying
from flwr_byzantine.experiments.results import Result, Setting, named
from flwr_byzantine.rules.parsing import FEDAVG

NOT_CHOSEN = ("strategy", "attack", "seed", "f", "num_malicious", "engine", "dataset")  # keys that are no hyper-parameters


@dataclass(frozen=True)
class Choice:
    """The values chosen for one rule in one setting.

    Attributes:
        rule: its name with options.
        setting: where it was chosen.
        values: the chosen value of each key.
        estimates: for each candidate, the mean validation accuracy under the attack where that is least, with its standard error.
        chance: the accuracy of guessing; 0 where it is not known.
        reference: whether this is FedAvg with no attack, the reference of the honest cost, which is chosen by that alone.
    """

    rule: str
    setting: Setting
    values: Setting
    estimates: dict[Setting, Estimate] = field(default_factory=dict)
    chance: float = 0.0
    reference: bool = False

    @property
    def worst(self) -> dict[Setting, float]:
        """For each candidate, the worst case over attacks; -inf where an attack has no number."""
        return {candidate: estimate.mean for candidate, estimate in self.estimates.items()}

    @property
    def tied(self) -> list[Setting]:
        """The candidates between which the choice was by their place among those tried, the chosen one included."""
        return tied(self.estimates, self.chance)

    @property
    def at_chance(self) -> bool:
        """Whether not even the best candidate is clearly above chance."""
        return at_chance(self.estimates, self.chance)

    @property
    def within_noise(self) -> list[Setting]:
        """The other candidates that the best is not clearly above, by the 95 % interval of the difference."""
        best = max(self.estimates.values(), key=lambda estimate: estimate.mean)
        return [c for c, estimate in self.estimates.items() if c != self.values and not best.clearly_above(estimate)]

    @property
    def reason(self) -> str:
        """Why these values, in a few words."""
        if self.at_chance:
            return f"all at chance ({100 * self.chance:g} %): {self._place}"
        if len(self.tied) > 1:
            return f"a tie: {self._place}"
        return "the best, but within noise" if self.within_noise else "clearly the best"

    @property
    def _place(self) -> str:
        """Which of the tied ones was chosen, in words: see `middle`."""
        far = sorted(off_middle(candidate, list(self.estimates)) for candidate in self.tied)
        if far[:1] == far[1:2]:
            return "the smaller" if len(far) == 2 else "the smaller of the middle ones"
        return "the middle one" if far[0] == 0 else "the one nearest the middle"


def choose(cells: Sequence[Result], keys: Sequence[str], measure: str = "validation_accuracy") -> list[Choice]:
    """For each rule and setting the values of `keys` whose worst case over attacks of the validation accuracy is best.

    Candidates that noise does not tell from the best are tied: see the module. The choice never sees the test split; report test
    accuracy of `chosen` cells.
    Source: the protocol of ByzFL's benchmark (González et al., 2025).

    Args:
        cells: as `load` gives them.
        keys: configuration keys to choose, e.g. ["lr"]; an option of strategies as "strategy_options.tau".
        measure: what to choose by.

    Raises:
        InvalidParameter: a key that does not vary or is no hyper-parameter, or no validation accuracy in the results.
    """
    cells = lifted(cells, keys)
    _check(cells, keys, measure)
    choices = []
    for setting, members in grouped(cells, _other_keys(cells, keys)).items():
        for rule, own in _by_rule(members).items():
            choices.append(_choice(rule, setting, own, keys, measure))
            plain = [cell for cell in own if cell.config["strategy"] == FEDAVG and cell.attack == NO_ATTACK]
            if plain:
                choices.append(replace(_choice(rule, setting, plain, keys, measure), reference=True))
    return choices


def chosen(cells: Sequence[Result], keys: Sequence[str], choices: Sequence[Choice], reference: bool = False) -> list[Result]:
    """The cells that ran with the chosen values, failed ones included; with `reference`, those of the honest cost's reference."""
    cells = lifted(cells, keys)
    others = _other_keys(cells, keys)
    wanted = {(choice.rule, choice.setting): choice.values for choice in choices if choice.reference == reference}
    found = [cell for cell in cells if wanted.get((cell.rule, cell.setting(others))) == cell.setting(keys)]
    return [cell for cell in found if cell.attack == NO_ATTACK] if reference else found


def lifted(cells: Sequence[Result], keys: Sequence[str]) -> list[Result]:
    """The same cells with the options named in `keys` ("strategy_options.tau") as keys of the configuration, not in the rule's name."""
    return [_lift(cell, [key for key in keys if key.startswith("strategy_options.")]) for cell in cells]


def _lift(cell: Result, dotted: Sequence[str]) -> Result:
    if not dotted:
        return cell
    options = dict(cell.config.get("strategy_options") or {})
    moved = {key: options.pop(key.split(".", 1)[1], None) for key in dotted}
    config = cell.config | {"strategy_options": options}
    return replace(cell, config=config | {k: cell.config.get(k, v) for k, v in moved.items()}, rule=named(config["strategy"], options))


def _check(cells: Sequence[Result], keys: Sequence[str], measure: str) -> None:
    for key in keys:
        if key in NOT_CHOSEN:
            raise InvalidParameter(f"report: cannot choose {key!r}, which is no hyper-parameter; choose one such as lr")
        if len(values(cells, key)) < 2:
            known = [key for key in multivalued(cells) if key not in NOT_CHOSEN]
            hint = did_you_mean(key, known)
            raise InvalidParameter(f"report: cannot choose {key!r}: it does not vary; {hint}the keys that do: {', '.join(known) or 'none'}")
    if all(math.isnan(cell.value(measure)) for cell in cells):
        raise InvalidParameter(f"report: choosing needs {measure}, which no cell has; sweep with a validation split")


def _other_keys(cells: Sequence[Result], keys: Sequence[str]) -> list[str]:
    """The keys that tell settings apart, without the chosen ones and those that follow from them."""
    return [key for key in varying(cells, keys) if key not in keys]


def _by_rule(cells: Sequence[Result]) -> dict[str, list[Result]]:
    rules: dict[str, list[Result]] = {}
    for cell in cells:
        rules.setdefault(cell.rule, []).append(cell)
    return dict(sorted(rules.items()))


def _choice(rule: str, setting: Setting, cells: Sequence[Result], keys: Sequence[str], measure: str) -> Choice:
    attacks = attacks_of(cells) or [NO_ATTACK]
    estimates = {candidate: _worst(members, attacks, measure) for candidate, members in grouped(cells, keys).items()}
    guessing = chance(cells[0].config) if measure.endswith("accuracy") else 0.0
    return Choice(rule, setting, middle(tied(estimates, guessing), list(estimates)), estimates, guessing)


def _worst(cells: Sequence[Result], attacks: Sequence[str], measure: str) -> Estimate:
    found = [Estimate.of([cell for cell in cells if cell.attack == attack], measure) for attack in attacks]
    return min(found, key=lambda estimate: estimate.mean)


Estimates = Mapping[Setting, Estimate]


def tied(estimates: Estimates, guessing: float = 0.0) -> list[Setting]:
    """The candidates within one standard error of the best; all that have a number where even the best is at chance."""
    best = max(estimates.values(), key=lambda estimate: estimate.mean)
    least = best.mean - best.error if not at_chance(estimates, guessing) else -math.inf
    numbers = [candidate for candidate, estimate in estimates.items() if estimate.mean >= least and math.isfinite(estimate.mean)]
    return numbers or list(estimates)


def at_chance(estimates: Estimates, guessing: float) -> bool:
    """Whether the best is not clearly above the accuracy of guessing."""
    best = max(estimates.values(), key=lambda estimate: estimate.mean)
    return guessing > 0 and math.isfinite(best.mean) and not best.clearly_above(Estimate(guessing))


def middle(candidates: Sequence[Setting], tried: Sequence[Setting]) -> Setting:
    """The candidate nearest the middle of the values tried, key by key; of two that are as near, the one of smaller values.

    Example:
        >>> tried = [(("lr", lr),) for lr in (0.01, 0.1, 1.0)]
        >>> middle(tried, tried), middle(tried[1:], tried), middle(tried[::2], tried)
        ((('lr', 0.1),), (('lr', 0.1),), (('lr', 0.01),))
    """
    return min(candidates, key=lambda candidate: (off_middle(candidate, tried), [rank(value) for _, value in candidate]))


def off_middle(candidate: Setting, tried: Sequence[Setting]) -> float:
    """How many places of the values tried a candidate is off their middle, summed over keys.

    Example:
        >>> [off_middle((("lr", lr),), [(("lr", 0.1),), (("lr", 0.3),)]) for lr in (0.1, 0.3)]
        [0.5, 0.5]
    """
    columns = [sorted({value for _, value in column}, key=rank) for column in zip(*tried, strict=True)]
    return sum(abs(column.index(value) - (len(column) - 1) / 2) for column, (_, value) in zip(columns, candidate, strict=True))
