"""The command `flwr-byzantine`."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flwr_byzantine.errors import ByzantineError, InvalidParameter
from flwr_byzantine.experiments.table import Table
from flwr_byzantine.experiments.terminal import never_fail_to_encode, progress, say

app = typer.Typer(help="Byzantine-resilient aggregation for Flower.", no_args_is_help=True, add_completion=False)
console = Console()
SIMULATION = "this command needs the simulation extras ({error}): pip install 'flwr-byzantine[simulation]'"


class _Bar:
    """A progress bar over all runs, which names the run under way."""

    def __init__(self, total: int) -> None:
        self.progress = progress(console, width=46)
        self.task = self.progress.add_task("starting Flower's virtual clients", total=total)

    def start(self, run: Any) -> None:
        self.progress.update(self.task, description=str(run))

    def advance(self) -> None:
        self.progress.advance(self.task)


@app.command()
def demo(
    quick: Annotated[bool, typer.Option(help="Fewer rounds with longer steps: about half the time.")] = False,
    json: Annotated[Path, typer.Option(help="Where to write the results.")] = Path("demo.json"),
    plot: Annotated[Path, typer.Option(help="Where to write the picture of accuracy against rounds.")] = Path("demo.png"),
    seed: Annotated[int, typer.Option(min=0, help="Of data split, partition, model and batches.")] = 0,
) -> None:
    """Attacks and defences on real data: 20 virtual clients on Flower's engine, 4 of them malicious."""
    from flwr_byzantine.experiments.demo import report, runner
    from flwr_byzantine.experiments.tasks import Task

    task, rounds = (Task(seed=seed, lr=0.2, batch_size=8), 5) if quick else (Task(seed=seed), 20)
    bar = _Bar(rounds * len(runner.plan()))
    with bar.progress:
        results = runner.run_all(task, rounds, bar)
    console.print(report.table(results).console())
    report.save_json(results, task, rounds, json)
    report.plot(results, plot)
    say(console, f"picture: {plot}   results: {json}")
    failed = {run: outcome.error for run, outcome in results.items() if outcome.error}
    for run, error in failed.items():
        say(console, f"failed: {run}: {error}", "red")
    if failed:
        raise typer.Exit(1)


@app.command()
def rules() -> None:
    """All rules, with their conditions and references."""
    from flwr_byzantine import rules as catalogue
    from flwr_byzantine.declare.names import construct

    heads = ("rule", "needs n ≥ (f = 2)", "largest f at n = 25", "κ at n = 25, f = 2", "state", "cost", "reference")
    rows = []
    for cls in catalogue.available():
        rule = construct(cls, {"f": 2} if "f" in {item.name for item in fields(cls)} else {})
        alone = rule.robust and not isinstance(rule, catalogue.PreAggregation)
        kappa = rule.kappa(25) if alone else None
        bound, most = "none known" if kappa is None else f"{kappa:.2f}", str(rule.breakdown(25)) if alone else "-"
        rows.append((cls.__name__, str(rule.min_n()), most, bound, "yes" if rule.stateful else "", rule.cost, rule.reference))
    console.print(Table.of("Aggregation and pre-aggregation rules", heads, rows).console())


@app.command()
def cite(
    names: Annotated[list[str], typer.Argument(help="Rules, chains (nnm+krum) or attacks by name.")],
) -> None:
    """BibTeX of exactly the rules and attacks named."""
    from flwr_byzantine import attacks, rules
    from flwr_byzantine.declare.citations import citation
    from flwr_byzantine.declare.names import by_name

    known = [*rules.available(), *attacks.available()]
    typer.echo(citation(*(by_name("rule or attack", part, known) for name in names for part in name.split("+"))))


@app.command()
def attacks() -> None:
    """All attacks, with what the attacker must know."""
    from flwr_byzantine import attacks as catalogue

    rows = [(cls.__name__, cls.knowledge, (cls.__doc__ or "").splitlines()[0], cls.reference) for cls in catalogue.available()]
    console.print(Table.of("Attacks", ("attack", "must know", "what it sends", "reference"), rows).console())


@app.command()
def plan(
    clients: Annotated[int, typer.Option(help="Nodes in the federation.")],
    malicious: Annotated[int, typer.Option(help="Suspected bad ones among them.")],
    sample: Annotated[float | None, typer.Option(help="Nodes sampled a round: a count, or a fraction below 1. Default: find one.")] = None,
    max_kappa: Annotated[float | None, typer.Option(help="Find the smallest sample with a κ of this at most.")] = None,
    silent: Annotated[float, typer.Option(help="Honest nodes that do not answer: a count, or a share below 1.")] = 0.0,
    rounds: Annotated[int, typer.Option(help="Rounds of the run.")] = 100,
    epsilon: Annotated[float, typer.Option(help="Acceptable probability that some round has more bad nodes than f.")] = 0.01,
    rule: Annotated[str, typer.Option(help="A rule or chain by name.")] = "nnm+trimmed-mean",
    noise: Annotated[float | None, typer.Option(help="Today's √d σ/‖g‖, to learn the batch size needed.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Which f to declare, how many clients to sample, and what that promises; exit status 1 if it is impossible."""
    import json as encoder

    from flwr_byzantine.theory import advice as planning

    size = None if sample is None else max(1, int(sample * clients)) if 0 < sample < 1 else int(sample)
    advice = planning.advise(clients, malicious, size, rounds, epsilon, rule, noise, max_kappa, silent)
    if json:
        typer.echo(encoder.dumps(advice.to_dict(), indent=1))
    else:
        title = "Plan" if advice.sampling.feasible else "Impossible as asked"
        console.print(Table.of(title, ("what", "value", "meaning"), advice.rows()).console())
        if rows := advice.curve_rows():
            columns = ("sample size", "silent", "declare f", "κ", "replies of the run")
            console.print(Table.of(f"What a larger sample buys, {rule}", columns, rows).console())
    if not advice.sampling.feasible:
        raise typer.Exit(1)


@app.command()
def audit(
    strategy: Annotated[str, typer.Argument(help="MODULE:STRATEGY, a class or a function without arguments.")],
    legacy: Annotated[bool, typer.Option("--legacy", help="The strategy is of Flower's legacy API.")] = False,
    f: Annotated[int, typer.Option(min=1, max=3, help="Attackers among the thirteen clients; given to the strategy.")] = 2,
    options: Annotated[str, typer.Option(help="Further constructor arguments, as JSON.")] = "{}",
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Send hostile replies of every kind to any Flower strategy; exit status 1 unless it survives them all."""
    import json as encoder
    from dataclasses import asdict

    from flwr_byzantine.experiments import audit as auditing

    make = auditing.load_strategy(strategy, f, _parsed(options))
    findings = auditing.audit(make, auditing.BATTERY, f, legacy)
    clean = all(finding.outcome == "survived" for finding in findings)
    if json:
        typer.echo(encoder.dumps([asdict(finding) for finding in findings], indent=1))
    elif clean:
        say(console, auditing.summary(strategy, findings))
    else:
        console.print(auditing.table(strategy, findings).console())
    if not clean:
        raise typer.Exit(1)


def _parsed(options: str) -> Any:
    import json

    try:
        return json.loads(options)
    except ValueError as error:
        raise InvalidParameter(f"audit: --options must be JSON such as '{{\"m\": 5}}', got {options!r} ({error})") from None


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(help="TOML file of the sweep.")],
    results: Annotated[Path | None, typer.Option(help="JSON-lines file of the results. Default: NAME.jsonl here.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="How many cells run at once. Default: the file's, else one a core.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run cells that failed before again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")] = False,
) -> None:
    """Run a grid of experiments, in parallel and resumable; exit status 1 if a cell failed, 2 for a mistake in the file."""
    from flwr_byzantine.experiments.sweep.command import command

    raise typer.Exit(command(config, results, processes, retry_failed, dry_run, console))


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="The JSON lines that a sweep wrote.")],
    out: Annotated[Path | None, typer.Option(help="A directory to write into. Default: beside RESULTS, with -report.")] = None,
    by: Annotated[list[str] | None, typer.Option(help="A configuration key with a table for each value. Default: all that vary.")] = None,
    choose: Annotated[list[str] | None, typer.Option(help="A hyper-parameter to choose by the worst case on the validation split.")] = None,
    published: Annotated[Path | None, typer.Option(help="TOML file of published figures to show beside ours.")] = None,
) -> None:
    """Worst-case tables, curves, heat-maps and one HTML page from a sweep's results."""
    from flwr_byzantine.experiments import report as reporting

    with console.status("drawing"):
        written = reporting.write(results, out or results.with_name(f"{results.stem}-report"), by or None, choose or (), published or ())
    reporting.to_console(written, console)


@app.command()
def bench(
    sizes: Annotated[list[str] | None, typer.Argument(help="Updates x coordinates, e.g. 32x1e6 100x2e5.")] = None,
    rule: Annotated[list[str] | None, typer.Option(help="Only this rule or chain; may be repeated.")] = None,
    full: Annotated[bool, typer.Option("--full", help="11 to 1000 updates of 1e4 to 1e7 coordinates, as memory allows.")] = False,
    claims: Annotated[bool, typer.Option("--claims", help="Measure the claimed ratios; exit status 1 where one fails.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one contestant gets for one rule.")] = 60.0,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file.")] = None,
) -> None:
    """Speed of every rule against the peers found installed and against the machine's limits, in one run."""
    from flwr_byzantine.experiments.bench import command

    if not command.run(console, sizes or [], rule or [], full, claims, timeout, json, plot, markdown):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; the package's errors are one line and exit status 2."""
    never_fail_to_encode()
    try:
        app()
    except ByzantineError as error:
        say(console, f"error: {error}", "red")
        sys.exit(2)
    except ModuleNotFoundError as error:
        say(console, SIMULATION.format(error=error), "red")
        sys.exit(2)
