"""Reading npy bytes that nobody vouches for: without a copy, without trust, and never by pickle."""

from __future__ import annotations

import math

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.flower.codec import layout
from flwr_byzantine.flower.words import printable


def decode(data: bytes | Array) -> Array:
    """The array in npy bytes as a read-only view, whatever the bytes are; an array, of a node that lives in this process, as it is.

    The header is parsed with a size cap, and the payload's length must be what the header says before anything is allocated.
    `Array.dtype` and `Array.shape`, which the client fills in, are not looked at.

    Raises:
        MalformedUpdate: not npy, an oversized header, a dtype that is not plain numbers, or a payload whose length
            is not what the header says.

    Example:
        >>> from flwr_byzantine.flower.codec import pack
        >>> decode(pack({"w": np.arange(3.0)})["w"].data).tolist()
        [0.0, 1.0, 2.0]
    """
    if isinstance(data, np.ndarray):
        return data
    try:
        return _viewed(data)
    except MalformedUpdate:
        raise
    except Exception as error:  # whatever a forged header makes NumPy raise: 65 dimensions, a size beyond integers, ...
        raise MalformedUpdate(f"expected npy bytes, got {len(data)} bytes that are none ({type(error).__name__})") from None


def _viewed(data: bytes) -> Array:
    (shape, fortran, dtype), offset = layout(data)
    if dtype.hasobject or dtype.kind not in "fiubc":
        hint = "; bfloat16 and float8 are lost in npy bytes: send float32, which holds them exactly" if dtype.kind == "V" else ""
        raise MalformedUpdate(f"expected numbers, got dtype {printable(dtype, 60)}{hint}")
    count = math.prod(shape)
    if any(side < 0 for side in shape) or count * dtype.itemsize != len(data) - offset:
        raise MalformedUpdate(
            f"expected the {count} values of shape {printable(shape, 60)} that the header declares, got {len(data) - offset} bytes"
        )
    flat = np.frombuffer(data, dtype, count, offset)
    return flat.reshape(shape, order="F" if fortran else "C")
