"""Blocks whose rows lie one after the other in memory, as one block: one pass over all of it costs less than a pass over each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.typing import Array


def joined(blocks: Sequence[Block]) -> list[Block]:
    """The blocks as one, where the arrays of each sender are parts of one vector, as those of clients in this process are; else as given.

    Example:
        >>> vectors = np.eye(3)
        >>> together = joined([Block(list(vectors[:, :2])), Block(list(vectors[:, 2:]))])
        >>> [block.width for block in together], np.shares_memory(together[0].rows[0], vectors)
        ([3], True)
    """
    if len(blocks) < 2 or len({block.rows[0].dtype for block in blocks}) > 1 or any(_counts_apart(block) for block in blocks):
        return list(blocks)
    senders = list(zip(*(block.rows for block in blocks), strict=True))
    different = {tuple(map(id, parts)): parts for parts in senders}  # who sends one and the same stays one and the same
    wholes = {key: whole for key, parts in different.items() if (whole := _whole(parts)) is not None}
    return [Block([wholes[tuple(map(id, parts))] for parts in senders])] if len(wholes) == len(different) else list(blocks)


def separate(values: Sequence[Array], blocks: Sequence[Block]) -> list[Array]:
    """What was made of `joined(blocks)`, as values of each block."""
    if len(values) == len(blocks):
        return list(values)
    return np.split(values[0], list(accumulate(block.width for block in blocks))[:-1])


def _counts_apart(block: Block) -> bool:
    return block.origin is not None or block.scale != 1.0


def _whole(parts: Sequence[Array]) -> Array | None:
    """The vector that these are the parts of, in their order; None where they are not."""
    base = parts[0].base
    if not isinstance(base, np.ndarray) or not base.flags.c_contiguous or any(part.base is not base for part in parts):
        return None
    starts = [_address(part) for part in parts]
    if any(start + part.nbytes != after for start, part, after in zip(starts, parts, starts[1:], strict=False)):
        return None
    return np.ndarray(sum(map(len, parts)), parts[0].dtype, base, starts[0] - _address(base))


def _address(values: Array) -> Any:
    return values.__array_interface__["data"][0]
