"""Attacks that need the client's own update only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, OwnAttack
from flwr_byzantine.declare.params import param


@dataclass(frozen=True)
class SignFlip(OwnAttack):
    """-scale times the own update; ByzFL turns the honest mean round instead.

    Args:
        scale: strength; 1 only turns it round.

    Source: Li, Xu, Chen, Giannakis, Ling, AAAI 2019.

    Example:
        >>> import numpy as np
        >>> SignFlip(scale=2.0)(np.array([[1.0, -1.0]]), 1).tolist()
        [[-2.0, 2.0]]
    """

    scale: float = param(1.0, kind=float, gt=0)
    reference: ClassVar[str] = "Li, Xu, Chen, Giannakis, Ling, AAAI 2019"

    def own(self, update: Array, context: AttackContext) -> Array:
        """Turn it round."""
        return -self.scale * update


@dataclass(frozen=True)
class Scaling(OwnAttack):
    """factor times the own update: with factor = n, model replacement under averaging.

    Args:
        factor: how much larger.

    Source: Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020.

    Example:
        >>> import numpy as np
        >>> Scaling(factor=3.0)(np.array([[1.0, 2.0]]), 1).tolist()
        [[3.0, 6.0]]
    """

    factor: float = param(10.0, kind=float)
    reference: ClassVar[str] = "Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020"

    def own(self, update: Array, context: AttackContext) -> Array:
        """Scale it."""
        return self.factor * update


@dataclass(frozen=True)
class Gaussian(OwnAttack):
    """Independent N(0, std²) coordinates in place of the update.

    Args:
        std: standard deviation, in the units of the updates.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017.

    Example:
        >>> import numpy as np
        >>> Gaussian()(np.zeros((3, 2)), 2).shape
        (2, 2)
    """

    std: float = param(1.0, kind=float, gt=0)
    reference: ClassVar[str] = "Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017"

    def own(self, update: Array, context: AttackContext) -> Array:
        """Noise."""
        return context.rng.normal(0.0, self.std, len(update))


@dataclass(frozen=True)
class Zero(OwnAttack):
    """No change at all: the plain free rider.

    Source: Lin, Du, Liu, arXiv 1911.12560, 2019.

    Example:
        >>> import numpy as np
        >>> Zero()(np.ones((3, 2)), 1).tolist()
        [[0.0, 0.0]]
    """

    reference: ClassVar[str] = "Lin, Du, Liu, 2019 (arXiv 1911.12560)"

    def own(self, update: Array, context: AttackContext) -> Array:
        """Zeros."""
        return np.zeros_like(update)


@dataclass(frozen=True)
class NaNs(OwnAttack):
    """NaN in every coordinate, or in a share of them: one is enough to ruin an unguarded average.

    Args:
        share: part of the coordinates, from the first on; one at least.

    Source: El Mhamdi, Guerraoui, Rouault, ICLR 2021 (their code's "nan" attack).

    Example:
        >>> import numpy as np
        >>> NaNs(share=0.5)(np.ones((3, 2)), 1).tolist()
        [[nan, 1.0]]
    """

    share: float = param(1.0, kind=float, gt=0, le=1)
    finite: ClassVar[bool] = False
    reference: ClassVar[str] = "El Mhamdi, Guerraoui, Rouault, ICLR 2021"

    def own(self, update: Array, context: AttackContext) -> Array:
        """Spoil the first coordinates."""
        return _spoilt(update, self.share, np.nan)


@dataclass(frozen=True)
class Inf(OwnAttack):
    """Infinity in every coordinate, or in a share of them.

    Args:
        share: part of the coordinates, from the first on; one at least.
        sign: 1 for +inf (ByzFL's), -1 for -inf.

    Source: Guerraoui, Gupta, Pinot, Rouault, Stephan, ByzFL, 2025 (its "inf" attack).

    Example:
        >>> import numpy as np
        >>> Inf(share=0.5, sign=-1)(np.ones((3, 2)), 1).tolist()
        [[-inf, 1.0]]
    """

    share: float = param(1.0, kind=float, gt=0, le=1)
    sign: int = param(1, choices=(1, -1))
    finite: ClassVar[bool] = False
    reference: ClassVar[str] = "ByzFL, 2025 (arXiv 2505.24802)"

    def own(self, update: Array, context: AttackContext) -> Array:
        """Spoil the first coordinates."""
        return _spoilt(update, self.share, self.sign * np.inf)


def _spoilt(update: Array, share: float, value: float) -> Array:
    spoilt = update.copy()
    spoilt[: max(1, int(share * len(update)))] = value
    return spoilt
