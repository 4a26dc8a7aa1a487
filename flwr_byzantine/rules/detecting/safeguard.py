"""SafeGuard: clients whose updates, added up over a window of rounds, lead away from where most lead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.detecting.base import Detector, nearest_half, ratio, recalled, rows_of, senders
from flwr_byzantine.rules.detecting.memory import Senders
from flwr_byzantine.rules.results import Verdict
from flwr_byzantine.rules.view import View


@dataclass(frozen=True)
class SafeGuard(Detector):
    """Leaves out for good who has gone farther from the median than twice a threshold, within a short or a long window of rounds.

    Each client's updates are added up since the window began, each divided by the number of good clients in its round. The median is
    the sum of a good client that has more than half of them within the threshold. The score is the larger of the two distances
    to the median, each in units of twice its threshold.

    Conventions. A threshold of None is the least with which there is a median. Who is found is left out of the same round (the
    paper: from the next one on). Sums are scaled up to the window's rounds for clients that missed some of them; a client not
    seen before begins with nothing. `reset` forgives all at the beginning of each long window.

    State: 2 d numbers for each client, of the `remember` seen last: who is forgotten is forgiven.

    Args:
        f: number of Byzantine rows to withstand; the rule after it uses it, the detector does not.
        short: rounds of the short window (the paper's T₀).
        long: rounds of the long one (T₁).
        short_threshold: the short one's threshold, or None.
        long_threshold: the long one's, or None.
        reset: whether nobody is out for longer than a long window.
        remember: how many clients are remembered.

    Source: Allen-Zhu, Ebrahimianghazani, Li, Alistarh, ICLR 2021.

    Example:
        >>> from flwr_byzantine import rules
        >>> rule = rules.chain(SafeGuard(), rules.Mean())
        >>> first, state = rule.step([[1.0], [1.2], [0.8], [9.0]], rule.init(1))
        >>> rule.step([[1.0], [1.2], [0.8], [1.0]], state)[0].round(3).tolist()  # the fourth is out for good
        [1.0]
    """

    f: int = param(0, ge=0)
    short: int = param(10, ge=1)
    long: int = param(60, ge=1)
    short_threshold: float | None = param(None, kind=float, gt=0, optional=True)
    long_threshold: float | None = param(None, kind=float, gt=0, optional=True)
    reset: bool = param(False, kind=bool)
    remember: int = param(1000, ge=1)
    equivariant: ClassVar[bool] = True
    stateful: ClassVar[bool] = True
    cost: ClassVar[str] = "n²d"
    reference: ClassVar[str] = "Allen-Zhu, Ebrahimianghazani, Li, Alistarh, ICLR 2021"

    def judge(self, view: View) -> Verdict:
        """Those who are out, with the largest score that they have had since."""
        known, ids, rows = Senders.of(recalled(self, view)), senders(view), rows_of(view)
        worst = known.recall("worst", ids, np.zeros(view.n))
        if self.reset and view.state.round % self.long == 0:
            worst = np.zeros(view.n)
        good = worst <= 1.0
        values = {name: self._sums(known, name, ids, rows / max(int(good.sum()), 1), view.state.round) for name in ("short", "long")}
        far = [self._far(name, *values[name], good) for name in ("short", "long")]
        scores = np.maximum(np.maximum(*far), np.where(good, 0.0, worst))
        kept = scores <= 1.0
        stored = {f"{name}.{part}": value for name, pair in values.items() for part, value in zip(("sum", "count"), pair, strict=True)}
        memory = known.after(ids, view.state.round, {**stored, "worst": np.where(kept, 0.0, scores)}, self.remember)
        return Verdict(scores, kept, 1.0, memory.arrays())

    def _sums(self, known: Senders, name: str, ids: Array, rows: Array, now: int) -> tuple[Array, Array]:
        """(n, d) sums since the window began, and (n,) of how many rounds."""
        begun = now - now % int(getattr(self, name))
        sums, count = (known.recall(f"{name}.{part}", ids, fresh) for part, fresh in (("sum", 0.0 * rows), ("count", np.zeros(len(ids)))))
        old = known.recall_seen(ids, -1) < begun
        return np.where(old[:, None], 0.0, sums) + rows, np.where(old, 0.0, count) + 1

    def _far(self, name: str, sums: Array, count: Array, good: Array) -> Array:
        """(n,) distances to the median of the good, in units of twice the threshold."""
        places = np.flatnonzero(good) if good.any() else np.arange(len(good))
        even = sums * (count.max() / count)[:, None]
        middle, radius, _ = nearest_half(even[places])
        given = getattr(self, f"{name}_threshold")
        bound = radius if given is None else given
        return ratio(np.linalg.norm(even - even[places[middle]], axis=1), 2 * bound)
