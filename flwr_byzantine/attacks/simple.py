"""The plainest attacks: the own update scaled or reversed, noise, zeros, NaN, infinity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, OwnAttack
from flwr_byzantine.declare.params import param


@dataclass(frozen=True)
class SignFlip(OwnAttack):
    """Sends -scale times its own honest update.

    ByzFL's attack of this name sends the negative mean of the honest updates instead.

    Args:
        scale: strength, above 0; 1 changes the sign only.

    Source: Li, Xu, Chen, Giannakis, Ling, AAAI 2019.

    Example:
        >>> import numpy as np
        >>> SignFlip(scale=2.0)(np.array([[1.0, -1.0]]), 1).tolist()
        [[-2.0, 2.0]]
    """

    scale: float = param(1.0, kind=float, gt=0)
    sees_model: ClassVar[bool] = False
    reference: ClassVar[str] = "Li, Xu, Chen, Giannakis, Ling, AAAI 2019"

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """-scale · update."""
        return -self.scale * update


@dataclass(frozen=True)
class Scaling(OwnAttack):
    """Sends factor times its own honest update; with factor = n, averaging makes the attacker's model the global one.

    Args:
        factor: any number but 1, which is the honest update; below 0 it changes the sign as well.

    Source: Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020.

    Example:
        >>> import numpy as np
        >>> Scaling(factor=3.0)(np.array([[1.0, 2.0]]), 1).tolist()
        [[3.0, 6.0]]
    """

    factor: float = param(10.0, kind=float)
    sees_model: ClassVar[bool] = False
    reference: ClassVar[str] = "Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020"

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """Factor · update."""
        return self.factor * update

    def idle(self, n: int, f: int, rounds: int | None = None) -> str:
        """Says where the factor is 1."""
        return "Scaling sends its own honest update: factor is 1; pass another, such as factor=10" if self.factor == 1 else ""


@dataclass(frozen=True)
class Gaussian(OwnAttack):
    """Sends noise: coordinates drawn independently from N(0, std²), whatever its honest update is.

    Args:
        std: standard deviation in the units of the updates, above 0.
        added: send the honest update plus the noise, as the code of FLANDERS (Gabrielli, Tolomei, Belli, Miori, 2023).

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017.

    Example:
        >>> import numpy as np
        >>> Gaussian()(np.zeros((3, 2)), 2).shape
        (2, 2)
    """

    std: float = param(1.0, kind=float, gt=0)
    added: bool = param(False, kind=bool)
    sees_model: ClassVar[bool] = False
    reference: ClassVar[str] = "Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017"

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """A draw from `context.rng`, added to the update or in its place."""
        noise = context.rng.normal(0.0, self.std, len(update))
        return np.asarray(update + noise) if self.added else noise


@dataclass(frozen=True)
class Zero(OwnAttack):
    """Sends zeros, that is, the broadcast model: a free rider, who takes the model and does no work.

    Source: Lin, Du, Liu, arXiv 1911.12560, 2019.

    Example:
        >>> import numpy as np
        >>> Zero()(np.ones((3, 2)), 1).tolist()
        [[0.0, 0.0]]
    """

    sees_model: ClassVar[bool] = False
    reference: ClassVar[str] = "Lin, Du, Liu, 2019 (arXiv 1911.12560)"

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """Zeros."""
        return np.zeros_like(update)


@dataclass(frozen=True)
class NaNs(OwnAttack):
    """Sends its own update with NaN in every coordinate, or in a share of them: one is enough to ruin an average.

    Args:
        share: share of the coordinates that are NaN, in (0, 1], counted from the first; at least one is.

    Source: El Mhamdi, Guerraoui, Rouault, ICLR 2021 (their code's "nan" attack).

    Example:
        >>> import numpy as np
        >>> NaNs(share=0.5)(np.ones((3, 2)), 1).tolist()
        [[nan, 1.0]]
    """

    share: float = param(1.0, kind=float, gt=0, le=1)
    finite: ClassVar[bool] = False
    sees_model: ClassVar[bool] = False
    reference: ClassVar[str] = "El Mhamdi, Guerraoui, Rouault, ICLR 2021"

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """The update with NaN in its first coordinates."""
        return _overwritten(update, self.share, np.nan)


@dataclass(frozen=True)
class Inf(OwnAttack):
    """Sends its own update with infinity in every coordinate, or in a share of them.

    Args:
        share: share of the coordinates that are infinite, in (0, 1], counted from the first; at least one is.
        sign: 1 for +inf (as in ByzFL), -1 for -inf.

    Source: Guerraoui, Gupta, Pinot, Rouault, Stephan, ByzFL, 2025 (its "inf" attack).

    Example:
        >>> import numpy as np
        >>> Inf(share=0.5, sign=-1)(np.ones((3, 2)), 1).tolist()
        [[-inf, 1.0]]
    """

    share: float = param(1.0, kind=float, gt=0, le=1)
    sign: int = param(1, choices=(1, -1))
    finite: ClassVar[bool] = False
    sees_model: ClassVar[bool] = False
    reference: ClassVar[str] = "ByzFL, 2025 (arXiv 2505.24802)"

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """The update with infinity in its first coordinates."""
        return _overwritten(update, self.share, self.sign * np.inf)


def _overwritten(update: Array, share: float, value: float) -> Array:
    changed = update.copy()
    changed[: max(1, int(share * len(update)))] = value
    return changed
