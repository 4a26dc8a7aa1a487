"""Models as npy bytes and back at little cost: in small models most of the time would go into headers, which repeat.

For messages of one's own; replies that nobody vouches for are read by `strategy.inspect.decode`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord
from numpy.lib import format as npy

from flwr_byzantine.kernels import Array
from flwr_byzantine.local import twin

PREFIX = 10  # bytes before the header of npy version 1.0: magic, version, header length


def pack(arrays: Mapping[str, Array]) -> ArrayRecord:
    """An ArrayRecord like Flower's own, byte for byte.

    Example:
        >>> value = {"w": np.eye(2, dtype=np.float32)}
        >>> pack(value) == ArrayRecord({"w": FlowerArray(value["w"])})
        True
    """
    values = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in arrays.items()}
    record: ArrayRecord = twin(_template(tuple((name, value.dtype, value.shape) for name, value in values.items())))
    for name, value in values.items():
        record[name].data = _header(value.dtype, value.shape) + value.tobytes()
    return record


@lru_cache(maxsize=64)
def _template(layout: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]) -> ArrayRecord:
    """A record of this layout without values: to copy one costs less than to make one."""
    return ArrayRecord({name: FlowerArray(str(dtype), shape, "numpy.ndarray", b"") for name, dtype, shape in layout})


@lru_cache(maxsize=256)
def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return stream.getvalue()


def unpack(data: bytes) -> Array:
    """The array in npy bytes of version 1.0, as a read-only view.

    Example:
        >>> unpack(pack({"w": np.arange(3.0)})["w"].data).tolist()
        [0.0, 1.0, 2.0]
    """
    start = PREFIX + int.from_bytes(data[PREFIX - 2 : PREFIX], "little")
    shape, fortran, dtype = _layout(data[:start])
    return np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran else "C")


@lru_cache(maxsize=256)
def _layout(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    stream = io.BytesIO(header)
    npy.read_magic(stream)
    return npy.read_array_header_1_0(stream)


def flat(arrays: ArrayRecord) -> Array:
    """(d,) all values of a model in its order.

    Example:
        >>> flat(pack({"a": np.ones((1, 2)), "b": np.zeros(1)})).tolist()
        [1.0, 1.0, 0.0]
    """
    return np.concatenate([unpack(array.data).ravel() for array in arrays.values()])
