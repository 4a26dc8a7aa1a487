"""The command for grids of experiments, `sweep`; `report` shows what it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flwr_byzantine.declare.extras import ENGINE, require
from flwr_byzantine.experiments.cli.terminal import console


def sweep(
    config: Annotated[Path, typer.Argument(help="TOML file of the sweep.")],
    results: Annotated[Path | None, typer.Option(help="JSON-lines file of the results. Default: NAME.jsonl here.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="How many cells run at once. Default: the file's, else one a core.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run cells that failed before again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")] = False,
    ray: Annotated[str | None, typer.Option(help='Run cells on a Ray cluster: "auto", HOST:PORT or ray://HOST:PORT.')] = None,
    ray_gpus: Annotated[float, typer.Option(min=0, help="GPUs of a cell on the cluster, or a share of one.")] = 0.0,
    part: Annotated[str | None, typer.Option(help="K/N: only the Kth of N parts of the cells, for machines that share nothing.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time went: clients, attack, rule, evaluation, ...")] = False,
) -> None:
    """Run a grid of experiments, in parallel and resumable; exit status 1 if a cell failed, 2 for a mistake in the file."""
    require("sweep", "simulation", *ENGINE)
    from flwr_byzantine.experiments.sweep.cluster import Cluster
    from flwr_byzantine.experiments.sweep.command import command
    from flwr_byzantine.monitor.show.terminal import warn

    cluster = None if ray is None else Cluster(ray, ray_gpus, on_lost=warn)
    raise typer.Exit(command(config, results, processes, retry_failed, dry_run, console, cluster, profile, part))
