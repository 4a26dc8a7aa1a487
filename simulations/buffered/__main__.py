"""The study: simulated seconds to 90 % of the accuracy of rounds that wait. Writes results.jsonl and the table in README.md.

python -m simulations.buffered
"""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path

import numpy as np
from flwr.serverapp.strategy import FedAvg, FedAvgM, Strategy

from flwr_byzantine import Buffered, Robust, attacks
from simulations.buffered.federation import Setting, learn, time_to

FOLDER = Path(__file__).parent
RULE, ROUNDS, BUFFERS, SEEDS, SHARE = "nnm+trimmed-mean", 40, 400, (0, 1, 2), 0.9
QUORUM = 0.8  # of the nodes: a round that waits goes on then, without any grace, the quickest that `Robust` can be set to
ATTACKS = {"none": None, "sign-flip": attacks.SignFlip(), "alie": attacks.ALIE(z=1.5)}
WAYS = {  # name -> size of a buffer, 0 for rounds that wait, and the server's step along the aggregate
    "waiting, step 1.5": (0, 1.5),
    "buffers of 25": (25, 1.0),
    "buffers of 25, step 1.5": (25, 1.5),
    "buffers of 30, step 1.5": (30, 1.5),
}


def made(below: FedAvg, bad: int, size: int, step: float) -> Strategy:
    """A strategy of this kind, in a federation with so many Byzantine nodes."""
    if size:
        return Buffered(RULE, size, below, num_malicious=bad, server_learning_rate=step)
    if step != 1:
        below = FedAvgM(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1, server_learning_rate=step, server_momentum=0.0)
    return Robust(RULE, below, f=bad)


def trial(setting: Setting, attack: str, ways: dict[str, tuple[int, float]] = WAYS, rounds: int = ROUNDS) -> dict[str, object]:
    """Accuracy of rounds that wait, and the seconds to `SHARE` of it, then and otherwise, over the same nodes, data and attack."""
    bad, known = setting.hostile, ATTACKS[attack]
    curve, _ = learn(setting, known, partial(made, bad=bad, size=0, step=1.0), rounds, enough=QUORUM)
    target = SHARE * float(np.mean([accuracy for _, accuracy in curve[-3:]]))
    found = {"attack": attack, "seed": setting.seed, "accuracy": round(target / SHARE, 4), "waiting": time_to(curve, target)}
    for name, (size, step) in ways.items():
        curve, _ = learn(
            setting, known, partial(made, bad=bad, size=size, step=step), BUFFERS if size else rounds, enough=QUORUM, until=target
        )
        found[name] = time_to(curve, target)
    return found


def table(lines: list[dict[str, float]]) -> str:
    """Seconds by attack, mean over the seeds, and their ratio to those of rounds that wait: mean, and the largest."""
    head = ["attack", "accuracy, waiting", "seconds, waiting", *WAYS]
    rows = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    for attack in ATTACKS:
        own = [line for line in lines if line["attack"] == attack]
        cells = [f"{100 * np.mean([line['accuracy'] for line in own]):.1f} %", f"{np.mean([line['waiting'] for line in own]):.0f}"]
        for name in WAYS:
            ratios = [line[name] / line["waiting"] for line in own]
            cells.append(f"{np.mean([line[name] for line in own]):.0f}: {np.mean(ratios):.2f} (at most {max(ratios):.2f})")
        rows.append(f"| {attack} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Run what is not in the results yet, and write the table."""
    logging.disable(logging.CRITICAL)
    results, page = FOLDER / "results.jsonl", FOLDER / "README.md"
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []
    for attack in ATTACKS:
        for seed in SEEDS:
            if not any((line["attack"], line["seed"]) == (attack, seed) for line in lines):
                lines.append(trial(Setting(seed=seed), attack))
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- results -->")
    after = rest.partition("<!-- end of results -->")[2]
    page.write_text(f"{before}<!-- results -->\n\n{table(lines)}\n\n<!-- end of results -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
