"""`Block`: one array of the model, in the updates of all senders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flwr_byzantine.arrays.typing import Array


@dataclass(frozen=True)
class Block:
    """One layer.

    Attributes:
        rows: n flat arrays of one length and dtype.
        origin: the broadcast values; None stands for zeros.
        scale: how many times its values count in distances, norms and inner products; the aggregate is not scaled.
    """

    rows: Sequence[Array]
    origin: Array | None = None
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Number of coordinates."""
        return len(self.rows[0])
