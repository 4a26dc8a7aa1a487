"""The demo's results as a table, a picture and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.demo.apps import Outcome
from flwr_byzantine.experiments.demo.runner import ATTACKS, CERTIFIED, NUM_MALICIOUS, STRATEGIES, Run
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
SAYS_NOTHING = 30.0  # a bound on sin α of this or more: the replies are too noisy, or too different, to say anything
WIDTHS = {"multi-krum": 4.5}  # drawn wide, since NNM + trimmed mean often runs over it
COLOURS = {FEDAVG: "#b2182b", "krum": "#7570b3", "multi-krum": "#1b9e77", "trimmed-mean": "#d95f02", "nnm+trimmed-mean": "#08519c"}


def table(results: Results) -> Table:
    """One row for each run."""
    kept = f"malicious kept (of {NUM_MALICIOUS})"
    header = ("attack", "strategy", "accuracy", kept, "honest dropped", "rounds certified", "best margin", "s / round")
    ends = [index for index, run in enumerate(results) if (run.strategy == STRATEGIES[-1] and not run.alike) or not run.attack]
    rows = [_row(run, outcome) for run, outcome in results.items()]
    return Table.of("Accuracy on the test set (mean of the last three rounds)", header, rows, right=range(2, 8), ends=ends)


def _row(run: Run, outcome: Outcome) -> list[str]:
    attack = run.attack or NO_ATTACK
    head = [f"{attack}, like data" if run.alike else attack, LABELS[run.strategy]]
    if outcome.error:
        return [*head, "failed", "", "", "", "", ""]
    kept = f"{outcome.malicious_kept:.1f}" if run.attack else "-"
    held = f"{outcome.certified} of {len(outcome.sin_alpha)}" if outcome.sin_alpha else "-"
    margin = "-" if outcome.margin is None else f"{outcome.margin:.2f}"
    return [*head, f"{100 * outcome.final:.1f} %", kept, f"{outcome.honest_dropped:.1f}", held, margin, f"{mean(outcome.seconds):.2f}"]


def plot(results: Results, path: Path) -> None:
    """Accuracy against rounds, one panel for each attack; below, what the certificates say with skewed and with like data."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shape: dict[str, Any] = {"figsize": (11, 7), "height_ratios": (3, 2), "layout": "constrained", "sharex": True, "sharey": "row"}
    figure, ((*above,), (*below,)) = plt.subplots(2, len(ATTACKS), **shape)
    for panel, attack in zip(above, ATTACKS, strict=True):
        _draw_accuracy(panel, results, attack)
    for panel, alike in zip(below, (False, True), strict=True):
        _draw_certificates(panel, {run: outcome for run, outcome in results.items() if run.alike is alike})
    for panel in (*above, *below):
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
    above[0].set_ylabel("test accuracy (%)")
    below[0].set_ylabel("bound on sin α")
    figure.legend(*above[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_accuracy(panel: Any, results: Results, attack: str) -> None:
    panel.plot([100 * value for value in results[Run(FEDAVG, "")].accuracy], "--", color="grey", label="FedAvg, no attack")
    for strategy in STRATEGIES:
        accuracy = [100 * value for value in results[Run(strategy, attack)].accuracy]
        panel.plot(accuracy, color=COLOURS[strategy], label=LABELS[strategy], linewidth=WIDTHS.get(strategy, 1.6))
    panel.set(title=f"4 of 20 clients malicious: {attack}", ylim=(0, 100))


def _draw_certificates(panel: Any, results: Results) -> None:
    """Bound on sin α by the certificate of each round, under the last attack; crosses on the upper edge where the round says nothing."""
    attack = list(ATTACKS)[-1]
    for strategy in CERTIFIED:
        sines = next((outcome.sin_alpha for run, outcome in results.items() if (run.strategy, run.attack) == (strategy, attack)), [])
        known = [SAYS_NOTHING if sine is None else min(sine, SAYS_NOTHING) for sine in sines]
        rounds = range(1, len(known) + 1)
        panel.plot(rounds, known, color=COLOURS[strategy])
        panel.plot(rounds, [sine if sine == SAYS_NOTHING else math.nan for sine in known], "x", color=COLOURS[strategy], clip_on=not known)
    panel.axhspan(0.1, 1, color="#1b9e77", alpha=0.12)
    panel.text(0.99, 0.04, "certified: sin α < 1", transform=panel.transAxes, ha="right", fontsize=9)
    data = "like data (iid)" if any(run.alike for run in results) else "skewed labels (Dirichlet 0.5)"
    panel.set(title=f"certificates, {data}: {attack}", xlabel="round", yscale="log", ylim=(0.1, SAYS_NOTHING))


def to_json(results: Results, task: Task, rounds: int) -> dict[str, Any]:
    """Settings, and every run round by round."""
    runs = [
        {**asdict(run), "attack": run.attack or None, "final_accuracy": outcome.final, **asdict(outcome), "certified": outcome.certified}
        for run, outcome in results.items()
    ]
    attack_settings = {name: str(attack) for name, attack in ATTACKS.items()}
    return {"task": asdict(task), "rounds": rounds, "num_malicious": NUM_MALICIOUS, "attacks": attack_settings, "runs": runs}


def save_json(results: Results, task: Task, rounds: int, path: Path) -> None:
    """Write `to_json` to a file."""
    path.write_text(json.dumps(to_json(results, task, rounds), indent=1), encoding="utf-8")
