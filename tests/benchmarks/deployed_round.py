"""Where the time of a deployed round goes: SuperLink and SuperNodes on loopback, with TLS; ours against Flower's, turn about in one run.

Nodes train nothing, so that the server's part is as large as it can be. Each reply is a model of so many float32; ours write checkpoint
and report. A round is divided, moment by moment, into sending the model, inflation (from a reply's bytes to Flower's objects), our
inspection, aggregation (of Flower's strategies with the reading of the replies), the writing of files, and the rest: nodes at work,
and the transport of what they send. All on one machine: nodes and server take processor time from each other.

Run: python -m tests.benchmarks.deployed_round [NODES VALUES TURNS], by default 10 10000000 4; the first turn compiles and does not count.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.deployment import Federation, write_app

HERE = Path(__file__).parent / "deployed"
STRATEGIES = ("FedAvg", "Flower's Krum", "our Krum", "our NNM + trimmed mean")
OURS = ("writing", "inspection", "aggregation")  # what an averaging strategy does else, or not at all
PARTS = (*OURS, "inflation", "sending")  # of two at a time, the first counts
REST = "nodes and transport"


def played(nodes: int, values: int, turns: int, strategies: Sequence[str]) -> list[dict[str, Any]]:
    """All rounds, as the server app wrote them down."""
    texts = [(HERE / f"{name}.py").read_text() for name in ("server_app", "client_app")]
    with TemporaryDirectory() as name:
        app = write_app(Path(name) / "app", *texts, nodes=0, values=0, turns=0, link=0, strategies="")
        with Federation(name, nodes=nodes) as federation:
            (link,) = federation.pids("link")
            run = federation.run(app, nodes=nodes, values=values, turns=turns, link=link, strategies=", ".join(strategies))
            found: list[dict[str, Any]] = run.result(timeout=3600)
    return found


def divided(found: dict[str, Any]) -> dict[str, float]:
    """Seconds of each part of a round; they add up to it."""
    begin, end = found["begin"][0], found["end"][0]
    spans = [(part, max(since, begin), min(until, end)) for part, since, until in found["spans"]]
    moments = sorted({begin, end, *(moment for _, *both in spans for moment in both)})
    seconds = dict.fromkeys((REST, *reversed(PARTS)), 0.0)
    for since, until in pairwise(moments):
        running = {part for part, first, last in spans if first <= since and until <= last}
        seconds[next((part for part in PARTS if part in running), REST)] += until - since
    return seconds


def measured(found: dict[str, Any]) -> dict[str, float]:
    """A round, its parts, and what it cost the server."""
    seconds, *costs = (after - before for before, after in zip(found["begin"], found["end"], strict=True))
    return {"round": seconds, **divided(found), **dict(zip(("ServerApp CPU", "SuperLink CPU", "requests"), costs, strict=True))}


def shown(rounds: list[dict[str, Any]]) -> None:
    """Print a line for each strategy: medians, and of whole rounds the least and the most."""
    counted = [found for found in rounds if found["turn"] or not rounds[-1]["turn"]]
    each = {name: [measured(found) for found in counted if found["strategy"] == name] for name in STRATEGIES}
    table = {name: {key: median(turn[key] for turn in turns) for key in turns[0]} for name, turns in each.items() if turns}
    print("| strategy |", " | ".join(next(iter(table.values()))), "| least to most |")
    for name, medians in table.items():
        whole = [turn["round"] for turn in each[name]]
        print(f"| {name} |", " | ".join(f"{value:.2f}" for value in medians.values()), f"| {min(whole):.1f} to {max(whole):.1f} |")
    average = table["FedAvg"]
    for name, medians in table.items():
        more = sum(medians[part] - average[part] for part in OURS)
        print(f"{name}: {more:+.2f} s of {', '.join(OURS)} beyond FedAvg's: {100 * more / average['round']:+.1f} % of its round")


def main(nodes: int = 10, values: int = 10_000_000, turns: int = 4, *strategies: str) -> None:
    """Run it and print the table."""
    shown(played(nodes, values, turns, strategies or STRATEGIES))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), *sys.argv[4:])
