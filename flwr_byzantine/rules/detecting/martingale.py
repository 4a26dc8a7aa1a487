"""The filter of ByzantineSGD (Alistarh et al.): two martingales and the gradients themselves, each near its median."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.detecting.base import Detector, nearest_half, ratio, recalled, rows_of, senders
from flwr_byzantine.rules.detecting.memory import Senders
from flwr_byzantine.rules.detecting.movement import origin_of, step_of
from flwr_byzantine.rules.results import Verdict
from flwr_byzantine.rules.view import View


@dataclass(frozen=True)
class MartingaleFilter(Detector):
    """Leaves out for good who is far from the median in one of three: gradient, sum of gradients, sum of their products with the way.

    The filter of the algorithm ByzantineSGD of Alistarh et al. (the strategy `ByzantineSGD` of this package is another). After k
    rounds of a client it looks at B, the mean of its rows; A, the mean of their inner products with x_k - x_1, the way that the
    model has gone; and the row itself. Of the rows and of B, the median is one that has more than half of all within 2V, or 𝔗_B; of A
    it is the median. A client is out beyond 4V, 2 𝔗_B / k or 𝔗_A / k, with 𝔗_B = 4V √(k L), 𝔗_A = D 𝔗_B and
    L = ln(16 n T / δ). The score is the largest of the three, in units of its bound.

    Conventions. A `deviation` of None is half of the least radius within which some row has more than half of the others, in this
    round; a `diameter` of None is the way that the model has gone. A client not seen before begins with nothing, and each has the
    k of its own rounds.

    State: d + 1 numbers for each client, of the `remember` seen last: who is forgotten is forgiven; and 2 d.

    Args:
        f: number of Byzantine rows to withstand; the rule after it uses it, the detector does not.
        deviation: the paper's V, the most that an honest gradient differs from the full one, or None.
        diameter: the paper's D, the most that the model can be away from its optimum, or None.
        rounds: the paper's T, how many there will be.
        delta: probability with which an honest client may be left out.
        remember: how many clients are remembered.

    Source: Alistarh, Allen-Zhu, Li, NeurIPS 2018.

    Example:
        >>> from flwr_byzantine import rules
        >>> rules.chain(MartingaleFilter(), rules.Mean())([[1.0], [1.2], [0.8], [9.0]]).round(3).tolist()
        [1.0]
    """

    f: int = param(0, ge=0)
    deviation: float | None = param(None, kind=float, gt=0, optional=True)
    diameter: float | None = param(None, kind=float, gt=0, optional=True)
    rounds: int = param(1000, ge=1)
    delta: float = param(0.01, kind=float, gt=0, lt=1)
    remember: int = param(1000, ge=1)
    equivariant: ClassVar[bool] = True
    stateful: ClassVar[bool] = True
    anchors: ClassVar[tuple[str, ...]] = ("previous",)
    cost: ClassVar[str] = "n²d"
    reference: ClassVar[str] = "Alistarh, Allen-Zhu, Li, NeurIPS 2018"

    def judge(self, view: View) -> Verdict:
        """Those who are out, with the largest score that they have had since."""
        arrays, ids, rows = recalled(self, view), senders(view), rows_of(view)
        known, way = Senders.of(arrays), _way(arrays, view)
        count = known.recall("count", ids, np.zeros(view.n)) + 1
        sums = known.recall("sum", ids, np.zeros_like(rows)) + rows
        products = known.recall("product", ids, np.zeros(view.n)) + rows @ way
        worst = known.recall("worst", ids, np.zeros(view.n))
        scores = np.maximum(worst, self._far(rows, sums / count[:, None], products / count, count, float(np.linalg.norm(way))))
        kept = scores <= 1.0
        values = {"count": count, "sum": sums, "product": products, "worst": np.where(kept, 0.0, scores)}
        model, going = origin_of(view), {"steps": np.zeros(0), "way": way}
        memory = {**going, **({} if model is None else {"model": model})}
        return Verdict(scores, kept, 1.0, {**memory, **known.after(ids, view.state.round, values, self.remember).arrays()})

    def _far(self, rows: Array, means: Array, products: Array, count: Array, way: float) -> Array:
        """(n,) the largest of the three distances, in units of its bound."""
        middle, radius, _ = nearest_half(rows)
        V = radius / 2 if self.deviation is None else self.deviation
        own = 4 * V * np.sqrt(math.log(16 * len(rows) * self.rounds / self.delta) / count)
        diameter = way if self.diameter is None else self.diameter
        _, _, far = nearest_half(means)
        along = np.abs(products - np.median(products))
        near = np.linalg.norm(rows - rows[middle], axis=1)
        return np.asarray(np.max([ratio(near, 4 * V), ratio(far, 2 * own), ratio(along, diameter * own)], axis=0))


def _way(arrays: dict[str, Array], view: View) -> Array:
    """(d,) how far the model has gone since the first round."""
    step, way = step_of(arrays, view), arrays.get("way", np.zeros(view.updates.d))
    return way if step is None else way + step
