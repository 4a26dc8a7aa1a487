"""Inspection of one reply against the broadcast model, before any of its numbers is used.

Flower holds arrays as npy bytes. They are read here without a copy and without trust: the header is parsed
with a size cap and never by pickle, the payload's length must be what the header says before anything is
allocated, and `Array.dtype` and `Array.shape`, which the client fills in, are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.flower.codec import layout

BUDGET = 4  # a reply may be this many times the model's size (float64 for float16), and not be decoded beyond
SLACK = 1 << 16


def decode(data: bytes) -> Array:
    """The array in npy bytes as a read-only view, whatever the bytes are.

    Raises:
        MalformedUpdate: not npy, an oversized header, a dtype that is not plain numbers, or a payload whose length
            is not what the header says.
    """
    try:
        (shape, fortran, dtype), offset = layout(data)
    except Exception as error:  # whatever a forged header makes NumPy raise
        raise MalformedUpdate(f"expected npy bytes, got {len(data)} bytes that are none ({type(error).__name__})") from None
    if dtype.hasobject or dtype.kind not in "fiu":
        raise MalformedUpdate(f"expected real numbers, got dtype {dtype}")
    count = math.prod(shape)
    if any(side < 0 for side in shape) or count * dtype.itemsize != len(data) - offset:
        raise MalformedUpdate(f"expected the {count} values of shape {shape} that the header declares, got {len(data) - offset} bytes")
    flat = np.frombuffer(data, dtype, count, offset)
    return flat.reshape(shape, order="F" if fortran else "C")


class Template:
    """The broadcast model: what every reply must look like, and the origin of the deltas.

    Args:
        arrays: name -> array, in the model's order.

    Example:
        >>> import numpy as np
        >>> template = Template({"w": np.zeros((2, 2), np.float32)})
        >>> template.check({"w": np.ones((2, 2), np.float32)})[0].tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.names = list(arrays)
        self.shapes = [value.shape for value in arrays.values()]
        self.dtypes = [value.dtype for value in arrays.values()]
        self.origins: list[Array | None] = [np.ascontiguousarray(value).reshape(-1) for value in arrays.values()]
        self.size = sum(value.nbytes for value in arrays.values())

    @classmethod
    def of(cls, payloads: Mapping[str, bytes]) -> Template:
        """The template of a model given as npy bytes, which are the server's own."""
        return cls({name: decode(data) for name, data in payloads.items()})

    def read(self, payloads: Mapping[str, Any]) -> list[Array]:
        """One flat array per model array, in the model's order and dtypes, from a reply's npy bytes.

        Raises:
            MalformedUpdate: anything about the reply is unlike the model; one sentence says what.
        """
        self._check_names(payloads)
        sizes = [len(data) if isinstance(data, bytes) else math.inf for data in payloads.values()]
        if sum(sizes) > BUDGET * self.size + SLACK * (1 + len(sizes)):
            raise MalformedUpdate(f"expected about {self.size} bytes like the model, got {sum(sizes)}; not decoded")
        return self.check({name: decode(payloads[name]) for name in self.names})

    def check(self, arrays: Mapping[str, Array]) -> list[Array]:
        """As `read`, from arrays."""
        self._check_names(arrays)
        return [
            self._check_one(name, arrays[name], shape, dtype)
            for name, shape, dtype in zip(self.names, self.shapes, self.dtypes, strict=True)
        ]

    def _check_names(self, given: Mapping[str, Any]) -> None:
        missing = [name for name in self.names if name not in given]
        extra = [str(name) for name in given if name not in set(self.names)]
        if missing or extra:
            raise MalformedUpdate(f"expected the model's {len(self.names)} arrays, got missing {missing[:3]} and unknown {extra[:3]}")

    def _check_one(self, name: str, value: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        if value.shape != shape:
            raise MalformedUpdate(f"array {name!r}: expected shape {shape}, got {value.shape}")
        flat = np.ascontiguousarray(value).reshape(-1)
        if flat.dtype != dtype:
            flat = _convert(name, flat, dtype)
        if not kernels.finite(flat):
            raise MalformedUpdate(f"array {name!r}: expected finite values, got NaN or infinity")
        return flat

    def unflatten(self, blocks: list[Array]) -> dict[str, Array]:
        """Name -> array of the model's shape and dtype from flat blocks."""
        return {name: block.reshape(shape) for name, block, shape in zip(self.names, blocks, self.shapes, strict=True)}


def _convert(name: str, flat: Array, dtype: np.dtype[Any]) -> Array:
    """Floats are rounded to the model's float type; integers must fit exactly; nothing crosses between the two."""
    both_floats = flat.dtype.kind == "f" and dtype.kind == "f"
    with np.errstate(over="ignore", invalid="ignore"):
        converted = flat.astype(dtype)
    if both_floats or (flat.dtype.kind in "iu" and dtype.kind in "iu" and (converted == flat).all()):
        return converted
    raise MalformedUpdate(f"array {name!r}: expected dtype {dtype}, got {flat.dtype}")
