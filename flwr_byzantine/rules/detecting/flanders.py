"""FLANDERS: clients whose local models are not what a matrix autoregression of all clients' models lets expect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.detecting.base import LARGEST, Detector, least, recalled, rows_of, senders
from flwr_byzantine.rules.detecting.memory import Senders
from flwr_byzantine.rules.detecting.movement import origin_of
from flwr_byzantine.rules.results import Verdict
from flwr_byzantine.rules.view import View


@dataclass(frozen=True)
class FLANDERS(Detector):
    """Keeps the n - f clients whose local models are nearest to their forecast from the last rounds.

    The clients' models, columns of a matrix Θ, are forecast as A Θ B from the last one, A and B fitted to the matrices of the last
    `window` rounds by alternating ridge regressions. The score is the squared distance to the forecast. Nobody is left out
    before two rounds have passed.

    Conventions. `sampling` coordinates, the same in all rounds, stand for the model. The ridge is of 1, in units of the largest
    value, A and B begin as identities and are fitted until they stay, `max_iter` times at most. A client that is new, that was
    away, or that was left out counts in such a round with the mean of those that were kept.

    State: window times sampling numbers for each client, of the `remember` seen last.

    Args:
        f: how many rows are left out, and how many Byzantine ones the rule after it is to withstand; needs n >= 2f + 1.
        window: rounds that A and B are fitted to.
        sampling: how many coordinates are looked at.
        max_iter: most alternations of a fit.
        remember: how many clients are remembered.
        seed: of the choice of coordinates.

    Source: Gabrielli, Belli, Matrullo, Miori, Tolomei, arXiv 2303.16668, 2023.

    Example:
        >>> from flwr_byzantine import rules
        >>> rule = rules.chain(FLANDERS(f=1), rules.Mean())
        >>> state = rule.init(2)
        >>> for k in (1.0, 2.0, 3.0):
        ...     _, state = rule.step([[k, 0.0], [k, 0.1], [k, 0.2], [-9.0 * k * k, k]], state)
        >>> rule.step([[4.0, 0.0], [4.0, 0.1], [4.0, 0.2], [50.0, -9.0]], state)[0].round(1).tolist()
        [4.0, 0.1]
    """

    f: int = param(0, ge=0)
    window: int = param(10, ge=2)
    sampling: int = param(500, ge=1)
    max_iter: int = param(100, ge=1)
    remember: int = param(1000, ge=1)
    seed: int = param(0, ge=0)
    equivariant: ClassVar[bool] = True
    stateful: ClassVar[bool] = True
    cost: ClassVar[str] = "nd + max_iter window sampling² (n + sampling)"
    uses_gram: ClassVar[bool] = False
    reference: ClassVar[str] = "Gabrielli, Belli, Matrullo, Miori, Tolomei, arXiv 2303.16668, 2023"

    def min_n(self) -> int:
        """More than twice as many as are left out."""
        return 2 * self.f + 1

    def most_out(self, n: int) -> int:
        """f, in every round that has something to forecast from."""
        return self.f

    def judge(self, view: View) -> Verdict:
        """The n - f of the least scores."""
        arrays, ids, models = recalled(self, view), senders(view), self._models(view)
        known, means = Senders.of(arrays), arrays.get("means", np.zeros((0, models.shape[1])))
        blank = np.full((view.n, self.window, models.shape[1]), np.nan)
        past = known.recall_aligned("models", ids, blank, view.state.round)[:, self.window - len(means) :]
        scores, kept, threshold = np.zeros(view.n), np.ones(view.n, bool), None
        if len(means) >= 2:
            scores = self._scores(np.where(np.isnan(past), means[None], past), models)
            kept, threshold = least(scores, view.n - self.f)
        means = np.concatenate([means, models[kept].mean(axis=0)[None]])[-self.window :]
        now = np.where(kept[:, None], models, np.nan)
        series = known.recall_aligned("models", ids, blank, view.state.round)
        following = known.after(ids, view.state.round, {"models": np.concatenate([series[:, 1:], now[:, None]], axis=1)}, self.remember)
        return Verdict(scores, kept, threshold, {**following.arrays(), "means": means})

    def _models(self, view: View) -> Array:
        """(n, c) local models at the coordinates that are looked at."""
        d, origin = view.updates.d, origin_of(view)
        places = np.arange(d)
        if d > self.sampling:
            places = np.sort(np.random.default_rng([self.seed, d]).choice(d, self.sampling, replace=False))
        rows = rows_of(view)[:, places]
        return rows if origin is None else rows + origin[places]

    def _scores(self, past: Array, now: Array) -> Array:
        """(n,) squared distances of (n, c) models to the forecast from (n, T, c) earlier ones."""
        series = past.transpose(1, 2, 0)
        scale = float(np.abs(series).max()) or 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            apart = forecast(series / scale, self.max_iter).T - now / scale
            squares = np.nan_to_num((apart**2).sum(axis=1), nan=LARGEST) * min(scale, 1e100) ** 2
            return np.asarray(np.minimum(squares, LARGEST))


def forecast(series: Array, max_iter: int, ridge: float = 1.0, tol: float = 1e-6) -> Array:
    """(c, n) what follows on (T, c, n) matrices X, as A X B with A and B fitted to them.

    Alternating least squares with a ridge penalty, from identities.

    Source: Chen, Xiao, Yang, Journal of Econometrics 2021.

    Example:
        >>> forecast(np.array([[[1.0]], [[0.5]], [[0.25]]]), max_iter=50, ridge=0.0).tolist()
        [[0.125]]
    """
    before, after = series[:-1], series[1:]
    A, B = np.eye(series.shape[1]), np.eye(series.shape[2])
    for _ in range(max_iter):
        last = B
        A = _fitted(before @ B, after, ridge)
        B = _fitted((A @ before).transpose(0, 2, 1), after.transpose(0, 2, 1), ridge).T
        if np.abs(B - last).max() <= tol * np.abs(last).max():
            break
    return np.asarray(A @ series[-1] @ B)


def _fitted(Z: Array, X: Array, ridge: float) -> Array:
    """The matrix M that makes the sum of ‖X_t - M Z_t‖² + ridge ‖M‖² least."""
    products = np.tensordot(X, Z, axes=([0, 2], [0, 2]))
    own = np.tensordot(Z, Z, axes=([0, 2], [0, 2])) + ridge * np.eye(Z.shape[1])
    return np.asarray(np.linalg.lstsq(own, products.T, rcond=None)[0].T if ridge == 0 else np.linalg.solve(own, products.T).T)
