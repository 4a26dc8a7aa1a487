"""What a reply must look like, and the check of one reply against it; how bytes are read is in `flower.decode`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.flower.decode import decode
from flwr_byzantine.flower.uploads import PER_ARRAY, RATIO
from flwr_byzantine.flower.words import printable
from flwr_byzantine.strategy.roles import Roles

SERIALISED = (b'{"', b"{L", b"tree", b"CBM1", *(b"\x80" + bytes([k]) for k in range(2, 6)))  # JSON, UBJSON, LightGBM, CatBoost, pickle
NOT_AVERAGED = "trees, and other models that are bytes and no numbers, cannot be averaged, nor told from a liar's by a rule"


class Template:
    """The broadcast model: what every reply must look like, and the origin of the deltas.

    Args:
        arrays: name -> array, in the model's order.

    Attributes:
        roles: which arrays are judged; all of them, unless the run says otherwise.
        gradients: whether replies are vectors of their own.

    Complex arrays are pairs of real numbers in all flat arrays.

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
        self.values = [_flat(value) for value in arrays.values()]
        self.origins: list[Array | None] = list(self.values)
        self.gradients = False
        self.size = sum(value.nbytes for value in arrays.values())
        self.roles = Roles({name: value.size for name, value in arrays.items()}, {})

    @classmethod
    def of(cls, payloads: Mapping[str, bytes]) -> Template:
        """The template of a model given as npy bytes, which are the server's own.

        Raises:
            InvalidParameter: it has no numbers: no arrays, none with an entry, or arrays that hold the bytes of something else.

        Example:
            >>> Template.of({"0": b'{"learner": {}}'})
            Traceback (most recent call last):
            ...
            flwr_byzantine.errors.InvalidParameter: strategy: expected a model of numbers, got array '0' of other bytes; trees, and \
other models that are bytes and no numbers, cannot be averaged, nor told from a liar's by a rule
        """
        found = {name: _own(name, data) for name, data in payloads.items()}
        if all(map(_holds_no_numbers, found.values())):
            raise InvalidParameter(f"strategy: expected a model of numbers, got {list(found)[:3]} without any; {NOT_AVERAGED}")
        return cls(found)

    @classmethod
    def of_majority(cls, replies: Iterable[Mapping[str, bytes] | None]) -> Template:
        """The form (names, shapes, dtypes) that more than half of the replies have, with deltas from zero; without one, no names.

        For a round whose broadcast model is not known.

        Args:
            replies: name -> npy bytes of each reply, None for one without a model.
        """
        given = list(replies)
        models = [_decoded(payloads) for payloads in given if payloads]
        forms = Counter(tuple((name, value.shape, value.dtype) for name, value in model.items()) for model in models)
        form, count = forms.most_common(1)[0] if forms else ((), 0)
        template = cls({name: np.broadcast_to(np.zeros((), dtype), shape) for name, shape, dtype in form if 2 * count > len(given)})
        template.origins = [None] * len(template.names)
        return template

    def measure_from_zero(self) -> None:
        """Let replies be vectors of their own (gradients), not points near the broadcast model."""
        self.gradients, self.origins = True, [None] * len(self.names)

    def read(self, payloads: Mapping[str, Any]) -> list[Array]:
        """One flat array per model array, in the model's order and dtypes, from a reply's npy bytes.

        Raises:
            MalformedUpdate: anything about the reply is unlike the model; one sentence says what.
        """
        if not self.names:
            raise MalformedUpdate("expected a model that most replies share, and there is none")
        self._check_names(payloads)
        sizes = [len(data) if isinstance(data, bytes) else math.inf for data in payloads.values()]
        if sum(sizes) > RATIO * self.size + PER_ARRAY * (1 + len(sizes)):
            raise MalformedUpdate(f"expected about {self.size} bytes like the model, got {sum(sizes)}; not decoded")
        return self.check({name: decode(payloads[name]) for name in self.names})

    def check(self, arrays: Mapping[str, Array]) -> list[Array]:
        """As `read`, from arrays."""
        self._check_names(arrays)
        return [
            self._check_one(name, arrays[name], shape, dtype, own)
            for name, shape, dtype, own in zip(self.names, self.shapes, self.dtypes, self.values, strict=True)
        ]

    def _check_names(self, given: Mapping[str, Any]) -> None:
        known = set(self.names)
        missing = [name for name in self.names if name not in given]
        extra = [printable(name, 40) for name in islice((name for name in given if name not in known), 3)]
        if missing or extra:
            raise MalformedUpdate(f"expected the model's {len(self.names)} arrays, got missing {missing[:3]} and unknown {extra}")

    def _check_one(self, name: str, value: Array, shape: tuple[int, ...], dtype: np.dtype[Any], own: Array) -> Array:
        if value.shape != shape and not (name in self.roles.kinds and max(value.ndim, len(shape)) < 2):
            raise MalformedUpdate(f"array {name!r}: expected shape {shape}, got {value.shape}")
        flat = _flat(value if value.dtype == dtype else _convert(name, value, dtype))
        if not (kernels.finite(flat) or _repeats(flat, own)):
            raise MalformedUpdate(f"array {name!r}: expected finite values, got NaN or infinity")
        return flat

    def conform(self, arrays: Mapping[str, Array], state: Sequence[Array]) -> dict[str, Array]:
        """The model with the judged ones of `arrays`, in its order, shapes and dtypes whatever made them, and with this state.

        Raises:
            InvalidParameter: one of them is missing, or of another size.
        """
        forms = self.roles.judged(list(zip(self.names, self.shapes, self.values, strict=True)))
        return self.unflatten(self.roles.merged([_made(name, arrays, shape, own) for name, shape, own in forms], state))

    def unflatten(self, blocks: Sequence[Array]) -> dict[str, Array]:
        """Name -> array of the model's shape and dtype from flat blocks; state that has grown stays flat."""
        forms = zip(self.names, blocks, self.values, self.dtypes, self.shapes, strict=True)
        return {name: block.view(dtype).reshape(shape if block.size == own.size else -1) for name, block, own, dtype, shape in forms}


def _flat(value: Array) -> Array:
    """The values in one row; complex numbers as pairs, and any byte but 0 as true."""
    flat = np.ascontiguousarray(value).reshape(-1)
    if flat.dtype.kind == "b":
        return np.asarray(flat.view(np.uint8) != 0)
    return flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat


def _repeats(flat: Array, own: Array) -> bool:
    """Whether what is not finite is the broadcast model's: a mask, an observer that saw nothing."""
    odd = ~np.isfinite(flat)
    return flat.size == own.size and np.array_equal(flat[odd], own[odd], equal_nan=True)


def _made(name: str, arrays: Mapping[str, Array], shape: tuple[int, ...], own: Array) -> Array:
    """One array of a strategy's model, flat and in the dtype of the server's own."""
    if name not in arrays:
        raise InvalidParameter(f"a model without array {name!r} was made of the aggregate; keep the arrays that come in")
    flat = _flat(arrays[name])
    if flat.size != own.size:
        got = f"{arrays[name].dtype} of shape {arrays[name].shape}"
        raise InvalidParameter(f"array {name!r} made of the aggregate must be of shape {shape}, got {got}; keep the shapes that come in")
    return _rounded(flat, own)


def _rounded(values: Array, like: Array) -> Array:
    if values.dtype == like.dtype:
        return values
    block = np.empty(values.shape, like.dtype)
    kernels.round_into(values, block)
    return block


def _own(name: str, data: bytes) -> Array:
    try:
        return decode(data)
    except MalformedUpdate:
        if data.startswith(b"\x93NUMPY"):
            raise
        raise InvalidParameter(f"strategy: expected a model of numbers, got array {name!r} of other bytes; {NOT_AVERAGED}") from None


def _holds_no_numbers(value: Array) -> bool:
    """Whether it is empty, or the beginning of a file as an array of bytes."""
    return not value.size or (value.dtype == np.uint8 and value.ndim == 1 and value[:4].tobytes().startswith(SERIALISED))


def _decoded(payloads: Mapping[str, bytes]) -> dict[str, Array]:
    with suppress(MalformedUpdate):
        return {name: decode(data) for name, data in payloads.items()}
    return {}


def _convert(name: str, flat: Array, dtype: np.dtype[Any]) -> Array:
    """Floats are rounded to the model's float type; integers must fit exactly; nothing crosses between the two."""
    if flat.dtype.kind == dtype.kind and dtype.kind in "fc":
        with np.errstate(over="ignore"):
            return flat.astype(dtype)
    if flat.dtype.kind in "iu" and dtype.kind in "iu":
        converted = flat.astype(dtype)
        if (converted == flat).all():
            return converted
    raise MalformedUpdate(f"array {name!r}: expected dtype {dtype}, got {flat.dtype}")
