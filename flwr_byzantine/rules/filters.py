"""Rules that average the largest cluster of rows, clipped to the median norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.geometry import cosines
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.clipping import clip_factors
from flwr_byzantine.rules.clusters import densest_majority, kernel_width, mean_shift, two_clusters
from flwr_byzantine.rules.families import Mixing
from flwr_byzantine.rules.results import Combination, State
from flwr_byzantine.rules.view import View

BLURS = "adds normal noise (noise={:g}), which the C library's logarithms and exponentials are in; pass noise=0.0"


def clipped_mean(factors: Array, members: Array, scores: Array | None = None) -> Combination:
    """The mean of the member rows, each scaled by its factor."""
    weights = np.where(members, factors, 0.0) / max(int(members.sum()), 1)
    return Combination(weights[None, :], scores, tuple(np.flatnonzero(members).tolist()))


def largest(labels: Array) -> Array:
    """Members of the largest cluster (label -1 is noise); all rows where there is none."""
    found = labels[labels >= 0]
    return labels == np.argmax(np.bincount(found)) if len(found) else np.ones(len(labels), bool)


@dataclass(frozen=True)
class SignGuard(Mixing):
    """Rows with a norm near the median and signs in the largest cluster, clipped to the median norm, averaged.

    Convention: norms within [0.1, 3] times the median; Mean-Shift over the shares of positive, zero and negative
    signs in randomly drawn coordinates.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1. Only this condition uses it, the rule does not.
        low: least norm of a row that is kept, relative to the median norm.
        high: largest norm of a row that is kept, relative to the median norm.
        share: part of the coordinates whose signs are looked at.
        seed: of the draw.

    Source: Xu, Huang, Song, Lan, ICDCS 2022.

    Example:
        >>> import numpy as np
        >>> SignGuard()(np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [-90.0, -90.0]])).tolist()
        [1.0, 1.0]
    """

    f: int = param(0, ge=0)
    low: float = param(0.1, kind=float, ge=0)
    high: float = param(3.0, kind=float, gt=0)
    share: float = param(0.1, kind=float, gt=0, le=1)
    seed: int = param(0, ge=0)
    uses_gram: ClassVar[bool] = False
    distances_from: ClassVar[str] = "origin"
    equivariant: ClassVar[bool] = False
    reference: ClassVar[str] = "Xu, Huang, Song, Lan, ICDCS 2022"

    def mix(self, view: View) -> Combination:
        """The clipped mean of both filters' intersection."""
        norms = view.norms
        middle = float(np.median(norms))
        fit = (norms >= self.low * middle) & (norms <= self.high * middle)
        both = fit & self._same_signs(view)
        return clipped_mean(clip_factors(norms, middle), both if both.any() else fit)

    def _same_signs(self, view: View) -> Array:
        d = view.updates.d
        rows = view.at(np.sort(view.rng.choice(d, max(1, int(self.share * d)), replace=False)))
        features = np.stack([(np.sign(rows) == sign).mean(axis=1) for sign in (1, 0, -1)], axis=1)
        width = kernel_width(features)
        return largest(mean_shift(features, width)) if width > 0 else np.ones(view.n, bool)


@dataclass(frozen=True)
class ClippedClustering(Mixing):
    """Rows clipped to the median of all norms seen so far, then the mean of the larger of two cosine clusters.

    State: the norms of all rounds (`rule.step`; `rule(X)` sees this round only).

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1. Only this condition uses it, the rule does not.

    Source: Li, Ngai, Voigt, IEEE Transactions on Big Data 2023.

    Example:
        >>> import numpy as np
        >>> ClippedClustering()(np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-9.0, 0.0]])).tolist()
        [1.0, 0.0]
    """

    f: int = param(0, ge=0)
    equivariant: ClassVar[bool] = False
    stateful: ClassVar[bool] = True
    reference: ClassVar[str] = "Li, Ngai, Voigt, IEEE Transactions on Big Data 2023"

    def mix(self, view: View) -> Combination:
        """The clipped mean of the larger cluster."""
        if view.n < 2:
            return Combination(np.ones((1, view.n)))
        labels = two_clusters(1.0 - cosines(view.gram[: view.n, : view.n]))
        middle = float(np.median(self._norms(view))) / view.unit
        return clipped_mean(clip_factors(view.norms, middle), largest(labels))

    def _norms(self, view: View) -> Array:
        return np.concatenate([view.state.arrays.get("norms", np.zeros(0)), view.norms * view.unit])

    def next_state(self, view: View) -> dict[str, Array]:
        """All norms so far."""
        return {"norms": self._norms(view)}


@dataclass(frozen=True)
class FLAME(Mixing):
    """The largest HDBSCAN cluster of cosine distances, clipped to the median norm, averaged, with Gaussian noise.

    Convention: clusters of ⌊n/2⌋ + 1 rows at least, one cluster allowed; noise of standard deviation λ times the
    median norm on every coordinate of the aggregate.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1. Only this condition uses it, the rule does not.
        noise: the paper's λ; 0 adds none.
        seed: of the noise, drawn anew each round.

    Source: Nguyen, Rieger, Chen, et al., USENIX Security 2022.

    Example:
        >>> import numpy as np
        >>> FLAME(noise=0.0).aggregate(np.array([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [-9.0, 0.0]])).selected
        (0, 1, 2)
    """

    f: int = param(0, ge=0)
    noise: float = param(0.001, kind=float, ge=0)
    seed: int = param(0, ge=0)
    equivariant: ClassVar[bool] = False
    reference: ClassVar[str] = "Nguyen, Rieger, Chen, et al., USENIX Security 2022"

    def obstacle(self) -> str:
        """Noise."""
        return BLURS.format(self.noise) if self.noise else ""

    def mix(self, view: View) -> Combination:
        """The clipped mean of the largest cluster."""
        norms = view.norms
        return clipped_mean(clip_factors(norms, float(np.median(norms))), self._members(view))

    def _members(self, view: View) -> Array:
        if view.n < 3:
            return np.ones(view.n, bool)
        apart = np.maximum(1.0 - cosines(view.gram[: view.n, : view.n]), 0.0)
        return densest_majority(apart)

    def postprocess(self, blocks: list[Array], view: View) -> list[Array]:
        """Add the noise, in each block's dtype."""
        if self.noise == 0:
            return blocks
        plain = View(view.updates.take(range(view.updates.n - view.anchors)), (), State())
        scale = self.noise * float(np.median(plain.norms)) * plain.unit
        return view.updates.shifted(blocks, (scale / block.scale * view.rng.standard_normal(block.width) for block in view.updates.blocks))
