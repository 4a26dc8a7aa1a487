"""The demo's results as a table, a picture and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.demo.apps import Outcome
from flwr_byzantine.experiments.demo.runner import ATTACKS, NUM_MALICIOUS, STRATEGIES, Run
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.rules.parsing import FEDAVG
from flwr_byzantine.show.table import Table

Results = dict[Run, Outcome]
LABELS = {
    FEDAVG: "FedAvg",
    "krum": "Krum",
    "multi-krum": "Multi-Krum",
    "trimmed-mean": "trimmed mean",
    "nnm+trimmed-mean": "NNM + trimmed mean",
}
WIDTHS = {"multi-krum": 4.5}  # drawn wide, since NNM + trimmed mean often runs over it
COLOURS = {FEDAVG: "#b2182b", "krum": "#7570b3", "multi-krum": "#1b9e77", "trimmed-mean": "#d95f02", "nnm+trimmed-mean": "#08519c"}


def table(results: Results) -> Table:
    """One row for each run."""
    header = ("attack", "strategy", "accuracy", f"malicious kept (of {NUM_MALICIOUS})", "honest dropped", "rounds certified", "s / round")
    ends = [index for index, run in enumerate(results) if run.strategy == STRATEGIES[-1] or not run.attack]
    rows = [_row(run, outcome) for run, outcome in results.items()]
    return Table.of("Accuracy on the test set (mean of the last three rounds)", header, rows, right=range(2, 7), ends=ends)


def _row(run: Run, outcome: Outcome) -> list[str]:
    head = [run.attack or NO_ATTACK, LABELS[run.strategy]]
    if outcome.error:
        return [*head, "failed", "", "", "", ""]
    kept = f"{outcome.malicious_kept:.1f}" if run.attack else "-"
    held = f"{outcome.certified} of {len(outcome.sin_alpha)}" if outcome.sin_alpha else "-"
    return [*head, f"{100 * outcome.final:.1f} %", kept, f"{outcome.honest_dropped:.1f}", held, f"{mean(outcome.seconds):.2f}"]


def plot(results: Results, path: Path) -> None:
    """Accuracy against rounds, one panel for each attack."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(ATTACKS), figsize=(11, 4.2), sharey=True, layout="constrained")
    clean = results[Run(FEDAVG, "")]
    for panel, attack in zip(panels, ATTACKS, strict=True):
        panel.plot([100 * value for value in clean.accuracy], "--", color="grey", label="FedAvg, no attack")
        for strategy in STRATEGIES:
            accuracy = [100 * value for value in results[Run(strategy, attack)].accuracy]
            panel.plot(accuracy, color=COLOURS[strategy], label=LABELS[strategy], linewidth=WIDTHS.get(strategy, 1.6))
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set(title=f"4 of 20 clients malicious: {attack}", xlabel="round", ylim=(0, 100))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("test accuracy (%)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def to_json(results: Results, task: Task, rounds: int) -> dict[str, Any]:
    """Settings, and every run round by round."""
    runs = [
        {"strategy": run.strategy, "attack": run.attack or None, "final_accuracy": outcome.final, **asdict(outcome)}
        for run, outcome in results.items()
    ]
    attack_settings = {name: str(attack) for name, attack in ATTACKS.items()}
    return {"task": asdict(task), "rounds": rounds, "num_malicious": NUM_MALICIOUS, "attacks": attack_settings, "runs": runs}


def save_json(results: Results, task: Task, rounds: int, path: Path) -> None:
    """Write `to_json` to a file."""
    path.write_text(json.dumps(to_json(results, task, rounds), indent=1), encoding="utf-8")
