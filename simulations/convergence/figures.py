"""The pictures of the convergence study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from flwr_byzantine.monitor.show.colours import INK, LINE, PALETTE, QUIET
from flwr_byzantine.monitor.show.figures import RC, svg_of

Lines = list[dict[str, Any]]
SHOWN = ("mean", "krum", "multi-krum", "median", "geometric-median", "trimmed-mean", "nnm+trimmed-mean")
COLOURS = dict(zip(SHOWN, PALETTE, strict=True))
STYLE = {**RC, "text.parse_math": True}  # labels hold formulas
LABEL = r"mean of $\|\nabla Q(w_k)\|^2$"


def draw(lines: Lines, folder: Path) -> list[Path]:
    """All pictures, as PNG and as SVG, which is dark on a dark screen; returns the PNG files."""
    pictures = {"attacks": attacks, "byzantine": byzantine, "rate": rate, "basin": basin, "condition": condition}
    files = []
    for name, picture in pictures.items():
        with mpl.rc_context(STYLE):
            figure = picture(lines)
            (folder / f"{name}.svg").write_bytes(svg_of(figure))
            figure.savefig(folder / f"{name}.png", dpi=110)
        plt.close(figure)
        files.append(folder / f"{name}.png")
    return files


def select(lines: Lines, **wanted: Any) -> Lines:
    """The lines of the results that have these values."""
    return [line for line in lines if all(line[name] == value for name, value in wanted.items())]


def total(line: dict[str, Any]) -> float:
    """The sum of the bound's terms; NaN where there is no bound."""
    return float("nan") if line["bound"] is None else sum(line["bound"].values())


def _curve(panel: Any, line: dict[str, Any], **style: Any) -> None:
    panel.loglog(np.array(line["k"]) + 1, line["curve"], color=COLOURS.get(line["rule"], QUIET), **style)


def attacks(lines: Lines) -> Any:
    """Curves of the main rules, a row for each objective, a column for each of four attacks."""
    mine = select(lines, experiment="attacks")
    objectives = list(dict.fromkeys(line["objective"] for line in mine))
    names = ("none", "sign flip x10", "takeover", "ALIE z=1.5")
    figure, panels = plt.subplots(len(objectives), 4, figsize=(14, 3.2 * len(objectives)), sharex=True, squeeze=False, layout="constrained")
    for row, objective in zip(panels, objectives, strict=True):
        for panel, attack in zip(row, names, strict=True):
            for line in select(mine, objective=objective, attack=attack):
                if line["rule"] in SHOWN:
                    _curve(panel, line, label=line["rule"])
            _bound_line(panel, select(mine, objective=objective, attack=attack, rule="trimmed-mean"))
            panel.set(title=f"{objective}, {attack}", ylim=(1e-4, 1e5))
        row[0].set_ylabel(LABEL)
    for panel in panels[-1]:
        panel.set_xlabel("step k")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=8)
    return figure


def _bound_line(panel: Any, lines: Lines) -> None:
    for line in lines:
        if line["bound"] is not None:
            k, terms = np.array(line["k"]) + 1, line["bound"]
            panel.loglog(k, terms["initial"] * line["K"] / k + terms["noise"] + terms["bias"], "--", color=INK, label="bound, trimmed mean")


def byzantine(lines: Lines) -> Any:
    """Against f, the mean of ‖∇Q‖² over the last fifth of the steps, under the worst attack."""
    mine = select(lines, experiment="byzantine")
    figure, panel = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    for rule in dict.fromkeys(line["rule"] for line in mine):
        own = select(mine, rule=rule)
        counts = sorted({line["f"] for line in own})
        worst = [max(line["tail"] for line in select(own, f=f)) for f in counts]
        style: dict[str, Any] = {"color": COLOURS[rule], "label": rule} if rule in SHOWN else {"color": LINE, "zorder": 1}
        panel.semilogy(counts, worst, "o-", ms=3, **style)
    panel.set(xlabel="f of n = 11 (grey: all other rules)", ylabel=LABEL + ", last fifth, worst attack", ylim=(None, 1e3))
    panel.legend()
    return figure


def slope(lines: Lines) -> float:
    """Fitted slope of log min E‖∇Q‖² against log K."""
    return float(np.polyfit(np.log([line["K"] for line in lines]), np.log([line["min"] for line in lines]), 1)[0])


def rate(lines: Lines) -> Any:
    """min_k E‖∇Q‖² against K with γ in proportion to 1/√K."""
    mine = select(lines, experiment="rate")
    figure, panel = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    for rule in dict.fromkeys(line["rule"] for line in mine):
        own = select(mine, rule=rule)
        panel.loglog(
            [line["K"] for line in own], [line["min"] for line in own], "o-", color=COLOURS[rule], label=f"{rule}: {slope(own):.2f}"
        )
    lengths = np.array(sorted({line["K"] for line in mine}))
    panel.loglog(lengths, mine[0]["min"] * (lengths / lengths[0]) ** -0.5, "--", color=INK, label="slope -1/2")
    panel.set(xlabel="K", ylabel=r"min over k < K of mean $\|\nabla Q\|^2$")
    panel.legend(title="fitted slope")
    return figure


def basin(lines: Lines) -> Any:
    """The radius that runs end in, √(mean ‖∇Q‖² over the last fifth), against noise, batch size and momentum."""
    figure, panels = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    what = {
        "basin noise": lambda line: line["noise"][2],
        "basin batch": lambda line: line["batch"],
        "basin momentum": lambda line: (1 - line["beta"]) / (1 + line["beta"]),
    }
    names = (r"noise $d\sigma^2$", "batch size b", r"worker momentum: $(1-\beta)/(1+\beta)$")
    for panel, (experiment, key), name in zip(panels, what.items(), names, strict=True):
        mine = select(lines, experiment=experiment)
        for rule in dict.fromkeys(line["rule"] for line in mine):
            own = select(mine, rule=rule)
            panel.loglog([key(line) for line in own], [line["tail"] ** 0.5 for line in own], "o-", color=COLOURS[rule], label=rule)
        panel.set(xlabel=name, ylabel=r"basin radius $\sqrt{\mathrm{mean}\ \|\nabla Q\|^2}$")
    panels[0].legend()
    return figure


def condition(lines: Lines) -> Any:
    """Curves where the noise shrinks with the gradient, and where it does not."""
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.2), sharey=True, layout="constrained")
    for panel, experiment in zip(panels, ("condition holds", "condition fails"), strict=True):
        for line in select(lines, experiment=experiment, objective="quadratic", attack="ALIE z=1.5"):
            _curve(panel, line, label=line["rule"])
            panel.axhline(total(line), color=COLOURS[line["rule"]], ls=":")
        panel.set(title=experiment + " (dotted: the bound at K)", xlabel="step k")
    panels[0].set_ylabel(LABEL)
    panels[0].legend()
    return figure
