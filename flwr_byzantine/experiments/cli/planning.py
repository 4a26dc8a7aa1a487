"""The command `plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from flwr_byzantine.experiments.cli.terminal import console, print_json
from flwr_byzantine.monitor.show.printing import show
from flwr_byzantine.monitor.show.table import Table


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
    from flwr_byzantine.theory import advice as planning

    size = None if sample is None else max(1, int(sample * clients)) if 0 < sample < 1 else int(sample)
    advice = planning.advise(clients, malicious, size, rounds, epsilon, rule, noise, max_kappa, silent)
    if json:
        print_json(advice.to_dict())
    else:
        show(Table.of("Plan" if advice.sampling.feasible else "Impossible as asked", ("what", "value", "meaning"), advice.rows()), console)
        if rows := advice.curve_rows():
            columns = ("sample size", "silent", "declare f", "κ", "replies of the run")
            show(Table.of(f"What a larger sample buys, {rule}", columns, rows), console)
    if not advice.sampling.feasible:
        raise typer.Exit(1)
