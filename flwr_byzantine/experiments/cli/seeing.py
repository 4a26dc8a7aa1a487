"""Commands that show what has run, or runs: `report`, `leaderboard` and `watch`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.cli.terminal import console
from flwr_byzantine.monitor.show.printing import show
from flwr_byzantine.monitor.show.terminal import errors, say


def report(
    results: Annotated[Path, typer.Argument(help="The JSON lines that a strategy's report_path= names, or that a sweep wrote.")],
    out: Annotated[Path | None, typer.Option(help="A directory to write into. Default: beside RESULTS, with -report.")] = None,
    run: Annotated[str, typer.Option(help="Of a file with several runs, the one whose id begins so. Default: the last.")] = "",
    by: Annotated[list[str] | None, typer.Option(help="Sweep: a configuration key with a table for each value. Default: all.")] = None,
    choose: Annotated[list[str] | None, typer.Option(help="Sweep: a hyper-parameter to choose by the worst validation case.")] = None,
    published: Annotated[Path | None, typer.Option(help="Sweep: TOML file of published figures to show beside ours.")] = None,
) -> None:
    """One HTML page of a run's rounds (who was kept, rejected, slow, in quarantine), or of a sweep's results with tables and figures."""
    from flwr_byzantine.monitor.reading import kind

    of_runs = kind(results) == "reports"
    given = {"--by": by, "--choose": choose, "--published": published} if of_runs else {"--run": run}
    if wrong := [name for name, value in given.items() if value]:
        holds, other = ("reports of a run", "results of a sweep") if of_runs else ("results of a sweep", "reports of a run")
        raise InvalidParameter(f"report: {wrong[0]} is for {other}, and {results} holds {holds}; leave it out")
    if of_runs:
        from flwr_byzantine.monitor import page

        with errors().status("drawing"):
            written = page.write(results, out, run)
        say(console, f"page: {written}")
        return
    _sweep(results, out, by, choose, published)


def _sweep(results: Path, out: Path | None, by: list[str] | None, choose: list[str] | None, published: Path | None) -> None:
    from flwr_byzantine.experiments import report as reporting

    tables, chosen = ([key.replace("-", "_") for key in keys or ()] for keys in (by, choose))
    folder = out or results.with_name(f"{results.stem}-report")
    with errors().status("drawing"):
        written = reporting.write(results, folder, tables or None, chosen, published or ())
    reporting.to_console(written, console)


def leaderboard(
    results: Annotated[list[Path], typer.Argument(help="Results of sweeps over rules, attacks, num-malicious and seeds, a task or more.")],
    out: Annotated[Path, typer.Option(help="A directory to write leaderboard.md, .csv, .svg and .png into.")] = Path("leaderboard"),
) -> None:
    """Rules ranked over tasks: what each costs without attack, its worst case over attacks, and the area under accuracy against f."""
    from flwr_byzantine.experiments import leaderboard as ranking
    from flwr_byzantine.experiments.report import load

    found = ranking.leaderboard([cell for path in results for cell in load(path)])
    with errors().status("drawing"):
        written = ranking.write(found, out)
    show(ranking.ranked(found), console)
    say(console, f"tables and picture: {', '.join(map(str, written))}")


def watch(
    path: Annotated[Path, typer.Argument(help="The file that a strategy's report_path= names; it need not be there yet.")],
    run: Annotated[str, typer.Option(help="Of a file with several runs, the one whose id begins so. Default: the last reported.")] = "",
    once: Annotated[bool, typer.Option("--once", help="Show what is there now and end.")] = False,
    until_end: Annotated[bool, typer.Option("--until-end", help="End with the run's last planned round.")] = False,
) -> None:
    """A run's rounds live in the terminal while it runs; piped, a line a round. Ctrl-C ends it, with exit status 0."""
    from flwr_byzantine.monitor.live import follow
    from flwr_byzantine.monitor.reading import Follower

    with suppress(KeyboardInterrupt):
        if once:
            _once(path, run)
        else:
            follow(Follower(path), console, run, until_end)


def _once(path: Path, run: str) -> None:
    from flwr_byzantine.monitor.live import latest, line, view
    from flwr_byzantine.monitor.reading import Follower, read

    _, found = read(path).of(run)
    if not console.is_terminal:
        for report in found:
            say(console, line(report))
        return
    follower = Follower(path)
    follower.look()
    console.print(view(follower, run, console.width, console.height, latest(follower, run)))
