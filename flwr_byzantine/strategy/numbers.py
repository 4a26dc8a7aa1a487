"""Models of numbers, and those that are bytes of something else: trees, pickles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.flower.decode import decode

SERIALISED = (b'{"', b"{L", b"tree", b"CBM1", *(b"\x80" + bytes([k]) for k in range(2, 6)))  # JSON, UBJSON, LightGBM, CatBoost, pickle
NOT_AVERAGED = "trees, and other models that are bytes and no numbers, cannot be averaged, nor told from a liar's by a rule"


def own_model(payloads: Mapping[str, bytes | Array]) -> dict[str, Array]:
    """The arrays of the server's own model from npy bytes, or as they are.

    Raises:
        InvalidParameter: it has no numbers.
    """
    found = {name: _own(name, data) for name, data in payloads.items()}
    if holds_none(found):
        raise InvalidParameter(no_numbers(found))
    return found


def holds_none(arrays: Mapping[str, Array]) -> bool:
    """Whether all arrays of a model are empty, or the beginning of a file as an array of bytes.

    Example:
        >>> holds_none({"0": np.frombuffer(b'{"learner": {}}', np.uint8)}), holds_none({"0": np.ones(3, np.uint8)})
        (True, False)
    """
    return all(not value.size or _is_file(value) for value in arrays.values())


def no_numbers(arrays: Mapping[str, Array]) -> str:
    """What to say of such a model."""
    return f"strategy: expected a model of numbers, got {list(arrays)[:3]} without any; {NOT_AVERAGED}"


def _is_file(value: Array) -> bool:
    return value.dtype == np.uint8 and value.ndim == 1 and value[:4].tobytes().startswith(SERIALISED)


def _own(name: str, data: bytes | Array) -> Array:
    try:
        return decode(data)
    except MalformedUpdate:
        if bytes(data[:6]) == b"\x93NUMPY":
            raise
        raise InvalidParameter(f"strategy: expected a model of numbers, got array {name!r} of other bytes; {NOT_AVERAGED}") from None
