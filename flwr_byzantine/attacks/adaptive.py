"""The attack that maximises the damage to the exact rule in use."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from flwr_byzantine.attacks.base import Attack, Scene
from flwr_byzantine.attacks.oracle import Oracle
from flwr_byzantine.kernels import Array
from flwr_byzantine.params import param

STRENGTHS = (1.0, 0.1, 0.3, 0.6, 1.6, 3.0, 10.0)  # of a fixed attack's distance from the honest mean


@dataclass(frozen=True)
class Adaptive(Attack):
    """Gradient ascent on ‖F(honest ∪ B) - honest mean‖, F the server's rule, from the best of all other attacks.

    Convention: every other attack that sends finite numbers is tried at several distances from the honest mean, those of
    knowledge "rule" as they are, so that none of them does more damage. From the best few, B climbs in a space of at most
    12 directions (honest mean, deviation, signs, principal directions, where the aggregate already goes; for all attackers
    alike, and two that set them apart) along gradients by finite differences. Deterministic for the same `rng`.

    Args:
        evals: how often the rule is tried during the ascent.
        starts: from how many of the best attacks to climb.

    Raises:
        InvalidParameter: the rule is not known.
        TooFewUpdates: the rule refuses so few rows.

    Source: the adversary of Shejwalkar, Houmansadr, NDSS 2021 (maximal damage to a known rule), by ascent.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import attacks, rules
        >>> X, rule = np.random.default_rng(0).normal(size=(7, 4)), rules.Median()
        >>> hurt = [np.linalg.norm(rule([*X, *attack(X, 2, rule=rule)]) - X.mean(0)) for attack in (Adaptive(), attacks.ALIE())]
        >>> bool(hurt[0] > hurt[1])
        True
    """

    evals: int = param(400, ge=0)
    starts: int = param(2, ge=1)
    knowledge: ClassVar[str] = "rule"
    reference: ClassVar[str] = "Shejwalkar, Houmansadr, NDSS 2021"

    def craft(self, honest: Array, f: int, scene: Scene) -> Array:
        """The best of several climbs."""
        oracle = Oracle(self, honest, scene)
        tried = [(oracle.damage(bad), -k, bad) for k, bad in enumerate(_fixed(oracle, f, scene))]
        best = sorted(tried, key=lambda item: item[:2], reverse=True)[: self.starts]
        climbs = [_climb(oracle, bad, damage, self.evals // len(best)) for damage, _, bad in best]
        return max(climbs, key=lambda found: found[0])[1]


def _fixed(oracle: Oracle, f: int, scene: Scene) -> Iterator[Array]:
    """(f, d) what the other attacks send, each from the same randomness, at several strengths."""
    from flwr_byzantine.attacks import available  # it lists this module

    for cls in available():
        if cls is Adaptive or not cls.finite:
            continue
        bad = cls().play(oracle.honest, f, replace(scene, rng=copy.deepcopy(scene.rng), memory={}))
        strengths = STRENGTHS if cls.knowledge == "honest" else STRENGTHS[:1]
        yield from (oracle.mean + strength * (bad - oracle.mean) if strength != 1 else bad for strength in strengths)


def _climb(oracle: Oracle, bad: Array, damage: float, evals: int) -> tuple[float, Array]:
    """Ascent from `bad` while `evals` last; damage and vectors."""
    scale = float(np.sqrt(((oracle.honest - oracle.mean) ** 2).sum(axis=1).mean())) or float(np.linalg.norm(oracle.mean)) or 1.0
    step = 1.0
    while evals > 0 and step > 1e-3:
        moves = scale * _moves(oracle, bad)
        slopes = np.array([oracle.damage(bad + 1e-3 * move) - damage for move in moves])
        evals -= len(moves)
        norm = float(np.linalg.norm(slopes))
        uphill = np.tensordot(slopes / norm, moves, axes=1) if norm > 0 else moves[0]
        bad, damage, step, used = _stride(oracle, bad, damage, uphill, step)
        evals -= used
    return damage, bad


def _stride(oracle: Oracle, bad: Array, damage: float, uphill: Array, step: float) -> tuple[Array, float, float, int]:
    """The longest of some steps uphill that pays, else the place as it is and a shorter step; with the evaluations used."""
    for used in range(1, 7):
        found = oracle.damage(bad + step * uphill)
        if found > damage:
            return bad + step * uphill, found, 2 * step, used
        step /= 2
    return bad, damage, step / 4, used


def _moves(oracle: Oracle, bad: Array) -> Array:
    """(k, f, d) unit directions in which B may move."""
    honest, mean = oracle.honest, oracle.mean
    shift = oracle.shift(bad)
    principal = _principal(honest - mean)
    common = [shift, bad.mean(axis=0) - mean, mean, honest.std(axis=0), np.sign(mean), np.sign(shift), *principal]
    units = np.array([vector / norm for vector in common if (norm := np.linalg.norm(vector)) > 0])
    f = len(bad)
    alike = np.repeat(units[:, None], f, axis=1)
    if f == 1:
        return alike
    apart = np.where(np.arange(f) % 2, -1.0, 1.0)[:, None]
    return np.concatenate([alike, units[:1, None] * apart, principal[:1, None] * apart])


def _principal(centred: Array) -> Array:
    _, vectors = np.linalg.eigh(centred @ centred.T)
    rows = vectors[:, :-5:-1].T @ centred
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny))
