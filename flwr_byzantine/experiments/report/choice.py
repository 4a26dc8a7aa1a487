"""Hyper-parameters chosen by the worst case over attacks, on the validation split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.report.scores import Score
from flwr_byzantine.experiments.report.settings import attacks_of, grouped, multivalued, values, varying
from flwr_byzantine.experiments.results import Result, Setting, named
from flwr_byzantine.rules.parsing import FEDAVG


@dataclass(frozen=True)
class Choice:
    """The values chosen for one rule in one setting.

    Attributes:
        rule: its name with options.
        setting: where it was chosen.
        values: the chosen value of each key.
        worst: for each candidate, the worst case over attacks of the mean validation accuracy; -inf where an attack has no number.
        reference: whether this is FedAvg with no attack, the reference of the honest cost, which is chosen by that alone.
    """

    rule: str
    setting: Setting
    values: Setting
    worst: dict[Setting, float]
    reference: bool = False


def choose(cells: Sequence[Result], keys: Sequence[str], measure: str = "validation_accuracy") -> list[Choice]:
    """For each rule and setting the values of `keys` whose worst case over attacks of the validation accuracy is best.

    Equal candidates: the first in order of value. The choice never sees the test split; report test accuracy of `chosen` cells.
    Source: the protocol of ByzFL's benchmark (González et al., 2025).

    Args:
        cells: as `load` gives them.
        keys: configuration keys to choose, e.g. ["lr"]; an option of strategies as "strategy_options.tau".
        measure: what to choose by.

    Raises:
        InvalidParameter: a key that does not vary, or no validation accuracy in the results.
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
        if len(values(cells, key)) < 2:
            known = ", ".join(multivalued(cells)) or "none"
            raise InvalidParameter(f"report: cannot choose {key!r}: it does not vary; the keys that do: {known}")
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
    worst = {candidate: _worst(members, attacks, measure) for candidate, members in grouped(cells, keys).items()}
    return Choice(rule, setting, max(worst, key=lambda candidate: worst[candidate]), worst)


def _worst(cells: Sequence[Result], attacks: Sequence[str], measure: str) -> float:
    means = [Score.of((cell for cell in cells if cell.attack == attack), measure).mean for attack in attacks]
    return min(mean if math.isfinite(mean) else -math.inf for mean in means)
