"""Commands that try strategies: `demo` and `audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flwr_byzantine.declare.extras import ENGINE, require
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.cli.terminal import console, print_json
from flwr_byzantine.monitor.show.printing import show
from flwr_byzantine.monitor.show.terminal import fail, progress, say


class _Bar:
    """A progress bar over all runs, which names the run under way."""

    def __init__(self, total: int) -> None:
        self.progress = progress(width=46)
        self.task = self.progress.add_task("starting Flower's virtual clients", total=total)

    def start(self, run: Any) -> None:
        self.progress.update(self.task, description=str(run))

    def advance(self) -> None:
        self.progress.advance(self.task)


def demo(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds with longer steps: about half the time.")] = False,
    json: Annotated[Path, typer.Option(help="Where to write the results.")] = Path("demo.json"),
    plot: Annotated[Path, typer.Option(help="Accuracy by round, drawn: PNG, SVG (dark where the screen is), PDF.")] = Path("demo.png"),
    seed: Annotated[int, typer.Option(min=0, help="Of data split, partition, model and batches.")] = 0,
) -> None:
    """Attacks and defences on real data: 20 virtual clients on Flower's engine, 4 of them malicious."""
    require("demo", "simulation", *ENGINE, "matplotlib")
    from flwr_byzantine.experiments.demo import report, runner
    from flwr_byzantine.experiments.tasks import Task

    report.check_picture(plot)
    task, rounds = (Task(seed=seed, lr=0.2, batch_size=8), 5) if quick else (Task(seed=seed), 20)
    bar = _Bar(rounds * len(runner.plan()))
    with bar.progress:
        results = runner.run_all(task, rounds, bar)
    show(report.table(results), console)
    report.save_json(results, task, rounds, json)
    report.plot(results, plot)
    say(console, f"picture: {plot}   results: {json}")
    failed = {run: outcome.error for run, outcome in results.items() if outcome.error}
    for run, error in failed.items():
        fail(f"failed: {run}: {error}")
    if failed:
        raise typer.Exit(1)


def audit(
    strategy: Annotated[str, typer.Argument(help="MODULE:STRATEGY, a class or a function without arguments.")],
    legacy: Annotated[bool, typer.Option("--legacy", help="The strategy is of Flower's legacy API.")] = False,
    f: Annotated[int, typer.Option(min=1, max=3, help="Attackers among the thirteen clients; given to the strategy.")] = 2,
    options: Annotated[str, typer.Option(help="Further constructor arguments, as JSON.")] = "{}",
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Send hostile replies of every kind to any Flower strategy; exit status 1 unless it survives them all."""
    from dataclasses import asdict

    from flwr_byzantine.experiments import audit as auditing

    make = auditing.load_strategy(strategy, f, _parsed(options))
    findings = auditing.audit(make, auditing.BATTERY, f, legacy)
    clean = all(finding.outcome == "survived" for finding in findings)
    if json:
        print_json([asdict(finding) for finding in findings])
    elif clean:
        say(console, auditing.summary(strategy, findings))
    else:
        show(auditing.table(strategy, findings), console)
    if not clean:
        raise typer.Exit(1)


def _parsed(options: str) -> Any:
    import json

    try:
        return json.loads(options)
    except ValueError as error:
        raise InvalidParameter(f"audit: --options must be JSON such as '{{\"m\": 5}}', got {options!r} ({error})") from None
