"""The demo's results as a table, a picture and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.demo.apps import Outcome
from flwr_byzantine.experiments.demo.runner import ATTACKS, CERTIFIED, NUM_MALICIOUS, STRATEGIES, Run
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.monitor.show.colours import PALETTE, QUIET
from flwr_byzantine.monitor.show.figures import RC, svg_of
from flwr_byzantine.monitor.show.table import Table
from flwr_byzantine.rules.parsing import FEDAVG

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
COLOURS = dict(zip((FEDAVG, "nnm+trimmed-mean", "multi-krum", "krum", "trimmed-mean"), PALETTE, strict=False))
KINDS = (".png", ".svg", ".pdf")


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


def check_picture(path: Path) -> None:
    """Say before anything runs what would keep `plot` from drawing.

    Raises:
        InvalidParameter: a file that is no PNG, SVG or PDF, or a folder that is not there.
    """
    if path.suffix.lower() not in KINDS:
        raise InvalidParameter(f"demo: the picture is a file that ends in {', '.join(KINDS)}, got {path}")
    if not path.parent.is_dir():
        raise InvalidParameter(f"demo: no folder {path.parent} to write the picture into; make it, or give another --plot")


def plot(results: Results, path: Path) -> None:
    """Write the picture, as the file's name ends; an SVG is dark where the screen is."""
    import matplotlib as mpl

    with mpl.rc_context(RC):
        figure = picture(results)
        if path.suffix.lower() == ".svg":
            path.write_bytes(svg_of(figure))
        else:
            figure.savefig(path, dpi=110)


def picture(results: Results) -> Figure:
    """Accuracy against rounds, one panel for each attack; below, what the certificates say with skewed and with like data."""
    from matplotlib.figure import Figure as New

    figure = New(figsize=(9.6, 7), layout="constrained")
    (*above,), (*below,) = figure.subplots(2, len(ATTACKS), height_ratios=(3, 2), sharex=True, sharey="row")
    for panel, attack in zip(above, ATTACKS, strict=True):
        _draw_accuracy(panel, results, attack)
    for panel, alike in zip(below, (False, True), strict=True):
        _draw_certificates(panel, {run: outcome for run, outcome in results.items() if run.alike is alike})
    for panel in (*above, *below):
        panel.xaxis.get_major_locator().set_params(integer=True)
    above[0].set_ylabel("test accuracy (%)")
    below[0].set_ylabel("bound on sin α")
    figure.legend(*above[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure


def _draw_accuracy(panel: Any, results: Results, attack: str) -> None:
    panel.plot([100 * value for value in results[Run(FEDAVG, "")].accuracy], "--", color=QUIET, label="FedAvg, no attack")
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
    panel.axhspan(0.1, 1, color=PALETTE[2], alpha=0.15, linewidth=0)
    panel.text(0.99, 0.04, "certified: sin α < 1", transform=panel.transAxes, ha="right", fontsize=9)
    data = "like data (iid)" if any(run.alike for run in results) else "skewed labels"
    panel.set(title=f"certificates, {data}: {attack}", xlabel="round", yscale="log", ylim=(0.1, SAYS_NOTHING))
    panel.yaxis.set_major_formatter("{x:g}")


def to_json(results: Results, task: Task, rounds: int) -> dict[str, Any]:
    """Settings, and every run round by round."""
    runs = [
        {**asdict(run), "attack": run.attack or None, "final_accuracy": outcome.final, **asdict(outcome), "certified": outcome.certified}
        for run, outcome in results.items()
    ]
    attack_settings = {name: str(attack) for name, attack in ATTACKS.items()}
    return {"task": asdict(task), "rounds": rounds, "num_malicious": NUM_MALICIOUS, "attacks": attack_settings, "runs": runs}


def from_json(data: dict[str, Any]) -> Results:
    """The results that `to_json` was given."""
    known = {item.name for item in fields(Outcome)}
    return {
        Run(run["strategy"], run["attack"] or "", run["alike"]): Outcome(**{name: run[name] for name in known & run.keys()})
        for run in data["runs"]
    }


def save_json(results: Results, task: Task, rounds: int, path: Path) -> None:
    """Write `to_json` to a file."""
    path.write_text(json.dumps(to_json(results, task, rounds), indent=1), encoding="utf-8")
