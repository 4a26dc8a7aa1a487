"""The contests, one after another: each size's arrays are made once and every contestant gets the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.names import unknown_name
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.bench.contestants import CONTESTS, Contest
from flwr_byzantine.experiments.bench.measure import Timing, measure

OURS = "flwr-byzantine"


@dataclass(frozen=True)
class Size:
    """n updates of d float32 coordinates, f of them Byzantine."""

    n: int
    d: int

    @property
    def f(self) -> int:
        """How many of the updates are Byzantine: n // 5, or as many as Bulyan allows."""
        return max(0, min(self.n // 5, (self.n - 3) // 4))

    @classmethod
    def parse(cls, text: str) -> Size:
        """From "32x1e6".

        Raises:
            InvalidParameter: not two positive numbers.

        Example:
            >>> Size.parse("32x1e6")
            Size(n=32, d=1000000)
        """
        try:
            n, d = (int(float(part)) for part in text.lower().split("x"))
        except ValueError:
            n = d = 0
        if n < 1 or d < 1:
            raise InvalidParameter(f"bench: a size must look like 32x1e6 (updates x coordinates), got {text!r}")
        return cls(n, d)

    def __str__(self) -> str:
        return f"{self.n} x {self.d:,}"


@dataclass(frozen=True)
class Measurement:
    """One contestant's time and memory for one rule at one size."""

    rule: str
    contestant: str
    size: Size
    timing: Timing


def updates(size: Size, seed: int = 0) -> Array:
    """(n, d) float32: a common direction, noise of the same size, and f rows far away."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((size.n, size.d), np.float32)
    X += rng.standard_normal(size.d, np.float32)
    X[size.n - size.f :] *= 10
    return X


def bench(
    sizes: Sequence[Size],
    contestants: Sequence[str],
    only: Sequence[str] = (),
    timeout: float = 60.0,
    on_measurement: Callable[[Measurement], None] = lambda _measurement: None,
) -> list[Measurement]:
    """Time every contest at every size.

    Args:
        sizes: n and d of each.
        contestants: names of peers beside ours.
        only: names of contests; all where it is empty.
        timeout: seconds that one contestant gets for one contest.
        on_measurement: called after each.

    Raises:
        InvalidParameter: an unknown contest.
    """
    chosen = select(only)
    measured = []
    for size in sizes:
        X = updates(size)
        for contest, name, task in entries(chosen, size, contestants, X):
            measured.append(Measurement(contest.name, name, size, measure(task, timeout)))
            on_measurement(measured[-1])
    return measured


def select(only: Sequence[str]) -> list[Contest]:
    """The contests with these names, or all where no name is given."""
    known = {contest.name: contest for contest in CONTESTS}
    for name in only:
        if name not in known:
            raise unknown_name("rule", name, known, "bench: ")
    return [known[name] for name in only] or CONTESTS


def entries(
    chosen: Sequence[Contest], size: Size, contestants: Sequence[str], X: Array
) -> Iterator[tuple[Contest, str, Callable[[], Any]]]:
    """All that can run at this size, as (contest, contestant, call to time)."""
    for contest in chosen:
        if size.n > contest.limit:
            continue
        rule = contest.ours(size.f)
        if size.n < rule.min_n():
            continue
        trusted = {"trusted": X[0]} if "fltrust" in contest.name else {}
        yield contest, OURS, partial(rule, X, **trusted)
        for name, make in contest.peers.items():
            if name in contestants:
                yield contest, name, partial(make(size.f), X)
