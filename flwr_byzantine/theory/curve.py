"""κ against the size of the sample: what a larger sample buys, and which one is worth its replies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.rules import ARC, MDA, NNM, Bucketing, Clipping, FoundationFL, Rule
from flwr_byzantine.rules.parsing import RULES, parse
from flwr_byzantine.theory.sampling import failure_probability

ALL_SIZES = 200  # samples up to this size are all looked at, larger ones in steps of 2 %

LEFT_OUT = (NNM, ARC, Bucketing, Clipping, FoundationFL, MDA)  # before another rule; MDA limits f, and has no smaller κ than others


@dataclass(frozen=True)
class Point:
    """One size of the sample.

    Attributes:
        sample_size: nodes sampled a round.
        silent: so many of them do not answer at most.
        f: number to declare.
        kappa: declared κ over the replies that come, or None where none is known.
        cost: sample size · max(1, τ), τ = κ (1 - 1/h) + 1/h; infinite without κ.
    """

    sample_size: int
    silent: int
    f: int
    kappa: float | None
    cost: float

    @property
    def replies(self) -> int:
        """Replies that come."""
        return self.sample_size - self.silent


def curve(nodes: int, malicious: int, silent: int, rounds: int, epsilon: float, rule: Rule, at: int | None = None) -> list[Point]:
    """The samples that are large enough for the rule, by size.

    A node that is silent is taken for an honest one: it lowers n and leaves f. f and the silent are each exceeded in some
    round with probability `epsilon` at most. In the bound of `convergence_bound` the noise term grows with c_F = 2 max(1, τ),
    and the rounds to a given ‖∇Q‖² in proportion to it, so `cost` is proportional to the replies of the whole run.

    Args:
        nodes: in the federation.
        malicious: bad ones among them.
        silent: honest ones that do not answer.
        rounds: of the run.
        epsilon: see above.
        rule: whose κ counts (its f is replaced).
        at: a size to look at beside the others; for f = 0 too, which is else no answer where there are malicious nodes.

    Source: hypergeometric counts, κ and `second_moment_constant` put together (derived here).

    Example:
        >>> from flwr_byzantine import rules
        >>> [(p.sample_size, p.f, p.kappa) for p in curve(100, 10, 0, 1, 0.01, rules.TrimmedMean(f=0))][:2]
        [(5, 2, 2.0), (7, 3, 3.0)]
    """
    check("plan", "silent", silent, Constraint(int, ge=0, le=nodes - malicious))
    found, f, absent = [], 0, 0
    for size in sorted({*_sizes(nodes), *([] if at is None else [at])}):
        f = _count(nodes, malicious, size, rounds, epsilon, f)
        absent = _count(nodes, silent, size, rounds, epsilon, absent)
        if rule.takes(f, size - absent) and (f > 0 or malicious == 0 or size == at) and (f == 0 or rule.robust):
            kappa = rule.with_f(f).kappa(size - absent)
            found.append(Point(size, absent, f, kappa, _cost(size, size - absent - f, kappa)))
    return found


def _sizes(nodes: int) -> Iterator[int]:
    size = 1
    while size < nodes:
        yield size
        size = size + 1 if size < ALL_SIZES else math.ceil(1.02 * size)
    yield nodes


def _count(nodes: int, marked: int, size: int, rounds: int, epsilon: float, least: int) -> int:
    """How many marked nodes a sample holds at most, up to `epsilon`; never fewer than a smaller sample, whose count is `least`."""
    while least < min(size, marked) and failure_probability(nodes, marked, size, least, rounds) > epsilon:
        least += 1
    return least


def _cost(size: int, honest: int, kappa: float | None) -> float:
    return math.inf if kappa is None else size * max(1.0, kappa * (1 - 1 / honest) + 1 / honest)


def cheapest(points: Sequence[Point], max_kappa: float | None = None) -> Point | None:
    """The sample to take: the smallest with κ <= max_kappa, or without that the one of least cost; None where there is none.

    Example:
        >>> cheapest([Point(11, 0, 5, 20.0, 185.0), Point(60, 0, 10, 1.0, 60.0), Point(90, 0, 10, 0.6, 90.0)]).sample_size
        60
    """
    if max_kappa is None:
        return min(points, key=lambda point: (point.cost, point.sample_size), default=None)
    return next((point for point in points if point.kappa is not None and point.kappa <= max_kappa), None)


def shown(points: Sequence[Point], chosen: Point | None, steps: float = 0.75) -> list[Point]:
    """Few points that show the curve: each with a κ smaller by a quarter than that before, the chosen one, and the largest sample."""
    found: list[Point] = []
    for point in points:
        known = point.kappa is not None and (not found or found[-1].kappa is None or point.kappa <= steps * found[-1].kappa)
        if known or point == chosen or point is points[-1]:
            found.append(point)
    return found


def smallest_kappa(n: int, f: int) -> tuple[Rule, float] | None:
    """The rule of the smallest declared κ at n and f, and that κ; None where none has one. A chain has none that is smaller.

    Of equal ones the first of `rules.parsing.RULES` is taken.

    Example:
        >>> str(smallest_kappa(11, 3)[0]), smallest_kappa(11, 3)[1]
        ('TrimmedMean(f=3)', 0.6)
    """
    made = [parse(cls.__name__, f) for cls in RULES if cls.robust and cls not in LEFT_OUT]
    known = [(rule, kappa) for rule in made if (kappa := rule.kappa(n)) is not None]
    return min(known, key=lambda item: item[1], default=None)
