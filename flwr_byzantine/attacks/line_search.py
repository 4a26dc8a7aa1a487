"""The strength that does a known rule most damage, found by trying strengths out."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.simulated_rule import SimulatedRule

NEAREST, FARTHEST = 0.05, 30.0  # strengths of the ladder's ends, in units of the honest spread
SAME = 1e-3  # damages that differ by less are the same, so that rounding does not choose among them, nor the last grain of damage
FLAT = 1e-6  # relative difference of values on a plateau
INSIDE = 1e-4  # how far within the edge, beyond which a rule rejects, the strength stays, so that rounding does not cross it


DENSE, BYZFL = "dense", "byzfl"  # searches


def best_strength(server: SimulatedRule, f: int, p: Array, lowest: float, evals: int, search: str = DENSE) -> float:
    """The t >= lowest for which f copies of mean + t p do the server's rule most damage.

    Args:
        server: the simulated rule.
        f: number of attackers.
        p: (d,) direction.
        lowest: least strength, at least 0.
        evals: how often the rule is tried, about.
        search: "dense", `line_search`; or "byzfl", `byzfl_search`.
    """
    length = float(np.linalg.norm(p))
    if length == 0:
        return lowest
    unit = server.spread / length
    small = server.compressed(_copies(server.mean + unit * p, f))
    trial, way = (server, p) if small is None else (small.server, (small.bad[0] - small.server.mean) / unit)

    def damage(t: float) -> float:
        return trial.damage(_copies(trial.mean + t * way, f))

    if search == BYZFL:
        return byzfl_search(damage, lowest, evals)
    return line_search(damage, lowest, max(NEAREST * unit, lowest), FARTHEST * unit + lowest, evals)


def _copies(vector: Array, f: int) -> Array:
    """(f, d) the same vector f times, in the memory of one."""
    return np.broadcast_to(vector, (f, len(vector)))


def byzfl_search(value: Callable[[float], float], lowest: float, evals: int = 20, step: float = 10.0, ratio: float = 0.8) -> float:
    """The t >= lowest that ByzFL's search ends at: from `lowest` by steps that double as long as the value grows, then shrink.

    Args:
        value: what to maximise.
        lowest: least t, where the search starts.
        evals: how often `value` is called.
        step: first step.
        ratio: of a step to the one before it, once a step has not helped.

    Source: González et al., ByzFL, 2025, its optimal attacks.

    Example:
        >>> round(byzfl_search(lambda t: t if t < 12.0 else 1.0, 0.0), 2)
        11.72
    """
    best, top, grows = lowest, value(lowest), True
    for _ in range(evals - 1):
        found = value(best + step)
        better, grows = found > top, grows and found > top
        if better:
            best, top = best + step, found
        step *= 2 if grows else ratio
    return best


def line_search(value: Callable[[float], float], lowest: float, near: float, far: float, evals: int = 100) -> float:
    """The t >= lowest of the largest value(t) that was found.

    Half of the trials are at `lowest` and on a geometric ladder from `near` to `far`, which goes on as long as the value
    grows; the others each halve the interval that promises most, where a value is taken to grow at most in proportion to t.
    Of equal values the smallest t is taken.

    Args:
        value: what to maximise, at least 0.
        lowest: least t.
        near: first rung of the ladder, at least `lowest` and above 0.
        far: last rung.
        evals: how often `value` is called, at least 4.

    Source: derived here, after the bound of Piyavskii, USSR Comput. Math. Math. Phys. 1972.

    Example:
        >>> round(line_search(lambda t: t if t < 7.0 else 1.0, 0.0, 0.01, 40.0), 2)
        6.99
    """
    tried = {t: value(t) for t in (lowest, *np.geomspace(near, far, evals // 2).tolist())}
    while len(tried) < 3 * evals // 4 and _first(tried) == max(tried):
        tried[2 * max(tried)] = value(2 * max(tried))
    while len(tried) < evals and (middle := _promising(tried)) is not None:
        tried[middle] = value(middle)
    best = _first(tried)
    inside = best * (1 - INSIDE)
    return inside if inside >= lowest and value(inside) >= (1 - SAME) * tried[best] else best


def _first(tried: dict[float, float]) -> float:
    """The smallest t of the largest value."""
    top = max(tried.values())
    return min(t for t, found in tried.items() if found >= top - SAME * abs(top))


def _promise(low: float, high: float, ratio: float) -> float:
    """What a value between two others may be: grown in proportion to t, or hardly where both are the same, as on a plateau."""
    return low * (ratio**0.25 if math.isclose(low, high, rel_tol=FLAT) else ratio)


def _promising(tried: dict[float, float]) -> float | None:
    """The middle of the interval that promises most; None where none promises more than was found."""
    rungs = sorted(t for t in tried if t > 0)
    promises = [_promise(tried[low], tried[high], high / low) for low, high in pairwise(rungs)]
    most = max(promises, default=-math.inf)
    if not most > (1 + SAME) * max(tried.values()):
        return None
    at = next(k for k, promise in enumerate(promises) if promise >= most * (1 - SAME))
    return math.sqrt(rungs[at] * rungs[at + 1])
