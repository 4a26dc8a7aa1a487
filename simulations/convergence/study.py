"""Which configurations the study runs, in parallel, each stored as one line of JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from flwr_byzantine import attacks, rules, theory
from flwr_byzantine.attacks import Attack
from flwr_byzantine.rules import Rule
from simulations.convergence.objectives import OBJECTIVES, Noise
from simulations.convergence.workers import Setting, Takeover, bound, descend

N, F = 11, 2
STRONG: dict[str, Attack] = {
    "sign flip x10": attacks.SignFlip(scale=10.0),
    "scaling x1000": attacks.Scaling(factor=1000.0),
    "Gaussian": attacks.Gaussian(std=100.0),
    "IPM x9": attacks.IPM(epsilon=9.0),
    "takeover": Takeover(),
}
STEALTHY: dict[str, Attack] = {"ALIE z=1.5": attacks.ALIE(z=1.5), "Min-Max": attacks.MinMax(direction="unit")}
ATTACKS: dict[str, Attack | None] = {"none": None, **STRONG, **STEALTHY}
CHAINS = ("nnm+krum", "nnm+trimmed-mean", "nnm+geometric-median", "bucketing+median", "arc+trimmed-mean")
PROMISED = ("krum", "multi-krum", "median", "geometric-median", "trimmed-mean", "nnm+krum", "nnm+trimmed-mean", "nnm+geometric-median")
NAMES = ("experiment", "objective", "rule", "attack", "f", "K", "seeds", "noise", "batch", "beta")
NOISE = 0.2  # dσ² of the additive noise


def rule_names() -> list[str]:
    """Every aggregation rule of the catalogue, then the chains."""
    single = [cls.__name__ for cls in rules.available() if not issubclass(cls, rules.PreAggregation)]
    return [_dashed(name) for name in single] + list(CHAINS)


def _dashed(name: str) -> str:
    names = {"MultiKrum": "multi-krum", "TrimmedMean": "trimmed-mean", "GeometricMedian": "geometric-median"}
    return names.get(name, name.lower() if name in ("Mean", "Krum", "Median", "Bulyan") else name)


@dataclass(frozen=True)
class Configuration:
    """One configuration by name, so that it can be sent to another process and stored."""

    experiment: str
    objective: str
    rule: str
    attack: str
    f: int
    gamma: float  # in units of 1/L
    K: int
    seeds: int
    noise: tuple[float, float, float] = (0.0, 1.0, NOISE)
    batch: int = 0
    beta: float = 0.0

    def setting(self) -> Setting:
        """The configuration itself."""
        objective, rule = OBJECTIVES[self.objective](), rules.parse(self.rule, self.f)
        gamma = self.gamma / objective.L
        return Setting(objective, rule, ATTACKS[self.attack], N, self.f, gamma, self.K, Noise(*self.noise), self.batch, self.beta)


def run(configuration: Configuration) -> dict[str, Any]:
    """A line of the results: the curve at spaced k, its minimum, mean and tail, and the bound by its terms."""
    setting = configuration.setting()
    curve = descend(setting, configuration.seeds)
    k = np.unique(np.geomspace(1, configuration.K, 60).astype(int)) - 1
    return {
        **{name: getattr(configuration, name) for name in NAMES},
        "gamma": setting.gamma,
        "n": N,
        "k": k.tolist(),
        "curve": [float(f"{value:.5g}") for value in curve[k]],
        "min": float(curve.min()),
        "mean": float(curve.mean()),
        "tail": float(curve[-max(1, configuration.K // 5) :].mean()),
        "bound": _terms(setting),
    }


def bounded_anew(line: dict[str, Any]) -> dict[str, Any]:
    """A line of the results with the bound that the theory has for its rule today."""
    told = {name: line[name] for name in NAMES} | {"noise": tuple(line["noise"])}
    return line | {"bound": _terms(Configuration(gamma=line["gamma"] * OBJECTIVES[line["objective"]]().L, **told).setting())}


def _terms(setting: Setting) -> dict[str, float] | None:
    promise = bound(setting)
    return None if promise is None else {"initial": promise.initial, "noise": promise.noise, "bias": promise.bias}


def configurations(quick: bool) -> list[Configuration]:
    """All configurations; `quick` takes fewer steps, seeds and rules."""
    found: list[Configuration] = []
    for experiment in (_attacks, _byzantine_count, _rate, _basin, _condition):
        found.extend(experiment(quick))
    return found


def _attacks(quick: bool) -> Iterator[Configuration]:
    """Every rule under every attack."""
    K, seeds = (150, 1) if quick else (250, 3)
    chosen = ["mean", *PROMISED] if quick else rule_names()
    for objective in ("quadratic", "logistic") if quick else OBJECTIVES:
        for rule in chosen:
            for attack in ATTACKS:
                yield Configuration("attacks", objective, rule, attack, F, 0.25, K, seeds)


def _byzantine_count(quick: bool) -> Iterator[Configuration]:
    """Every number f of Byzantine workers that a rule's condition allows."""
    K, seeds = (100, 1) if quick else (200, 2)
    for rule in ("krum", "trimmed-mean", "nnm+trimmed-mean") if quick else rule_names():
        for f in range(N // 2 + 1):
            if rules.parse(rule, f).min_n() > N or (rule == "SMEA" and f > 3):
                continue
            for attack in (*STEALTHY, "sign flip x10"):
                yield Configuration("byzantine", "logistic", rule, attack, f, 0.25, K, seeds)


def _rate(quick: bool) -> Iterator[Configuration]:
    """γ = 1/√K in units of 1/L, without bias floor (noise falls with the gradient) and with noise small beside it."""
    lengths = (16, 64, 256) if quick else (16, 64, 256, 1024, 4096)
    for rule, f in (("mean", 0), ("krum", F), ("trimmed-mean", F), ("geometric-median", F), ("nnm+trimmed-mean", F)):
        for K in lengths:
            yield Configuration("rate", "waves", rule, "ALIE z=1.5" if f else "none", f, 1 / K**0.5, K, 1 if quick else 3, (0.0, 1.0, 0.01))


def _basin(quick: bool) -> Iterator[Configuration]:
    """The radius against noise, batch size and worker momentum."""
    K, seeds = (200, 1) if quick else (1500, 3)
    for rule in ("krum", "trimmed-mean", "nnm+trimmed-mean"):
        for variance in (0.01, 0.1, 1.0, 10.0):
            yield Configuration("basin noise", "quadratic", rule, "ALIE z=1.5", F, 0.1, K, seeds, (0.0, 1.0, variance))
        for batch in (1, 4, 16, 64):
            yield Configuration("basin batch", "logistic", rule, "ALIE z=1.5", F, 0.25, K, seeds, (0.0, 1.0, 0.0), batch)
        for beta in (0.0, 0.5, 0.9, 0.97):
            yield Configuration("basin momentum", "quadratic", rule, "ALIE z=1.5", F, 0.02, 2 * K, seeds, (0.0, 1.0, 1.0), 0, beta)


def _condition(quick: bool) -> Iterator[Configuration]:
    """Noise in proportion to the gradient, where the condition holds all along, and noise that stays, where it fails."""
    K, seeds = (200, 1) if quick else (1000, 3)
    for objective in ("quadratic",) if quick else OBJECTIVES:
        for rule in ("krum", "trimmed-mean", "median", "geometric-median", "nnm+trimmed-mean"):
            for attack in ("ALIE z=1.5", "sign flip x10"):
                share = admissible(objective, rule, 1.02)
                yield Configuration("condition holds", objective, rule, attack, F, share, K, seeds, (0.0, 1.02, 0.0))
                yield Configuration("condition fails", objective, rule, attack, F, min(share, 0.25), K, seeds, (0.0, 1.0, NOISE))


def admissible(objective: str, rule: str, B: float) -> float:
    """The largest step of `convergence_bound`, in units of 1/L, for noise of (B - 1)‖∇Q‖²."""
    built: Rule = rules.parse(rule, F)
    sine = theory.sin_alpha(built, N, F, 1, float(np.sqrt(B - 1)), 1.0)
    L = OBJECTIVES[objective]().L
    return theory.admissible_step(theory.Problem(L, 1.0, B=B, s=1 - sine, c_F=theory.second_moment_constant(built, N, F))) * L


def run_all(work: list[Configuration], path: Path, advance: Callable[[], None]) -> list[dict[str, Any]]:
    """All configurations on all cores; each is written to `path` as soon as it is there. The order in the file is fixed at the end."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    results: dict[int, dict[str, Any]] = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool, path.open("w", encoding="utf-8") as file:
        futures = {pool.submit(run, configuration): index for index, configuration in enumerate(work)}
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            file.write(json.dumps(results[futures[future]]) + "\n")
            file.flush()
            advance()
    ordered = [results[index] for index in range(len(work))]
    write(ordered, path)
    return ordered


def write(lines: list[dict[str, Any]], path: Path) -> None:
    """One line of JSON for each result."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
