"""Made-up results of sweeps, for tests of their report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from flwr_byzantine.experiments.results import Result

RULES = ("fedavg", "krum", "nnm+trimmed-mean")
ATTACKS = ("none", "alie", "sign-flip")
STRENGTH = {"fedavg": 0.0, "krum": 0.5, "median": 0.6, "bulyan": 0.75}


def line(strategy: str, attack: str, accuracy: float | None, seed: int = 0, rounds: int = 8, **config: Any) -> dict[str, Any]:
    """One finished cell whose accuracy rises to `accuracy`; `validation` in config is its validation accuracy."""
    validation = config.pop("validation", accuracy)
    success = config.pop("attack_success", None)
    kept = config.pop("kept", 0.25)
    kept = None if attack == "none" else kept
    options = {name: config.pop(name, {}) for name in ("strategy_options", "attack_options")}
    course = [None if accuracy is None else accuracy * (1 - math.exp(-4 * t / rounds)) for t in range(rounds + 1)]
    full = {"dataset": "digits", "num_clients": 20, "f": 4, "num_malicious": 4, "lr": 0.1, "rounds": rounds, "seed": seed}
    full |= {"strategy": strategy, "attack": attack, **options, **config}
    final = {"accuracy": accuracy, "validation_accuracy": validation, "attack_success": success, "malicious_kept": kept}
    key = json.dumps(full, sort_keys=True)
    versions = {"flwr": "1.41.0", "numpy": "2.4.0"}
    return {
        "key": key,
        "status": "ok",
        "error": "",
        "config": full,
        "course": {"accuracy": course},
        "final": final,
        "seconds": 3.5,
        "versions": versions,
    }


def failed(record: dict[str, Any], error: str = "TypeError: bad <b>option</b>") -> dict[str, Any]:
    return record | {"status": "failed", "error": error, "course": {}, "final": {}}


def synthetic(
    rules: tuple[str, ...] = RULES,
    attacks: tuple[str, ...] = ATTACKS,
    seeds: int = 1,
    settings: tuple[dict[str, Any], ...] = ({},),
    rounds: int = 8,
    spoil: bool = False,
) -> list[dict[str, Any]]:
    """A plausible sweep; with `spoil` some cells fail and some are NaN."""
    rng = np.random.default_rng(7)
    records = []
    for setting in settings:
        hardness = setting.get("f", 4) / 20 + 0.3 * (1 - setting.get("gamma", 0.7))
        for rule in rules:
            for attack in attacks:
                for seed in range(seeds):
                    strength = STRENGTH.get(rule, 0.85)
                    harm = 0.0 if attack == "none" else (1 - strength) * (0.3 + 0.1 * (attacks.index(attack) % 4)) + 0.6 * hardness
                    cost = 0.0 if rule == "fedavg" else 0.05 * hardness
                    accuracy = float(np.clip(0.9 - harm - cost + rng.normal(0, 0.012), 0.08, 0.97))
                    backdoor = {"attack_success": float(rng.uniform(1 - strength, 1)) if attack == "backdoor" else None}
                    record = line(rule, attack, accuracy, seed, rounds, kept=1 - strength, **backdoor, **setting)
                    records.append(_spoilt(record, rng) if spoil else record)
    return records


def _spoilt(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    chance = rng.random()
    if chance < 0.01:
        return failed(record)
    if chance < 0.02 or (record["config"]["strategy"] == "bulyan" and record["config"].get("f", 0) > 3):
        return record | {"final": record["final"] | {"accuracy": None}, "course": {"accuracy": [0.1] + [None] * 8}}
    return record


def store(records: list[dict[str, Any]], path: Path) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def cells_of(records: list[dict[str, Any]]) -> list[Result]:
    return [Result.of(record) for record in records]


def naive_mean(records: list[dict[str, Any]], measure: str = "accuracy", **where: Any) -> float:
    """Mean of a final measure over the finished records with these configuration values."""
    found = [r for r in records if r["status"] == "ok" and all(r["config"][key] == value for key, value in where.items())]
    values = [r["final"][measure] for r in found]
    return float("nan") if not values or None in values else sum(values) / len(values)


PUBLISHED = """
[[entries]]
strategy = "krum"
attack = "alie"
accuracy = 0.55
source = "Somebody et al., 2023, Table 2"
where = { f = 4 }

[[entries]]
strategy = "flanders+fedavg"
attack = "sign-flip"
accuracy = 0.67
source = "Others et al., 2024"

[[entries]]
strategy = "krum"
attack = "alie"
accuracy = nan
source = "Nobody"
where = { f = 99 }
"""
