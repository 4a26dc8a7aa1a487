"""The study: rules, and plain averaging of factors, without attackers and with three of twelve clients malicious.

python -m simulations.lora
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from flwr_byzantine import InfeasibleRound, Robust, rules
from flwr_byzantine.strategy.in_process import InProcess
from simulations.lora import network

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))  # what the app's clients do, in NumPy
from lora_digits.adapters import LORA, RANKS, cut, malicious, padded  # noqa: E402

RESULTS, CLIENTS, BAD, ROUNDS, SEEDS = FOLDER / "results.jsonl", 12, 3, 20, (0, 1, 2)
RULES = ("factors", "mean", "krum", "multi-krum", "geometric-median", "nnm+krum", "nnm+multi-krum", "nnm+geometric-median")
FORMS = {"svd": LORA, "stack": replace(LORA, aggregate="stack"), "fresh": replace(LORA, aggregate="stack", fresh=True)}
FEW = ("mean", "multi-krum", "nnm+krum")
CELLS = [(rule, "svd", attack) for attack in ("none", "hidden") for rule in RULES]
CELLS += [(rule, "svd", "turned") for rule in ("factors", *FEW)]
CELLS += [(rule, form, attack) for form in ("stack", "fresh") for attack in ("none", "hidden") for rule in FEW]


def reply(node: int, model: network.Arrays, rule: str, form: str, attack: str, seed: int) -> network.Arrays:
    """What a client sends in answer to a broadcast adapter: of rank 4, 8 or 16; the first three are malicious where there is an attack."""
    rank, lora = RANKS[node % 3], FORMS[form]
    own = network.fresh(rank, seed=node)
    begun = cut(model, rank) if rule == "factors" else lora.fitted(model, own)
    known = lora.products(model) if lora.fresh else {}
    trained = network.train(begun, lora, slice(node, None, CLIENTS), seed=seed * 1000 + node, frozen=known)
    if attack != "none" and node < BAD:
        trained = malicious("flip" if attack == "hidden" and node else attack, model, begun, trained, seed)
    return padded(trained) if rule == "factors" else trained


def run(rule: str, form: str, attack: str, seed: int, rounds: int = ROUNDS) -> dict[str, object]:
    """The accuracy after the last round, the largest truncation of a round, and how many rounds were skipped."""
    made = rules.Mean() if rule in ("factors", "mean") else rules.parse(rule, BAD)
    server = InProcess(Robust(made, lora=None if rule == "factors" else FORMS[form]))
    model = network.fresh(max(RANKS), seed=100 + seed)
    try:
        with server.running(model):
            for number in range(1, rounds + 1):
                model = server.round(number, model, {k: reply(k, model, rule, form, attack, seed * 100 + number) for k in range(CLIENTS)})
    except InfeasibleRound:
        pass
    reports = server.core.reports
    found = {"accuracy": round(network.accuracy(model, FORMS[form]), 2), "skipped": sum(not report.aggregated for report in reports)}
    lost = [report.truncation for report in reports if report.truncation is not None]
    return {"rule": rule, "form": form, "attack": attack, "seed": seed, **found, "truncation": round(max(lost, default=0.0), 4)}


def main() -> None:
    """Run what is not in the results yet, one line of JSON for each run."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    done = {tuple(json.loads(line)[key] for key in ("rule", "form", "attack", "seed")) for line in lines}
    for rule, form, attack in CELLS:
        for seed in SEEDS:
            if (rule, form, attack, seed) not in done:
                with RESULTS.open("a", encoding="utf-8") as file, np.errstate(all="ignore"):
                    file.write(json.dumps(run(rule, form, attack, seed)) + "\n")


if __name__ == "__main__":
    main()
