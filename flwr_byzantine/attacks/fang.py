"""The attacks of Fang et al.: against the sign of the honest mean, as far as Krum or a trimmed mean lets the attackers go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import Attack, AttackContext, ColludingAttack
from flwr_byzantine.attacks.colluding import sq_distances
from flwr_byzantine.declare.params import param

FANG = "Fang, Cao, Jia, Gong, USENIX Security 2020"
TENSORS, HIGHEST = 4, 999.0  # of FLANDERS' network; its largest λ


@dataclass(frozen=True)
class FangKrum(ColludingAttack):
    """All send -λ s, s the sign of the honest mean, with the largest λ at which Krum selects it.

    λ is halved from the paper's upper bound (its Theorem 1) until Krum, simulated over the honest updates and f copies of
    the attack, selects one of the copies; where it does so for no λ above the floor, the last λ is sent. The paper writes
    models, w_Re - λ s with w_Re the broadcast model; in updates that is the origin. All attackers send the same (its ε = 0).

    The form "flanders" is that of the code of FLANDERS: w_Re is in all rounds the model that an honest client sent in the
    first one, whether anybody attacks in it or not, and s the signs of its weights. Once training has left that model behind,
    Krum selects it for no λ, and the attackers send an old model. The first λ is of squared distances, and 999 at most: far
    larger than the paper's, so that attackers whom Krum selects at any λ, as a majority, send something huge.

    Args:
        floor: λ below which the search ends, above 0.
        form: "paper" or "flanders"; the latter needs the broadcast model, and takes 0 where that is not known.

    Source: Fang, Cao, Jia, Gong, USENIX Security 2020; "flanders": Gabrielli, Tolomei, Belli, Miori, 2023, Flower's baseline.

    Example:
        >>> import numpy as np
        >>> bool(FangKrum()(np.array([[-0.1], [0.0], [0.1], [0.2], [0.3]]), 2)[0, 0] < -0.05)
        True
    """

    floor: float = param(1e-5, kind=float, gt=0)
    form: str = param("paper", kind=str, choices=("paper", "flanders"))
    reference: ClassVar[str] = FANG

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """w_Re - λ s as an update."""
        start, sign = self._start(honest, context)
        shifted = honest - start
        D = sq_distances(shifted, shifted.mean(axis=0))
        square, along = (shifted**2).sum(axis=1), (shifted * sign).sum(axis=1)
        lam = self._bound(D, shifted, f) if self.form == "paper" else self._flanders_bound(D, shifted, f)
        while lam >= self.floor and not _krum_selects(D, square + lam * (2 * along + lam * np.abs(sign).sum()), f):
            lam /= 2
        return np.asarray(start - lam * sign)

    @property
    def watches(self) -> bool:
        """Whether the model of the first round is wanted, in which FLANDERS' code lets nobody attack."""
        return self.form == "flanders"

    def next_memory(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """For "flanders", the model that an honest client sent in the first round."""
        return {} if self.form == "paper" else {"first": self._first(honest, context)}

    def _start(self, honest: Array, context: AttackContext) -> tuple[Array, Array]:
        """(d,) w_Re as an update, and s."""
        if self.form == "paper":
            return np.zeros(honest.shape[1]), np.sign(honest.mean(axis=0))
        first = self._first(honest, context)
        return first - _broadcast(context), np.sign(first)

    @staticmethod
    def _first(honest: Array, context: AttackContext) -> Array:
        """(d,) the model that an honest client sent in the first round."""
        return np.asarray(context.memory.get("first", honest[0] + _broadcast(context)))

    @staticmethod
    def _bound(D: Array, honest: Array, f: int) -> float:
        """The upper bound on λ of the paper's Theorem 1."""
        h, d = honest.shape
        nearest = np.sort(np.sqrt(D), axis=1)[:, 1 : max(h - 1, 2)].sum(axis=1)
        far = np.linalg.norm(honest, axis=1).max()
        return float((nearest.min() / max(h - f - 1, 1) + far) / np.sqrt(d))

    @staticmethod
    def _flanders_bound(D: Array, honest: Array, f: int) -> float:
        """The first λ of FLANDERS' code, for the four tensors of its network, whose joint norm stands for the sum of their norms."""
        nearest = np.sort(D, axis=1)[:, 1 : max(len(D) - 1, 2)].sum(axis=1)
        pairs = (len(D) + f - 2) * max(f - 1, 1)
        return float(min((nearest.min() / pairs + (honest**2).sum(axis=1).max()) / np.sqrt(TENSORS), HIGHEST))


def _broadcast(context: AttackContext) -> Array | float:
    return 0.0 if context.broadcast is None else context.broadcast


def _krum_selects(D: Array, to_bad: Array, f: int) -> bool:
    """Whether Krum takes one of f copies that lie at squared distances `to_bad` from the honest rows."""
    h = len(D)
    neighbours = max(h - 2, 1)
    rows = np.hstack([D + np.diag(np.full(h, np.inf)), np.tile(to_bad[:, None], f)])
    honest = np.sort(rows, axis=1)[:, :neighbours].sum(axis=1).min()
    bad = np.sort(np.concatenate([np.zeros(f - 1), to_bad]))[:neighbours].sum()
    return bool(bad < honest)


@dataclass(frozen=True)
class FangTrimmedMean(Attack):
    """Each attacker sends random values just outside the honest ones, on the side opposite to the sign of the honest mean.

    In each coordinate whose honest mean is positive the values are uniform between the honest minimum m and m / b (m > 0)
    or m b (m <= 0), else between the maximum M and M b (M > 0) or M / b: the form "full". The form "partial" draws from
    [μ - 4σ, μ - 3σ] or [μ + 3σ, μ + 4σ], with the mean and standard deviation of the updates that the attackers see. The
    paper uses the same attack against the median.

    Args:
        form: "full" or "partial" knowledge.
        b: how far beyond the extreme value, above 1; the paper's is 2.

    Source: Fang, Cao, Jia, Gong, USENIX Security 2020.

    Example:
        >>> import numpy as np
        >>> sent = FangTrimmedMean()(np.array([[2.0], [4.0]]), 3)
        >>> bool((sent >= 1.0).all() and (sent <= 2.0).all())
        True
    """

    form: str = param("full", kind=str, choices=("full", "partial"))
    b: float = param(2.0, kind=float, gt=1)
    reference: ClassVar[str] = FANG

    def craft(self, honest: Array, f: int, context: AttackContext) -> Array:
        """(f, d) uniform draws."""
        side = np.where(honest.mean(axis=0) > 0, -1.0, 1.0)
        near, far = self._edges(honest, side)
        return np.asarray(near + context.rng.random((f, honest.shape[1])) * (far - near))

    def _edges(self, honest: Array, side: Array) -> tuple[Array, Array]:
        """(d,) ends of the interval of each coordinate: the one near the honest values, and the other; `side` is -1 or 1."""
        if self.form == "partial":
            mean, std = honest.mean(axis=0), honest.std(axis=0)
            return mean + 3 * side * std, mean + 4 * side * std
        near = np.where(side < 0, honest.min(axis=0), honest.max(axis=0))
        return near, np.where(side * near > 0, near * self.b, near / self.b)
