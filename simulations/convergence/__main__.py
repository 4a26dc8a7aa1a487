"""`python -m simulations.convergence`: run the study, draw it, say what it shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from flwr_byzantine.monitor.show.printing import show
from flwr_byzantine.monitor.show.table import Table
from flwr_byzantine.monitor.show.terminal import say
from simulations.convergence import figures, study

console = Console()


def main(
    quick: Annotated[bool, typer.Option(help="Fewer steps, seeds and rules: under a minute.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for results.jsonl and the pictures.")] = Path("convergence"),
    draw_only: Annotated[bool, typer.Option(help="Run nothing: draw the results in the folder, with the bounds of today.")] = False,
) -> None:
    """Byzantine-resilient SGD on objectives with known constants, against the theory's bounds."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "results.jsonl"
    lines = _anew(file) if draw_only else _run(quick, file)
    figures.draw(lines, out)
    show(reached(lines), console)
    say(console, bounded(lines))
    say(console, f"results and pictures: {out}")


def _anew(file: Path) -> list[dict[str, Any]]:
    lines = [study.bounded_anew(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    study.write(lines, file)
    return lines


def _run(quick: bool, file: Path) -> list[dict[str, Any]]:
    work = study.configurations(quick)
    with Progress(console=console) as bar:
        task = bar.add_task(f"{len(work)} configurations", total=len(work))
        return study.run_all(work, file, lambda: bar.advance(task))


def bounded(lines: list[dict[str, Any]]) -> str:
    """A sentence on how the theory's bound compares with what was measured."""
    held = [line for line in lines if line["bound"] is not None]
    over = [line for line in held if measured(line) > figures.total(line)]
    within = {factor: sum(figures.total(line) <= factor * measured(line) for line in held) for factor in (10, 100)}
    close = " and ".join(f"within a factor {factor} in {count}" for factor, count in within.items())
    return f"bound: {len(held)} configurations where it applies, exceeded in {len(over)}, {close}"


def measured(line: dict[str, Any]) -> float:
    """The measured quantity that the bound is on: the minimum where the condition holds in every step, else the mean over the steps."""
    return float(line["min"] if line["experiment"] == "condition holds" else line["mean"])


def reached(lines: list[dict[str, Any]]) -> Table:
    """A table of the mean ‖∇Q‖² over the last fifth of each run, rules × attacks, for the worst objective."""
    mine = figures.select(lines, experiment="attacks")
    names = list(dict.fromkeys(line["attack"] for line in mine))
    rows = []
    for rule in dict.fromkeys(line["rule"] for line in mine):
        worst = [max(line["tail"] for line in figures.select(mine, rule=rule, attack=attack)) for attack in names]
        rows.append((rule, *(f"{value:.2g}" for value in worst)))
    title = "Mean of ‖∇Q‖² over the last fifth of the steps, worst objective"
    return Table.of(title, ("rule", *names), rows, right=range(1, 1 + len(names)))


if __name__ == "__main__":
    typer.run(main)
