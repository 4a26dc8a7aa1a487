"""What one report is about: the cells it shows, how they are grouped, and what they are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flwr_byzantine.declare.names import did_you_mean
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.report import choice
from flwr_byzantine.experiments.report.scores import Reference, WorstCase, worst_case
from flwr_byzantine.experiments.report.settings import attacks_of, comparable, grouped, multivalued, rules_of, varying
from flwr_byzantine.experiments.results import Result, Setting, show


@dataclass(frozen=True)
class Study:
    """The cells of a report, grouped.

    Attributes:
        all_cells: everything in the results.
        cells: those shown; with chosen hyper-parameters, the runs with the chosen values.
        keys: the configuration keys that have a table of their own for each combination of values.
        reference: FedAvg with no attack.
        choices: the hyper-parameters chosen.
        chosen_keys: their keys.
    """

    all_cells: tuple[Result, ...]
    cells: tuple[Result, ...]
    keys: tuple[str, ...]
    reference: Reference
    choices: tuple[choice.Choice, ...] = ()
    chosen_keys: tuple[str, ...] = ()

    @property
    def rules(self) -> list[str]:
        """Rules in the order of the tables."""
        return rules_of(self.cells)

    @property
    def attacks(self) -> list[str]:
        """Attacks by name, without "none"."""
        return attacks_of(self.cells)

    @property
    def settings(self) -> dict[Setting, list[Result]]:
        """The cells of each setting."""
        return grouped(self.cells, self.keys)

    @property
    def failed(self) -> list[Result]:
        """The cells that failed, over everything in the results."""
        return [cell for cell in self.all_cells if not cell.ok]

    @property
    def notices(self) -> list[str]:
        """What attacks said of doing nothing in the cells shown, each sentence once."""
        return list(dict.fromkeys(text for cell in self.cells for text in cell.notices))

    def tables(self, measure: str = "accuracy") -> list[WorstCase]:
        """The worst-case table of each setting."""
        return worst_case(self.cells, self.keys, measure, self.reference)

    def has(self, measure: str) -> bool:
        """Whether any cell has this measure."""
        return any(cell.final.get(measure) is not None for cell in self.cells)


def study(cells: Sequence[Result], by: Sequence[str] | None = None, choose: Sequence[str] = ()) -> Study:
    """Group the cells of a report.

    Args:
        cells: as `load` gives them.
        by: keys with a table for each value; other keys that vary are named in the rows. None: every key that varies.
        choose: hyper-parameters to choose by the worst case over attacks of the validation accuracy.

    Raises:
        InvalidParameter: a key that does not vary, or a choice without validation accuracy.
    """
    every = tuple(cells)
    choices = tuple(choice.choose(cells, choose)) if choose else ()
    shown = choice.chosen(cells, choose, choices) if choose else list(cells)
    plain = choice.chosen(cells, choose, choices, reference=True) if choose else []
    keys = [key for key in varying(shown) if key not in choose]
    shown = comparable(shown, keys)
    reference = Reference(plain or shown, keys)
    if by is not None:
        _require(by, cells)
        shown = [_with_rest(cell, [key for key in keys if key not in by]) for cell in shown]
        keys = list(by)
    return Study(every, tuple(shown), tuple(keys), reference, choices, tuple(choose))


def _require(by: Sequence[str], cells: Sequence[Result]) -> None:
    known = multivalued(cells)
    unknown = [key for key in by if key not in known]
    if unknown:
        hint = did_you_mean(unknown[0], known)
        raise InvalidParameter(f"report: no setting differs in {unknown[0]!r}; {hint}the keys that vary: {', '.join(known) or 'none'}")


def _with_rest(cell: Result, keys: Sequence[str]) -> Result:
    rest = ", ".join(f"{key}={show(value)}" for key, value in cell.setting(keys))
    return replace(cell, rule=f"{cell.rule} · {rest}") if rest else cell
