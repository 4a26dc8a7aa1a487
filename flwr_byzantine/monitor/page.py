"""The page of a run: one HTML file that needs no other and no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.monitor.charts import pictures, short
from flwr_byzantine.monitor.heatmap import HeatMap, heat_map
from flwr_byzantine.monitor.reading import Reports, read
from flwr_byzantine.monitor.records import COLOURS, NodeRecord, records
from flwr_byzantine.monitor.show.html import render
from flwr_byzantine.monitor.tables import (
    detectors_table,
    nodes_table,
    notes_table,
    quarantine_table,
    reasons_table,
    rounds_table,
    slowest_table,
)
from flwr_byzantine.strategy.report import RoundReport

NAMED = 40  # nodes whose rows have names; of more, the rest has thin rows in a map of its own
SHOWN = 25  # rows of a table that is not folded away


@dataclass(frozen=True)
class Run:
    """A run as its page shows it.

    Attributes:
        name: its id.
        reports: of its rounds, in order.
        nodes: the most suspicious first.
        others: other runs of the file -> how many rounds each.
        lost: lines of the file that are no report.
    """

    name: str
    reports: Sequence[RoundReport]
    nodes: Sequence[NodeRecord]
    others: dict[str, int]
    lost: int

    @classmethod
    def of(cls, found: Reports, run: str = "") -> Run:
        """The run of a file whose name begins so, or the last one."""
        name, reports = found.of(run)
        others = {other: len(rounds) for other, rounds in found.runs.items() if other != name}
        return cls(name, reports, records(reports), others, found.lost)

    @property
    def suspects(self) -> Sequence[NodeRecord]:
        """Those that stand apart: an invalid reply's worth of suspicion at least, or a stay in quarantine; the worst of them."""
        return [node for node in self.nodes[:NAMED] if node.suspicion >= 1 or node.bans]

    @property
    def rounds(self) -> list[int]:
        """The rounds that were reported."""
        return [report.server_round for report in self.reports]

    @property
    def gaps(self) -> list[int]:
        """Rounds between the first and the last that no report is of; the first hundred."""
        pairs = zip(self.rounds, self.rounds[1:], strict=False)
        return [number for before, after in pairs for number in range(before + 1, min(after, before + 101))][:100]

    @property
    def skipped(self) -> list[RoundReport]:
        """The rounds that left the model as it was."""
        return [report for report in self.reports if not report.aggregated]

    @property
    def certified(self) -> tuple[int, int]:
        """In how many rounds the certificate held, and how many had one."""
        found = [report.certificate.holds for report in self.reports if report.certificate is not None]
        return sum(found), len(found)

    @property
    def rules(self) -> list[str]:
        """The rules that were run."""
        return list(dict.fromkeys(report.rule for report in self.reports))

    @property
    def span(self) -> str:
        """When the first and the last report were made; empty where they do not say."""
        known = [report.ended for report in self.reports if report.ended is not None and 0 <= report.ended < 4e9]
        return " to ".join(f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M:%S}" for when in (known[0], known[-1])) if known else ""

    def maps(self) -> list[HeatMap]:
        """All nodes; of many, those on top with names first."""
        if len(self.nodes) <= NAMED:
            return [heat_map(f"All {len(self.nodes)} nodes", self.nodes, self.rounds, True)] if self.nodes else []
        top = heat_map(f"The {NAMED} most suspicious nodes", self.nodes[:NAMED], self.rounds, True)
        return [top, heat_map(f"All {len(self.nodes)} nodes, in the same order", self.nodes, self.rounds, False)]


def write(path: str | Path, out: str | Path | None = None, run: str = "") -> Path:
    """Write the page of a run, and give its path.

    Args:
        path: of the reports.
        out: a directory, made where it is missing; None: beside `path`, with -report.
        run: the beginning of a run's id; empty: the last run of the file.

    Raises:
        InvalidParameter: no reports, no such run, or a directory that cannot be made.
    """
    source = Path(path)
    folder = source.with_name(f"{source.stem}-report") if out is None else Path(out)
    text = html(Run.of(read(source), run), source.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.html").write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InvalidParameter(f"report: cannot write into {folder} ({error.strerror}); give another --out") from None
    return folder / "index.html"


def html(run: Run, title: str) -> str:
    """The page's text."""
    return render(
        Path(__file__).with_name("page.html.j2"),
        run=run,
        title=title,
        last=run.reports[-1],
        suspects=nodes_table(run.suspects, run.rounds),
        others=nodes_table([node for node in run.nodes if node not in run.suspects], run.rounds),
        shown=SHOWN,
        reasons=reasons_table(run.nodes),
        detected=detectors_table(run.reports),
        bans=quarantine_table(run.nodes),
        slowest=slowest_table(run.nodes),
        notes=notes_table(run.reports),
        rounds=rounds_table(run.reports),
        maps=run.maps(),
        pictures=pictures(run.reports, run.nodes),
        colours=COLOURS,
        short=short,
    )
