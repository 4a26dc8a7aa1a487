"""What a detector is: `Detector`, and the rows and memory that it judges by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.rules.families import PreAggregation
from flwr_byzantine.rules.results import Combination
from flwr_byzantine.rules.view import View, rows_of

__all__ = ["Detector", "least", "nearest_half", "ratio", "recalled", "rows_of", "said_of", "senders"]

ROUNDED = 1e-9  # of the median length: rows no farther apart than this are one
LARGEST = 1e300  # as a score


class Detector(PreAggregation):
    """A stage that leaves senders out before the rule: `chain(FLDetector(f=2), Median(f=2))`.

    A detector scores each row (larger is more suspicious) and says whom it leaves out; the rest of the chain runs as if those
    rows had never come. It may keep a memory of senders, `nodes=`, from round to round: named arrays in the chain's `State`,
    of the bounded size that `remember` declares. A subclass defines `judge`.

    Fails closed. f is what the rule after it must withstand among those that are left, and is not lowered by those left out, since
    these may be honest: where fewer are left than that rule needs, it raises `TooFewLeft`, and a strategy skips the round.

    Nothing depends on the order of the rows.
    """

    detects: ClassVar[bool] = True
    equivariant: ClassVar[bool] = False
    cost: ClassVar[str] = "nd"
    uses_gram: ClassVar[bool] = False

    def min_n(self) -> int:
        """Any n will do."""
        return 1

    def most_out(self, n: int) -> int | None:
        """How many of n rows it leaves out at most; None where that may be any number."""
        return None

    def obstacle(self) -> str:
        """Whatever a detector sums up of the rounds before."""
        return "is a detector, and none of these computes in one order yet; leave it or reproducible=True out"

    def rows(self, n: int) -> int:
        """As many as are left where it leaves out `most_out`; all, where that is not bounded."""
        return n - (self.most_out(n) or 0)

    def compose_kappa(self, n: int, kappa: float) -> float | None:
        """κ at n rows of a rule that has `kappa` on the fewest that may be left, where these are bounded; none otherwise.

        Of any n - f rows at least t = n - k - f are left where k are left out. The rule is within √κ of the deviation of these of
        their mean; their deviation is at most √(h/t) of that of all h = n - f, and their mean within √((h - t)/t) (see `kappa`).
        """
        out = self.most_out(n)
        h = n - self.f
        if out is None or (t := h - out) <= 0:
            return None
        return float((np.sqrt(kappa * h / t) + np.sqrt((h - t) / t)) ** 2)

    def combined(self, view: View) -> Combination:
        """The rows that are left, each as it is."""
        verdict = self.judge(view)
        factors = np.ones(view.n) if verdict.factors is None else verdict.factors
        kept = tuple(np.flatnonzero(verdict.kept).tolist())
        return Combination(np.diag(factors)[list(kept)], verdict.scores, kept)


def recalled(detector: Detector, view: View) -> dict[str, Array]:
    """A detector's own arrays, as its last `Verdict.memory` had them; empty before its first round."""
    head = f"{type(detector).__name__}."
    return {name.removeprefix(head): value for name, value in view.state.arrays.items() if name.startswith(head)}


def senders(view: View) -> Array:
    """(n,) uint64 ids of the view's senders."""
    return np.array(view.updates.ids[: view.n], np.uint64)


def said_of(rows: Array, function: Callable[[Array], Any], f: int) -> list[Any]:
    """What a function of the server's own says of each row; None where it raises, as those of models far from any do.

    Raises:
        Exception: what the function raised, where it raises for more than f rows: that is not the senders' doing.

    Example:
        >>> import math
        >>> said_of(np.array([1.0, 800.0]), math.exp, f=1)
        [2.718281828459045, None]
    """
    found, errors = list[Any](), list[Exception]()
    for row in rows:
        try:
            found.append(function(row))
        except Exception as error:
            found.append(None)
            errors.append(error)
    if len(errors) > f:
        raise errors[0]
    return found


def least(scores: Array, count: int) -> tuple[Array, float]:
    """(n,) bool of the `count` least scores, the first of equal ones; and the largest of these, which others are compared with.

    Example:
        >>> kept, threshold = least(np.array([3.0, 1.0, 2.0]), 2)
        >>> kept.tolist(), threshold
        ([False, True, True], 2.0)
    """
    order = np.argsort(scores, kind="stable")[:count]
    kept = np.zeros(len(scores), bool)
    kept[order] = True
    return kept, float(scores[order[-1]]) if count else -np.inf


def nearest_half(rows: Array) -> tuple[int, float, Array]:
    """The row with the smallest ball that holds more than half of the (n, d) rows, that ball's radius, and (n,) distances to the row.

    Two rows are often each other's last neighbour within the ball, and so tie: the one nearer to all is taken.
    """
    apart = np.sqrt(sq_distances(rows @ rows.T))
    reach = np.sort(apart, axis=1)[:, len(rows) // 2]
    middle = int(np.argmin(np.where(reach <= reach.min() * (1 + 1e-6), apart.sum(axis=1), np.inf)))
    rounding = ROUNDED * float(np.median(np.linalg.norm(rows, axis=1)))
    return middle, max(float(reach[middle]), rounding), np.linalg.norm(rows - rows[middle], axis=1)


def ratio(sizes: Array, bound: Array | float) -> Array:
    """Sizes as multiples of a bound; 0 where both are zero."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(np.where(sizes == 0, 0.0, np.minimum(sizes / bound, LARGEST)))
