"""Two rules by the conventions of FLANDERS' published code, which differ from the product's: `BaselineFLANDERS`, `BaselineMultiKrum`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.detecting.base import Detector, least, recalled, rows_of, senders
from flwr_byzantine.rules.detecting.memory import Senders
from flwr_byzantine.rules.detecting.movement import origin_of
from flwr_byzantine.rules.families import Mixing
from flwr_byzantine.rules.krum import krum_scores
from flwr_byzantine.rules.results import Combination, Verdict, mean_of
from flwr_byzantine.rules.view import View

WARM_UP = 2  # rounds without attackers, after which those left out count with the new model
ITERATIONS = 100
SOURCE = "Gabrielli, Belli, Matrullo, Miori, Tolomei, arXiv 2303.16668, 2023; Flower's baseline"


@dataclass(frozen=True)
class BaselineFLANDERS(Detector):
    """FLANDERS as its published code does it: as many are kept as do not attack, from the second round on.

    Two things differ from `flwr_byzantine.rules.FLANDERS`. The number that is kept is given, and may be a minority. A and B are fitted to
    the last matrix as a forecast of itself, for with the window of two rounds that the code takes one matrix is all there is before the
    present one; they start at random, and are not run until they stay.

    Args:
        f: of the rule after it.
        keep: how many rows are kept.
        sampling: how many coordinates are looked at.
        seed: of the coordinates and of where the fits start.

    Source: Gabrielli, Belli, Matrullo, Miori, Tolomei, arXiv 2303.16668, 2023; Flower's baseline, strategy.py and server.py.
    """

    f: int = param(0, ge=0)
    keep: int = param(1, ge=1)
    sampling: int = param(500, ge=1)
    seed: int = param(0, ge=0)
    equivariant = True
    stateful = True
    reference = SOURCE

    def min_n(self) -> int:
        """As many as it keeps."""
        return self.keep

    def most_out(self, n: int) -> int:
        """All but those that it keeps."""
        return max(n - self.keep, 0)

    def judge(self, view: View) -> Verdict:
        """Those of the least distances to their forecasts; all in the first round."""
        known, ids, models = Senders.of(recalled(self, view)), senders(view), self._models(view)
        scores, kept, threshold = np.zeros(view.n), np.ones(view.n, bool), None
        if len(known.nodes):
            past = known.recall("models", ids, models)
            scores = np.linalg.norm(models - forecast(past, np.random.default_rng([self.seed, view.state.round])), axis=1)
            kept, threshold = least(scores, self.keep)
        if view.state.round >= WARM_UP:
            models = np.where(kept[:, None], models, models[kept].mean(axis=0))
        return Verdict(scores, kept, threshold, known.after(ids, view.state.round, {"models": models}, view.n).arrays())

    def _models(self, view: View) -> Array:
        """(n, sampling) local models at the coordinates that are looked at, the same in all rounds, drawn with replacement."""
        places, origin = np.random.default_rng(self.seed).integers(0, view.updates.d, self.sampling), origin_of(view)
        return rows_of(view)[:, places] + (0.0 if origin is None else origin[places])


def forecast(X: Array, rng: np.random.Generator) -> Array:
    """(n, c) A X Bᵀ, A and B fitted in turn to A X' Bᵀ = X', X' = (X - min) / max, with a ridge of 1.

    After its first fit B maps into the space of the n rows, so that all is done there.
    """
    scaled = (X - X.min()) / X.max()
    rows, sizes, columns = np.linalg.svd(scaled, full_matrices=False)
    start = rng.standard_normal((X.shape[1], len(sizes)))
    A, B = _fitted(sizes, columns @ start, start.T @ start), np.eye(len(sizes))
    for k in range(ITERATIONS):
        A = A if k == 0 else _fitted(sizes, B, B.T @ B)
        B = _fitted(sizes, A, A.T @ A)
    return rows @ A @ rows.T @ X @ columns.T @ B.T @ columns


def _fitted(sizes: Array, other: Array, square: Array) -> Array:
    """The one factor for the other, M, whose square MᵀM is given: S M S (S MᵀM S + 1)⁻¹, S the diagonal matrix of the sizes."""
    scale = np.outer(sizes, sizes)
    return np.linalg.solve(scale * square + np.eye(len(sizes)), (scale * other).T).T


@dataclass(frozen=True)
class BaselineMultiKrum(Mixing):
    """Multi-Krum that is told of any number of attackers, a majority as well: the mean of the m rows of least score.

    Args:
        f: is not used.
        told: how many attackers it is told of; n - told - 2 neighbours count.
        m: how many rows are kept.

    Source: Flower's legacy Krum, as FLANDERS' baseline calls it.
    """

    f: int = param(0, ge=0)
    told: int = param(0, ge=0)
    m: int = param(3, ge=1)
    ties_by_position = True
    sees_all = True
    reference = SOURCE

    def min_n(self) -> int:
        """One neighbour, and m rows."""
        return max(self.told + 3, self.m)

    def mix(self, view: View) -> Combination:
        """1/m on each of the kept rows."""
        scores = krum_scores(sq_distances(view.gram), self.told)
        return mean_of(np.argsort(scores, kind="stable")[: self.m].tolist(), view.n, scores)
