"""Who is told of a round when it is over: the callbacks of `on_report=`, none of which can end the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from logging import ERROR
from typing import Any

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower.words import printable
from flwr_byzantine.strategy.report import RoundReport

Callback = Callable[[RoundReport], object]
OnReport = Callback | Sequence[Callback] | None


def check_callbacks(value: Any) -> None:
    """Refuse what cannot be called.

    Raises:
        InvalidParameter: `on_report=` is no callable, and no list of them.
    """
    for found in callbacks(value):
        if not callable(found) or isinstance(found, type):
            made = f"{found.__name__}(...), an object of it" if isinstance(found, type) else "a function of one RoundReport"
            raise InvalidParameter(f"strategy: on_report must be a callable or a list of them, got {found!r}; give {made}")


def callbacks(value: Any) -> Sequence[Any]:
    """All of them, in order: `on_report=` takes none, one or several."""
    return () if value is None else value if isinstance(value, list | tuple) else (value,)


class Telling:
    """Tells callbacks of each report once, and of evaluations those that have a method `evaluated(server_round, where, metrics)`.

    Args:
        log: takes a level and a text.

    Attributes:
        told: how many of the run's reports they have been told of.
    """

    def __init__(self, log: Callable[[int, str], None]) -> None:
        self.log, self.told = log, 0

    def tell(self, value: OnReport, reports: list[RoundReport]) -> None:
        """Call with each new report; what a callback raises is logged, and a note in the report that it was called with."""
        while self.told < len(reports):
            place, self.told = self.told, self.told + 1
            report = reports[place]
            failed = [self._call(found, report.server_round, partial(found, report)) for found in callbacks(value)]
            if any(failed):
                reports[place] = replace(report, notes=(*report.notes, *filter(None, failed)))

    def evaluated(self, value: OnReport, server_round: int, where: str, metrics: Mapping[str, float]) -> None:
        """Call the method `evaluated` of those that have one."""
        for found in callbacks(value):
            if hasattr(found, "evaluated"):
                self._call(found, server_round, partial(found.evaluated, server_round, where, metrics))

    def _call(self, owner: Any, server_round: int, call: Callable[[], object]) -> str:
        """What there is to be noted: "" where all went well."""
        try:
            call()
        except Exception as error:
            name = getattr(owner, "__name__", type(owner).__name__)
            text = f"on_report: {printable(name, 60)} raised {type(error).__name__}: {printable(error)}"
            self.log(ERROR, f"round {server_round}: {text}; the run goes on")
            return text
        return ""
