"""DeepSight: clusters of clients, by what their updates of the output layer and their predictions say of their training data."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.geometry import HUGE, cosines
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.extras import missing
from flwr_byzantine.declare.params import param
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.clipping import clip_factors
from flwr_byzantine.rules.detecting.base import Detector, rows_of, said_of
from flwr_byzantine.rules.results import Verdict
from flwr_byzantine.rules.server import Layer, Layout
from flwr_byzantine.rules.view import View

SMALL = 1e-6  # added to predictions that others are divided by
SETS = 3  # of inputs


@dataclass(frozen=True)
class DeepSight(Detector):
    """Leaves out clusters of clients in which many were trained on data of few labels; the others are clipped to the median length.

    Of the output layer's update it takes the energy of each neuron, |bias| + Σ |weights|, squared and divided by their sum
    (NEUP). A client with no more than half of the median number of energies above max(0.01, 1/P) times its largest is
    suspicious. Clients are clustered by HDBSCAN thrice: by their NEUPs, by the cosine distances of their biases' updates, and by
    DDifs, the means of their predictions divided by the broadcast model's, for each of three sets of inputs; then by the share of
    these in which two are apart. The score is the share of suspicious ones in a client's cluster, 1 outside all clusters; from `tau`
    on a client is left out.

    Needs the layout, which strategies give and `layout=` is for bare arrays, and scikit-learn (the extra `detect`). The DDifs need
    `predict=` (a strategy: `server_predict=`), a function of a (d,) delta of the model to its outputs, (samples, classes), on
    inputs that stay the same: random ones as in the paper, which takes 20,000. It may raise for at most f rows, whose outputs then
    count as huge. Without it, the other two decide.

    Conventions. The output layer is the last array of two or more dimensions, and its bias the next one, if that has as many values as
    it has rows or columns; without a bias there is no cosine. HDBSCAN has 3 neighbours and clusters of `min_cluster`.

    Args:
        f: number of Byzantine rows to withstand; the rule after it uses it, the detector does not.
        tau: share of suspicious clients from which a cluster is left out.
        min_cluster: least size of a cluster; as many rows are needed.

    Source: Rieger, Nguyen, Miettinen, Sadeghi, NDSS 2022.

    Example:
        >>> from flwr_byzantine import rules
        >>> rng = np.random.default_rng(0)
        >>> X = 1.0 + 0.1 * rng.normal(size=(12, 6))
        >>> X[8:, 1:] *= 0.001  # trained on one label
        >>> found = rules.chain(DeepSight(min_cluster=3), rules.Mean()).aggregate(X, layout={"w": (3, 1), "b": (3,)})
        >>> found.detections[0].kept[8:].any()
        np.False_
    """

    f: int = param(0, ge=0)
    tau: float = param(1 / 3, kind=float, gt=0, le=1)
    min_cluster: int = param(5, ge=2)
    cost: ClassVar[str] = "nd + n predictions"
    uses_gram: ClassVar[bool] = False
    reference: ClassVar[str] = "Rieger, Nguyen, Miettinen, Sadeghi, NDSS 2022"

    def min_n(self) -> int:
        """As many as a cluster has at least, and as HDBSCAN looks at."""
        return max(2 * self.f + 1, self.min_cluster, 4)

    def judge(self, view: View) -> Verdict:
        """The clusters with too many suspicious clients."""
        rows = rows_of(view)
        energies, biases = output_energies(rows, view.layout)
        above = (energies > max(0.01, 1 / energies.shape[1]) * energies.max(axis=1, keepdims=True)).sum(axis=1)
        suspicious = above <= np.median(above) / 2
        apart = [[_apart(self._clusters(energies))]]
        if biases is not None:
            apart.append([_apart(self._clusters(1.0 - cosines(_unit(biases) @ _unit(biases).T), precomputed=True))])
        if view.server.predict is not None:
            apart.append([_apart(self._clusters(part)) for part in _differences(view, rows, self.f)])
        merged = np.mean([np.mean(kind, axis=0) for kind in apart], axis=0)
        scores = _shares(self._clusters(merged, precomputed=True, single=True), suspicious)
        lengths = np.linalg.norm(rows, axis=1)
        return Verdict(scores, scores < self.tau, self.tau, factors=clip_factors(lengths, float(np.median(lengths))))

    def _clusters(self, points: Array, precomputed: bool = False, single: bool = False) -> Array:
        """(n,) labels by HDBSCAN, -1 outside all clusters."""
        try:
            from sklearn.cluster import HDBSCAN
        except ModuleNotFoundError as error:
            raise missing("DeepSight", error) from None
        metric = "precomputed" if precomputed else "euclidean"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = HDBSCAN(min_cluster_size=self.min_cluster, min_samples=3, metric=metric, allow_single_cluster=single, copy=True)
            return np.asarray(made.fit(points).labels_)


def output_energies(rows: Array, layout: Layout) -> tuple[Array, Array | None]:
    """(n, P) normalised energies of the P output neurons, and (n, P) updates of their biases, or None where there are none.

    Raises:
        InvalidParameter: the layout has no array of two dimensions.
    """
    weights, bias = _output(layout)
    of_weights = np.abs(rows[:, weights.place]).reshape(len(rows), *weights.shape)
    neurons = 0 if bias is None or bias.size == weights.shape[0] else len(weights.shape) - 1
    axes = tuple(axis + 1 for axis in range(len(weights.shape)) if axis != neurons)
    biases = None if bias is None else rows[:, bias.place]
    energies = of_weights.sum(axis=axes) + (0.0 if biases is None else np.abs(biases))
    energies = (energies / np.maximum(energies.max(axis=1, keepdims=True), np.finfo(float).tiny)) ** 2
    total = energies.sum(axis=1, keepdims=True)
    return np.where(total > 0, energies / np.where(total > 0, total, 1.0), 1 / energies.shape[1]), biases


def _output(layout: Layout) -> tuple[Layer, Layer | None]:
    layers = layout.layers
    last = max((k for k, layer in enumerate(layers) if len(layer.shape) >= 2 and layer.size), default=None)
    if last is None:
        raise InvalidParameter(
            f"DeepSight looks at the output layer, a matrix: pass layout=, e.g. {{'w': (10, 84), 'b': (10,)}}, got {dict(layout.shapes)}"
        )
    weights = layers[last]
    bias = layers[last + 1] if last + 1 < len(layers) else None
    fits = bias is not None and len(bias.shape) == 1 and bias.size in (weights.shape[0], weights.shape[-1])
    return weights, bias if fits else None


def _differences(view: View, rows: Array, f: int) -> list[Array]:
    """For each of three parts of the inputs, (n, classes) means of a client's outputs divided by the broadcast model's."""
    predict = view.server.predict
    assert predict is not None
    own = np.asarray(predict(np.zeros(view.updates.d)), np.float64) + SMALL
    with np.errstate(all="ignore"):  # hostile models say anything
        found = said_of(rows, lambda row: np.asarray(predict(row), np.float64) / own, f)
        outputs = [np.clip(np.nan_to_num(np.full_like(own, HUGE) if said is None else said), -HUGE, HUGE) for said in found]
    parts = np.array_split(np.arange(len(own)), min(SETS, len(own)))
    return [np.array([output[part].mean(axis=0) for output in outputs]) for part in parts]


def _unit(rows: Array) -> Array:
    """The rows at length 1; those of zeros as they are."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    with np.errstate(under="ignore"):
        rows = rows / np.where(largest > 0, largest, 1.0)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


def _apart(labels: Array) -> Array:
    """(n, n) 1 where two are in different clusters, 0 where in the same; those outside all are one of their own."""
    return np.asarray(labels[:, None] != labels[None, :], np.float64)


def _shares(labels: Array, suspicious: Array) -> Array:
    """(n,) share of suspicious ones in each one's cluster; 1 outside all clusters."""
    return np.array([1.0 if label < 0 else suspicious[labels == label].mean() for label in labels])
