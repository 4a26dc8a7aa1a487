"""FLDetector: clients whose updates are not what their own last ones let expect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.detecting.base import Detector, recalled, rows_of, senders
from flwr_byzantine.rules.detecting.memory import Senders
from flwr_byzantine.rules.detecting.movement import Movement
from flwr_byzantine.rules.detecting.split import halves, two_or_one
from flwr_byzantine.rules.results import Verdict
from flwr_byzantine.rules.view import View


@dataclass(frozen=True)
class FLDetector(Detector):
    """Leaves out clients whose updates differ most from those predicted from their last ones, once these form a cluster.

    A client's update is predicted as its last one plus H times the way the model has gone since, H an L-BFGS approximation of the
    Hessian from the last `window` global steps. Its score is the distance to that, over the round's mean distance, averaged over
    the client's last `window` rounds. Where the gap statistic finds more than one cluster of scores, 2-means divides them,
    and the one with the larger mean is left out. Nobody is before `window` rounds have been predicted.

    Conventions. The paper restarts the training without those found; a stage leaves them out of the round. Its distances are over the
    round's sum, which is the same at a constant n. 2-means is exact. A client that stayed away for no more than `window`
    rounds is predicted over all of the way since; one not seen before, or away for longer, has no prediction in that round, and
    its score is that of its earlier rounds, or the median of the others'.

    State: d + window numbers for each client, of the `remember` seen last, and 2 window d.

    Args:
        f: number of Byzantine rows to withstand; the rule after it uses it, the detector does not.
        window: rounds of global steps in H, and of distances in a score (the paper's N).
        references: uniform samples behind the gap statistic.
        remember: how many clients are remembered.
        seed: of these samples.

    Source: Zhang, Cao, Jia, Gong, KDD 2022.

    Example:
        >>> from flwr_byzantine import rules
        >>> rule = rules.chain(FLDetector(window=1), rules.Mean())
        >>> state, rng = rule.init(2), np.random.default_rng(0)
        >>> for _ in range(4):
        ...     X = 0.01 * rng.normal(size=(5, 2)) + 1.0
        ...     X[4] = 5.0 * rng.normal(size=2)
        ...     aggregate, state = rule.step(X, state)
        >>> aggregate.round(1).tolist()
        [1.0, 1.0]
    """

    f: int = param(0, ge=0)
    window: int = param(10, ge=1)
    references: int = param(20, ge=1)
    remember: int = param(1000, ge=1)
    seed: int = param(0, ge=0)
    equivariant: ClassVar[bool] = True
    stateful: ClassVar[bool] = True
    anchors: ClassVar[tuple[str, ...]] = ("previous",)
    cost: ClassVar[str] = "(n + window²) d"
    uses_gram: ClassVar[bool] = False
    reference: ClassVar[str] = "Zhang, Cao, Jia, Gong, KDD 2022"

    def judge(self, view: View) -> Verdict:
        """The cluster of larger scores, if there are two."""
        arrays, ids, rows = recalled(self, view), senders(view), rows_of(view)
        known, movement = Senders.of(arrays), Movement.of(arrays, view, self.window)
        errors = self._errors(known, movement, ids, rows, view.state.round)
        scores = _scores(errors)
        predicted = int(arrays.get("predicted", np.array(0))) + bool(np.isfinite(errors[:, -1]).any())
        kept, threshold = np.ones(view.n, bool), None
        if predicted >= self.window and two_or_one(scores, self.references, view.rng):
            kept, threshold = halves(scores)
        senders_now = known.after(ids, view.state.round, {"update": rows, "errors": errors}, self.remember)
        memory = {**senders_now.arrays(), **movement.arrays(), "predicted": np.array(predicted)}
        return Verdict(scores, kept, threshold, memory)

    def _errors(self, known: Senders, movement: Movement, ids: Array, rows: Array, now: int) -> Array:
        """(n, window) each client's last distances, of this round at the end; NaN where there are fewer, or none in this round."""
        blank = np.full((len(ids), self.window), np.nan)
        before = known.recall("errors", ids, blank)
        last = known.recall("update", ids, np.zeros_like(rows))
        ages = now - known.recall_seen(ids, -1)
        apart = np.full(len(ids), np.nan)
        for age in np.unique(ages[known.places(ids)[0] & (ages <= movement.length)]):
            at = (ages == age) & known.places(ids)[0]
            apart[at] = np.linalg.norm(rows[at] - last[at] - movement.change(int(age)), axis=1)
        middle = np.nanmean(apart) if np.isfinite(apart).any() else 1.0
        return np.column_stack([before[:, 1:], apart / (middle or 1.0)])


def _scores(errors: Array) -> Array:
    """(n,) means of what there is; the median of the others where there is nothing."""
    count = np.isfinite(errors).sum(axis=1)
    means = np.nansum(errors, axis=1) / np.maximum(count, 1)
    return np.asarray(np.where(count > 0, means, np.median(means[count > 0]) if count.any() else 0.0))
