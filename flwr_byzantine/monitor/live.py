"""A run as it goes on, in a terminal: the nodes, the most suspicious first, or in a pipe a line for each round."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flwr_byzantine.flower.words import printable
from flwr_byzantine.monitor.reading import Follower
from flwr_byzantine.monitor.records import COLOURS, MARKS, NOT_ASKED, NodeRecord, records
from flwr_byzantine.monitor.show.terminal import say, words
from flwr_byzantine.strategy.report import RoundReport

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

PAUSE = 0.5  # seconds between two looks
LAST = 200  # rounds that suspicion is counted over
NAMED = 5  # nodes that a line names
REST = 9  # lines of a terminal that are no nodes'
NAME = 24  # characters of a node's name; an id has 20 at most
NARROW = 26  # columns that a name and a suspicion take; the others are for the rounds and the reason


def follow(follower: Follower, console: Console, run: str = "", until_end: bool = False, pause: Callable[[], None] | None = None) -> None:
    """Show what comes until the run's last planned round, or for ever.

    Args:
        follower: of the file, which need not be there yet.
        console: a terminal gets the live view, anything else a line a round.
        run: the beginning of a run's id; empty: whichever run was reported last.
        until_end: end once the last round that the run planned has been reported.
        pause: waits between two looks.
    """
    show = _live if console.is_terminal else _lines
    show(follower, console, run, until_end, pause or (lambda: time.sleep(PAUSE)))


def _live(follower: Follower, console: Console, run: str, until_end: bool, pause: Callable[[], None]) -> None:
    from rich.live import Live

    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as screen:
        nodes: Sequence[NodeRecord] = ()
        while True:
            if follower.look():
                nodes = latest(follower, run)
            screen.update(view(follower, run, console.width, console.height, nodes), refresh=True)
            if until_end and is_over(follower, run):
                return
            pause()


def _lines(follower: Follower, console: Console, run: str, until_end: bool, pause: Callable[[], None]) -> None:
    told = ""
    while True:
        again = follower.again
        new = [report for report in follower.look() if printable(report.run, 40).startswith(run)]
        if follower.again > again:
            say(console, f"{follower.path} was replaced or cut; it is read anew")
        for report in new:
            say(console, line(report))
        if not follower.reports.runs and (text := waiting(follower)) != told:
            say(console, told := text)
        if until_end and is_over(follower, run):
            return
        pause()


def waiting(follower: Follower) -> str:
    """What is waited for, while there is no report."""
    what = "it has no report yet" if follower.there else "it is not there yet"
    return f"waiting for {follower.path}: {what}; a run writes the first line after its first round, to the file that report_path= names"


def reports_of(follower: Follower, run: str) -> Sequence[RoundReport]:
    """The reports of the run that is watched; none where it is not there yet."""
    known = [name for name in follower.reports.runs if name.startswith(run)]
    return follower.reports.of(known[-1])[1] if known else ()


def is_over(follower: Follower, run: str) -> bool:
    """Whether the last round that the run planned has been reported."""
    found = reports_of(follower, run)
    return bool(found) and found[-1].planned is not None and found[-1].server_round >= found[-1].planned


def line(report: RoundReport) -> str:
    """A round on one line.

    Example:
        >>> line(RoundReport(3, 5, 5, 5, 1, "Krum(f=1)", True, True, min_n=5))
        'round 3: Krum(f=1) kept 0 of 5 valid replies, 5 asked, f = 1, 0 to spare'
    """
    parts = [headline(report)]
    bad = [(node, entry) for node, entry in report.nodes.items() if entry.status not in ("kept", "rejected")]
    parts += [f"node {node} {entry.status}: {entry.reason or 'no reply'}" for node, entry in bad[:NAMED]]
    parts += [f"{len(bad) - NAMED} nodes more gave no valid reply"] * (len(bad) > NAMED)
    parts += [f"node {node} in quarantine {until_when(until)}" for node, until in report.banned.items()]
    return "; ".join([*parts, *([f"skipped: {report.note}"] if not report.aggregated else [report.note] * bool(report.note))])


def until_when(until: int) -> str:
    """The end of a ban in words."""
    return f"until round {until}" if until else "for good"


def headline(report: RoundReport) -> str:
    """A round's numbers in words."""
    kept = len(report.with_status("kept"))
    parts = [f"round {report.server_round}: {report.rule} kept {kept} of {report.n_valid} valid replies", f"{report.n_sampled} asked"]
    parts += [f"f = {report.f}", f"{report.n_valid - report.min_n} to spare"]
    if report.kappa is not None:
        parts.append(f"κ {report.kappa:.3g}")
    if (found := report.certificate) is not None:
        margin = "" if found.margin is None else f" by {found.margin:.3g}"
        parts.append(f"certificate holds{margin}" if found.holds else "no certificate")
    return ", ".join([*parts, *([f"{report.seconds:.1f} s"] if report.seconds is not None else [])])


def latest(follower: Follower, run: str) -> Sequence[NodeRecord]:
    """The nodes over the last rounds of the run that is watched, the most suspicious first."""
    return records(reports_of(follower, run)[-LAST:])


def view(follower: Follower, run: str, width: int, height: int, nodes: Sequence[NodeRecord], now: float | None = None) -> RenderableType:
    """The live view.

    Args:
        follower: of the file.
        run: the beginning of a run's id, or empty.
        width: of the terminal, in columns.
        height: of the terminal, in lines.
        nodes: what `latest` gives.
        now: seconds since 1970; None takes the clock's.
    """
    from rich.console import Group

    found = reports_of(follower, run)
    if not found:
        return words(waiting(follower), "yellow")
    last = found[-1]
    rows = max(1, height - REST - 2 * bool(last.note))
    state = words(_state(follower, last, time.time() if now is None else now), "bold")
    news = [words(f"model unchanged: {last.note}" if not last.aggregated else last.note, "red" if not last.aggregated else "")]
    more = [words(f"{len(nodes) - rows} nodes more, less suspicious", "dim")] * (len(nodes) > rows)
    table = _table(nodes[:rows], [report.server_round for report in found], width)
    return Group(state, words(headline(last)), *news * bool(last.note), table, *more, _legend())


def _state(follower: Follower, last: RoundReport, now: float) -> str:
    planned = f" of {last.planned}" if last.planned else ""
    ago = "" if last.ended is None else f", reported {max(0, round(now - last.ended))} s ago"
    again = "" if not follower.again else ", the file was replaced and is read anew"
    gone = "" if follower.there else ", the file is gone"
    over = ", the run's last" if last.planned and last.server_round >= last.planned else ""
    return f"{follower.path.name}, run {printable(last.run)[:8] or 'unnamed'}: round {last.server_round}{planned}{over}{ago}{again}{gone}"


def _table(nodes: Sequence[NodeRecord], rounds: Sequence[int], width: int) -> RenderableType:
    from rich.table import Table

    view = Table(box=None, pad_edge=False, expand=True)
    shown = rounds[-max(5, (width - NARROW) // 2) :]
    view.add_column("node", no_wrap=True)
    view.add_column("suspicion", justify="right")
    view.add_column(f"rounds {shown[0]} to {shown[-1]}", no_wrap=True)
    view.add_column("last reason", no_wrap=True, overflow="ellipsis", ratio=1)
    for node in nodes:
        number, reason = node.last_reason()
        said = f"{number}: {reason}" if reason else ""
        view.add_row(words(printable(node.name, NAME)), words(f"{node.suspicion:.1f}"), _strip(node, shown), words(said))
    return view


def _strip(node: NodeRecord, rounds: Sequence[int]) -> Text:
    """A letter for each round, in the colour of what became of the reply."""
    from rich.text import Text

    found = [node.at(number) for number in rounds]
    return Text.assemble(*((MARKS.get(status, "?"), COLOURS.get(status, "")) for status in found))


def _legend() -> Text:
    from rich.text import Text

    parts = [(f"{mark} {status}  ", COLOURS.get(status, "")) for status, mark in MARKS.items() if status != NOT_ASKED]
    return Text.assemble(*parts, ("Ctrl-C ends", "dim"))
