"""Rules that weigh each row by a trust of its own: by its angle to the server's own update, or to other rows' histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.geometry import cosines
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.families import Mixing
from flwr_byzantine.rules.results import Combination, State
from flwr_byzantine.rules.view import View


@dataclass(frozen=True)
class FLTrust(Mixing):
    """Rows weighted by the positive part of their cosine with the server's own update, scaled to its norm.

    Where no row has a positive cosine the result is the origin (no step).

    Call as `rule(X, trusted=g)` with g (d,) the server's update on its own clean data.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1. Only this condition uses it, the rule does not.

    Source: Cao, Fang, Liu, Gong, NDSS 2021.

    Example:
        >>> import numpy as np
        >>> FLTrust()(np.array([[2.0, 0.0], [-9.0, 0.0]]), trusted=np.array([1.0, 0.0])).tolist()
        [1.0, 0.0]
    """

    f: int = param(0, ge=0)
    equivariant: ClassVar[bool] = False
    anchors: ClassVar[tuple[str, ...]] = ("trusted",)
    reference: ClassVar[str] = "Cao, Fang, Liu, Gong, NDSS 2021"

    def mix(self, view: View) -> Combination:
        """Trust scores times norm ratios."""
        trust = np.maximum(cosines(view.gram)[: view.n, view.n], 0.0)
        norms, own = view.norms, float(np.sqrt(view.gram[view.n, view.n]))
        scaled = trust * own / np.where(norms > 0, norms, 1.0)
        total = trust.sum()
        return Combination((scaled / total if total > 0 else 0.0 * scaled)[None, :], 1.0 - trust)


@dataclass(frozen=True)
class FoolsGold(Mixing):
    """Rows weighted down as their history resembles another's: against Sybils that push one way.

    State: each sender's sum of updates (`rule.step`; `rule(X)` sees this round only).

    Convention: the paper's pardoning and logit, with confidence κ; the weights are normalised to sum to 1.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1. Only this condition uses it, the rule does not.
        confidence: the paper's κ in κ (ln(α / (1 - α)) + 0.5).

    Source: Fung, Yoon, Beschastnikh, RAID 2020.

    Example:
        >>> import numpy as np
        >>> FoolsGold()(np.array([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0], [5.0, 5.0]])).round(2).tolist()
        [0.5, 0.5]
    """

    f: int = param(0, ge=0)
    confidence: float = param(1.0, kind=float, gt=0)
    equivariant: ClassVar[bool] = False
    robust: ClassVar[bool] = False
    stateful: ClassVar[bool] = True
    reference: ClassVar[str] = "Fung, Yoon, Beschastnikh, RAID 2020"

    def obstacle(self) -> str:
        """The logit."""
        return "takes logarithms, which each processor rounds in its own way"

    def mix(self, view: View) -> Combination:
        """Normalised learning rates α."""
        similarity = cosines(self._history_gram(view))
        np.fill_diagonal(similarity, 0.0)
        alpha = self._rates(similarity)
        total = alpha.sum()
        return Combination((alpha / total if total > 0 else np.full(view.n, 1 / view.n))[None, :], 1.0 - alpha)

    def _rates(self, similarity: Array) -> Array:
        peak = similarity.max(axis=1)
        own, other = peak[:, None], peak[None, :]
        pardon = np.where((other > own) & (own > 0), own / np.where(other > 0, np.maximum(own, other), 1.0), 1.0)
        alpha = np.clip(1.0 - (similarity * pardon).max(axis=1), 0.0, 1.0)
        alpha = np.minimum(alpha / alpha.max() if alpha.max() > 0 else alpha, 0.99)
        with np.errstate(divide="ignore"):
            return np.asanyarray(np.clip(self.confidence * (np.log(alpha / (1 - alpha)) + 0.5), 0.0, 1.0))

    def _history_gram(self, view: View) -> Array:
        if "history" not in view.state.arrays:
            return view.gram[: view.n, : view.n]
        return View(wrap(self._history(view))[0], (), State(), centred=False).gram

    def _history(self, view: View) -> Array:
        """(n, d) sums of the senders' updates up to this round."""
        now = view.at(np.arange(view.updates.d)) * view.unit
        if "history" not in view.state.arrays:
            return now
        known = {int(who): row for who, row in zip(view.state.arrays["ids"], view.state.arrays["history"], strict=True)}
        return np.array([row + known.get(who, 0.0) for who, row in zip(view.updates.ids, now, strict=False)])

    def next_state(self, view: View) -> dict[str, Array]:
        """Sums of all senders seen so far."""
        seen = dict(zip(view.state.arrays.get("ids", np.zeros(0, np.uint64)).tolist(), view.state.arrays.get("history", []), strict=True))
        seen.update(zip(view.updates.ids, self._history(view), strict=False))
        return {"ids": np.array(list(seen), np.uint64), "history": np.array(list(seen.values()))}
