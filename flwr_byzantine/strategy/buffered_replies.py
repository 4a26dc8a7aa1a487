"""Replies to models of different ages as replies to the newest: each delta is discounted by its age, and counts from that model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, Message, RecordDict

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.flower.codec import pack
from flwr_byzantine.flower.compat import with_content
from flwr_byzantine.strategy.template import Template


@dataclass(frozen=True)
class Given:
    """A model that nodes were sent.

    Attributes:
        template: what it looks like.
        version: how many models there were before it.
    """

    template: Template
    version: int


@dataclass(frozen=True)
class Waiting:
    """A valid reply that waits in the buffer.

    Attributes:
        message: as it came.
        rows: its arrays, flat.
        given: the model that its node was sent.
        seconds: how long its node took.
    """

    message: Message
    rows: list[Array]
    given: Given
    seconds: float

    def at(self, newest: Given, exponent: float) -> Message:
        """The reply as one to the newest model: that model plus the discounted delta; arrays that are not judged as they came.

        Args:
            newest: the newest model; a reply to it stays as it is.
            exponent: of the discount.
        """
        staleness = newest.version - self.given.version
        if staleness == 0:
            return self.message
        template, share = newest.template, discount(staleness, exponent)
        blocks = (template.roles.judged(blocks) for blocks in (template.values, self.rows, self.given.template.values))
        judged = [moved(own, row, origin, share) for own, row, origin in zip(*blocks, strict=True)]
        arrays = template.unflatten(template.roles.merged(judged, template.roles.state(self.rows)))
        content = {key: pack(arrays) if isinstance(record, ArrayRecord) else record for key, record in self.message.content.items()}
        return with_content(self.message, RecordDict(content))


def moved(own: Array, row: Array, origin: Array, share: float) -> Array:
    """The flat array own + share (row - origin), rounded to the model's dtype once; what overflows counts as the largest number.

    Example:
        >>> moved(np.zeros(2), np.array([1.0, 3.0]), np.ones(2), share=0.5).tolist()
        [0.0, 1.0]
    """
    out, top = np.empty_like(own), np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        delta = np.clip(row.astype(np.float64) - origin, -top, top)
        kernels.round_into(np.clip(own + share * delta, -top, top), out)
    return out


def discount(staleness: int, exponent: float = 0.5) -> float:
    """(1 + staleness)^-exponent: what is left of a delta whose model was replaced so often since; FedBuff's exponent is 1/2.

    Source: Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek, Huba, AISTATS 2022.

    Example:
        >>> discount(3)
        0.5
    """
    return float((1 + staleness) ** -exponent)
