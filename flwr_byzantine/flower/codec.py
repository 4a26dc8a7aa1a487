"""Models as npy bytes and back, quickly: headers are the same for all replies, so each is written and parsed once.

For messages of one's own and of clients that are trusted; replies that may be hostile are read by `decode.decode`.
"""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord
from numpy.lib import format as npy

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.flower.compat import copy_content

MAGIC = 8  # bytes before the length of the header: magic string and version
MAX_HEADER = 10_000  # bytes; NumPy's own limit for headers from untrusted files
_ONE_AT_A_TIME = threading.Lock()  # filters of warnings are not for several threads, nor is the parser of Python 3.11 (gh-106905)
Layout = tuple[tuple[int, ...], bool, np.dtype[Any]]
if hasattr(os, "register_at_fork"):  # not on Windows; a fork must not inherit a lock that a thread holds which it does not have
    os.register_at_fork(before=_ONE_AT_A_TIME.acquire, after_in_parent=_ONE_AT_A_TIME.release, after_in_child=_ONE_AT_A_TIME.release)


def pack(arrays: Mapping[str, Array]) -> ArrayRecord:
    """The arrays as an ArrayRecord, the same as Flower's own constructor makes, byte for byte.

    Example:
        >>> value = {"w": np.eye(2, dtype=np.float32)}
        >>> pack(value) == ArrayRecord({"w": FlowerArray(value["w"])})
        True
    """
    values = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in arrays.items()}
    record: ArrayRecord = copy_content(_template(tuple((name, value.dtype, value.shape) for name, value in values.items())))
    for name, value in values.items():
        record[name].data = _header(value.dtype, value.shape) + value.tobytes()
    return record


@lru_cache(maxsize=64)
def _template(layout: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]) -> ArrayRecord:
    """A record with these names, dtypes and shapes and no values; copying one is quicker than constructing one."""
    return ArrayRecord({name: FlowerArray(str(dtype), shape, "numpy.ndarray", b"") for name, dtype, shape in layout})


@lru_cache(maxsize=256)
def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return stream.getvalue()


def unpack(data: bytes) -> Array:
    """The array in npy bytes, as a read-only view.

    Example:
        >>> unpack(pack({"w": np.arange(3.0)})["w"].data).tolist()
        [0.0, 1.0, 2.0]
    """
    (shape, fortran, dtype), start = layout(data)
    return np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran else "C")


def layout(data: bytes) -> tuple[Layout, int]:
    """What the header of npy bytes says (shape, whether in Fortran order, dtype), and at which byte the values start.

    Raises:
        Exception: of any kind, where the bytes begin with no header or a forged one: what NumPy raises.

    Example:
        >>> layout(pack({"w": np.eye(2)})["w"].data)
        (((2, 2), False, dtype('float64')), 128)
    """
    width = 2 if data[6:7] == b"\1" else 4  # bytes of the length, in versions 1.0 and 2.0
    start = MAGIC + width + int.from_bytes(data[MAGIC : MAGIC + width], "little")
    return _layout(data[: min(start, MAX_HEADER + 16)]), start


@lru_cache(maxsize=256)
def _layout(header: bytes) -> Layout:
    stream = io.BytesIO(header)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(stream)]
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python and NumPy quote what they find odd in a client's header
        return read(stream, max_header_size=MAX_HEADER)


class FastArray(FlowerArray):
    """A Flower Array whose `numpy()` is `unpack`, for records that Flower's strategies read many times in this process.

    It cannot be sent: Flower knows arrays by the name of their class.

    Example:
        >>> record = pack({"w": np.arange(3.0)})
        >>> FastArray.make(record)
        >>> record["w"].numpy().tolist()
        [0.0, 1.0, 2.0]
    """

    @classmethod
    def make(cls, record: ArrayRecord) -> None:
        """Turn all arrays of the record into FastArrays, in place."""
        for array in record.values():
            array.__class__ = cls

    def numpy(self) -> Array:
        """The array, as a read-only view."""
        return unpack(self.data)


def flat(arrays: ArrayRecord) -> Array:
    """(d,) all values of a model in its order.

    Example:
        >>> flat(pack({"a": np.ones((1, 2)), "b": np.zeros(1)})).tolist()
        [1.0, 1.0, 0.0]
    """
    return np.concatenate([unpack(array.data).ravel() for array in arrays.values()])
