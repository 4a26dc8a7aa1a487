"""Zeno and Zeno++: clients whose updates do not lower the loss on the server's own data, or go against its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.detecting.base import LARGEST, Detector, least, rows_of, said_of
from flwr_byzantine.rules.results import Verdict
from flwr_byzantine.rules.view import View


@dataclass(frozen=True)
class Zeno(Detector):
    """Keeps the n - f clients whose updates lower the server's loss most, less rho times their squared length.

    The paper's score is loss(x) - loss(x + γu) - ρ‖u‖², for an update u; what is reported is its negative, the suspicion.

    Call as `rule(X, loss=function)`, with a function of a (d,) delta of the model to its loss on data of the server's own; a strategy
    takes `server_loss=`. Where clients answer with gradients, it is the loss of the model that goes against them. Of at most f rows it may
    raise: their loss is infinite.

    Args:
        f: how many rows are left out (the paper's b), and how many Byzantine ones the rule after it is to withstand; needs n >= 2f + 1.
        rho: the paper's ρ, what the square of a length costs.
        gamma: the paper's γ: 1 where rows are updates, the step size where they are gradients.

    Source: Xie, Koyejo, Gupta, ICML 2019.

    Example:
        >>> from flwr_byzantine import rules
        >>> rules.chain(Zeno(f=1), rules.Mean())([[1.0], [0.8], [-9.0]], loss=lambda u: float((u[0] - 1.0) ** 2)).tolist()
        [0.9]
    """

    f: int = param(0, ge=0)
    rho: float = param(0.0005, kind=float, ge=0)
    gamma: float = param(1.0, kind=float, gt=0)
    scales: ClassVar[bool] = False
    cost: ClassVar[str] = "nd + n losses"
    uses_gram: ClassVar[bool] = False
    reference: ClassVar[str] = "Xie, Koyejo, Gupta, ICML 2019"

    def min_n(self) -> int:
        """More than twice as many as are left out."""
        return 2 * self.f + 1

    def most_out(self, n: int) -> int:
        """f, always."""
        return self.f

    def judge(self, view: View) -> Verdict:
        """The n - f of the least negative scores."""
        if view.server.loss is None:
            raise InvalidParameter(f"{self} compares losses on data of the server's own: pass loss= (a strategy: server_loss=), a function")
        rows, loss = rows_of(view), view.server.loss
        now = float(loss(np.zeros(view.updates.d)))
        losses = said_of(rows, lambda row: float(loss(self.gamma * row)), self.f)
        with np.errstate(over="ignore", invalid="ignore"):
            drops = now - np.array([np.inf if found is None else found for found in losses])
            scores = self.rho * (rows**2).sum(axis=1) - drops
        scores = np.clip(np.where(np.isnan(scores), LARGEST, scores), -LARGEST, LARGEST)
        kept, threshold = least(scores, view.n - self.f)
        return Verdict(scores, kept, threshold)


@dataclass(frozen=True)
class ZenoPlusPlus(Detector):
    """Keeps the clients whose updates, at the length of the server's own, go along with it: γ⟨v, u⟩ - ρ‖u‖² >= -γε.

    v is the server's own update, which stands for its gradient, and u a client's at its length; those kept count at that length.
    What is reported is ρ‖u‖² - γ⟨v, u⟩ against γε. Rows are judged one by one, so that a round of one reply (the paper's
    asynchronous server) is as good as any.

    Call as `rule(X, trusted=v)`; a strategy takes `server_update=`, as for `FLTrust`.

    Args:
        f: number of Byzantine rows to withstand; the rule after it uses it, the detector does not.
        rho: the paper's ρ, what the square of a length costs.
        epsilon: the paper's ε, how much a client may go against the server.
        gamma: the paper's γ, the server's step.

    Source: Xie, Koyejo, Gupta, ICML 2020.

    Example:
        >>> from flwr_byzantine import rules
        >>> rules.chain(ZenoPlusPlus(), rules.Mean())([[9.0, 0.0], [0.0, 0.5], [-9.0, 0.0]], trusted=np.array([1.0, 0.5])).round(3).tolist()
        [0.559, 0.559]
    """

    f: int = param(0, ge=0)
    rho: float = param(0.0005, kind=float, ge=0)
    epsilon: float = param(0.0, kind=float, ge=0)
    gamma: float = param(1.0, kind=float, gt=0)
    anchors: ClassVar[tuple[str, ...]] = ("trusted",)
    reference: ClassVar[str] = "Xie, Koyejo, Gupta, ICML 2020"

    def judge(self, view: View) -> Verdict:
        """Those that go along with the server."""
        rows, own = rows_of(view), view.updates.take([view.n]).at(np.arange(view.updates.d))[0]  # the anchor, measured as the rows are
        length, lengths = float(np.linalg.norm(own)), np.linalg.norm(rows, axis=1)
        factors = np.where(lengths > 0, length / np.where(lengths > 0, lengths, 1.0), 0.0)
        scores = self.rho * (factors * lengths) ** 2 - self.gamma * factors * _products(rows, own)
        bound = self.gamma * self.epsilon
        kept = scores <= bound + 1e-12 * (self.rho + self.gamma) * length**2
        return Verdict(scores, kept, bound, factors=factors)


def _products(rows: Array, own: Array) -> Array:
    """(n,) inner products with the server's own update."""
    return np.asarray(rows @ own)
