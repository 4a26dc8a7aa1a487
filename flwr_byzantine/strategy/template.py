"""What a reply must look like, and the check of one reply against it; how bytes are read is in `flower.decode`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.forms import exactly, flat, rounded
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.flower.decode import decode
from flwr_byzantine.flower.uploads import PER_ARRAY, RATIO
from flwr_byzantine.flower.words import printable
from flwr_byzantine.strategy.majority import majority
from flwr_byzantine.strategy.numbers import NOT_AVERAGED, own_model
from flwr_byzantine.strategy.roles import Item, Roles

if TYPE_CHECKING:
    from flwr_byzantine.strategy.adapted import Adapted


class Template:
    """The broadcast model: what every reply must look like, and the origin of the deltas.

    Args:
        arrays: name -> array, in the model's order.
        shared: names of those that replies hold, or None: these and no others. The rest is nobody's business but the client's.
        known: whether it was broadcast; deltas are from zero otherwise.

    Attributes:
        names: of the shared arrays, in the model's order; shapes, dtypes, flat values and origins follow it.
        model: the names of all arrays.
        unshared: name -> array of those that stay as they were broadcast.
        roles: which of the shared arrays are judged; all of them, unless the run says otherwise.
        fixed: name -> which values of a judged array are infinite or NaN, and these: they stay, whatever replies hold there; flat
            values and origins have zeros in their place.
        gradients: whether replies are vectors of their own.
        adapted: which arrays are factors of adapters, whose ranks may differ; None where all are ordinary ones.

    Complex arrays are pairs of real numbers in all flat arrays.

    Example:
        >>> import numpy as np
        >>> template = Template({"w": np.zeros((2, 2), np.float32)})
        >>> template.check({"w": np.ones((2, 2), np.float32)})[0].tolist()
        [1.0, 1.0, 1.0, 1.0]
        >>> template = Template({"w": np.zeros(2), "head": np.zeros(9)}, shared=["w"])
        >>> template.check({"w": np.ones(2)})[0].tolist(), list(template.unflatten([np.ones(2)]))
        ([1.0, 1.0], ['w', 'head'])
    """

    def __init__(self, arrays: Mapping[str, Array], shared: Collection[str] | None = None, known: bool = True) -> None:
        sent = {name: value for name, value in arrays.items() if shared is None or name in shared}
        self.names, self.model, self.partial, self.known = list(sent), list(arrays), shared is not None, known
        self.unshared = {name: value for name, value in arrays.items() if name not in sent}
        self.shapes = [value.shape for value in sent.values()]
        self.dtypes = [value.dtype for value in sent.values()]
        self.values = [flat(value) for value in sent.values()]
        self.origins: list[Array | None] = list(self.values) if known else [None] * len(sent)
        self.gradients, self.fixed = False, dict[str, tuple[Array, Array]]()
        self.size = sum(value.nbytes for value in sent.values())
        self.roles = Roles({name: value.size for name, value in sent.items()}, {})
        self.adapted: Adapted | None = None

    def of_shared(self, shared: Collection[str] | None, roles: Roles) -> Template:
        """The same model, of which clients share these arrays, in these roles."""
        template = Template(self.unflatten(self.values), shared, self.known)
        template.roles = roles
        for place, (name, value) in enumerate(zip(template.names, template.values, strict=True)):
            if name not in roles.kinds and not kernels.finite(value):
                template._fix(place, ~np.isfinite(value))
        return template

    def _fix(self, place: int, odd: Array) -> None:
        if self.dtypes[place].kind == "c":  # both halves of a number
            odd = odd.reshape(-1, 2).any(axis=1).repeat(2)
        self.fixed[self.names[place]] = odd, self.values[place][odd]
        self.values[place] = np.where(odd, 0, self.values[place])
        self.origins[place] = self.values[place] if self.known else None

    @classmethod
    def of(cls, payloads: Mapping[str, bytes | Array]) -> Template:
        """The template of a model given as npy bytes, which are the server's own.

        Raises:
            InvalidParameter: it has no numbers: no array with an entry, or arrays that hold the bytes of something else.

        Example:
            >>> Template.of({"0": b'{"learner": {}}'})
            Traceback (most recent call last):
            ...
            flwr_byzantine.errors.InvalidParameter: strategy: expected a model of numbers, got array '0' of other bytes; trees, and \
other models that are bytes and no numbers, cannot be averaged, nor told from a liar's by a rule
        """
        return cls(own_model(payloads))

    @classmethod
    def of_majority(cls, replies: Iterable[Mapping[str, bytes] | None]) -> Template:
        """What more than half of the replies with a model look like, with deltas from zero; without one, no names.

        For a round whose broadcast model is not known, or has no arrays.

        Args:
            replies: name -> npy bytes of each reply, None for one without a model.

        Raises:
            InvalidParameter: it is one of no numbers, as for `of`.
        """
        return cls(majority([payloads for payloads in replies if payloads is not None]), known=False)

    def measure_from_zero(self) -> None:
        """Let replies be vectors of their own (gradients), not points near the broadcast model."""
        self.gradients, self.origins = True, [None] * len(self.names)

    def read(self, payloads: Mapping[str, Any]) -> list[Array]:
        """One flat array per model array, in the model's order and dtypes, from a reply's npy bytes.

        Raises:
            MalformedUpdate: anything about the reply is unlike the model; one sentence says what.
        """
        if not self.names:
            raise MalformedUpdate(f"expected names, shapes and dtypes of arrays that most replies share, got none; {NOT_AVERAGED}")
        given = self._shared(payloads)
        sizes = [_size(data) for data in given.values()]
        largest = self.size + (0 if self.adapted is None else self.adapted.extra)
        if sum(sizes) > RATIO * largest + PER_ARRAY * (1 + len(sizes)):
            raise MalformedUpdate(f"expected about {self.size} bytes like the model, got {sum(sizes)}; not decoded")
        return self._checked({name: decode(given[name]) for name in self.names})

    def check(self, arrays: Mapping[str, Array]) -> list[Array]:
        """As `read`, from arrays."""
        return self._checked(self._shared(arrays))

    def _checked(self, arrays: Mapping[str, Array]) -> list[Array]:
        rows = [
            self._check_one(name, arrays[name], shape, dtype, own)
            for name, shape, dtype, own in zip(self.names, self.shapes, self.dtypes, self.values, strict=True)
        ]
        if self.adapted is not None:
            self.adapted.check(rows)
        return rows

    def _shared(self, given: Mapping[str, Item]) -> Mapping[str, Item]:
        """The shared arrays of a reply, or the server's own update, by their names in the model."""
        if self.partial:
            found = self._named(given)
            given = {name: found[name] for name in self.names if name in found}
        known, of = set(self.names), f"{len(self.names)} shared of the " if self.partial else ""
        missing = [name for name in self.names if name not in given]
        extra = [printable(name, 40) for name in islice((name for name in given if name not in known), 3)]
        if missing or extra:
            raise MalformedUpdate(f"expected the {of}model's {len(self.model)} arrays, got missing {missing[:3]} and unknown {extra}")
        return given

    def _named(self, given: Mapping[str, Item]) -> Mapping[str, Item]:
        """A list, which has places for names: of all arrays, of the shared ones, or of these and what is to follow them."""
        count, places = len(given), [str(place) for place in range(len(self.model))]
        if self.model != places or count == len(places) or self.names == places[: len(self.names)] or not _is_list(given):
            return given
        if count != len(self.names):
            raise MalformedUpdate(f"expected the model's {len(self.model)} arrays or the {len(self.names)} shared, got {count}")
        return dict(zip(self.names, given.values(), strict=True))

    def _check_one(self, name: str, value: Array, shape: tuple[int, ...], dtype: np.dtype[Any], own: Array) -> Array:
        grown = name in self.roles.kinds and max(value.ndim, len(shape)) < 2
        if value.shape != shape and not grown and not (self.adapted is not None and self.adapted.fits(name, value.shape)):
            also = "" if self.adapted is None else self.adapted.but_rank(name)
            raise MalformedUpdate(f"array {name!r}: expected shape {shape}{also}, got {value.shape}")
        row = flat(value if value.dtype == dtype else _convert(name, value, dtype))
        if name in self.fixed:
            row = np.where(self.fixed[name][0], row.dtype.type(0), row)
        if not (kernels.finite(row) or _repeats(row, own)):
            raise MalformedUpdate(f"array {name!r}: expected finite values, got NaN or infinity")
        return row

    def conform(self, arrays: Mapping[str, Array], state: Sequence[Array]) -> dict[str, Array]:
        """The model with the judged ones of `arrays`, in its order, shapes and dtypes whatever made them, and with this state.

        Raises:
            InvalidParameter: one of them is missing, or of another size.
        """
        forms = self.roles.judged(list(zip(self.names, self.shapes, self.values, strict=True)))
        return self.unflatten(self.roles.merged([self._made(name, arrays, shape, own) for name, shape, own in forms], state))

    def unflatten(self, blocks: Sequence[Array]) -> dict[str, Array]:
        """Name -> array of the model's shape and dtype from flat blocks of the shared ones; the others as they were broadcast.

        State that has grown stays flat; factors of adapters have the rank that they have.
        """
        whole = [self._refilled(name, block) for name, block in zip(self.names, blocks, strict=True)]
        forms = zip(self.names, whole, self.values, self.dtypes, self.shapes, strict=True)
        made = dict(self.unshared)
        for name, block, own, dtype, shape in forms:
            made[name] = block.view(dtype).reshape(shape if block.size == own.size else self._free(name) or -1)
        return {name: made[name] for name in self.model}

    def _free(self, name: str) -> tuple[int, ...] | None:
        """The shape, with -1 for the rank, of an adapter's factor; None of other arrays."""
        return None if self.adapted is None else self.adapted.shape(name)

    def _made(self, name: str, arrays: Mapping[str, Array], shape: tuple[int, ...], own: Array) -> Array:
        """One array of a strategy's model, flat and in the dtype of the server's own."""
        if name not in arrays:
            raise InvalidParameter(f"a model without array {name!r} was made of the aggregate; keep the arrays that come in")
        row, got = flat(arrays[name]), f"{arrays[name].dtype} of shape {arrays[name].shape}; keep the shapes that come in"
        if row.size != own.size and self._free(name) is None:
            raise InvalidParameter(f"array {name!r} made of the aggregate must be of shape {shape}, got {got}")
        return rounded(row, own)

    def _refilled(self, name: str, block: Array) -> Array:
        """A flat block with the values that stay."""
        if name not in self.fixed:
            return block
        odd, values = self.fixed[name]
        block = block.copy()
        block[odd] = values
        return block


def _size(data: Any) -> float:
    """Bytes of one payload; what is neither bytes nor an array of this process cannot be read."""
    return len(data) if isinstance(data, bytes) else data.nbytes if isinstance(data, np.ndarray) else math.inf


def _repeats(row: Array, own: Array) -> bool:
    """Whether what is not finite is the broadcast model's: a mask, an observer that saw nothing."""
    odd = ~np.isfinite(row)
    return row.size == own.size and np.array_equal(row[odd], own[odd], equal_nan=True)


def _is_list(given: Mapping[str, Any]) -> bool:
    return all(name == str(place) for place, name in enumerate(given))


def _convert(name: str, values: Array, dtype: np.dtype[Any]) -> Array:
    """Floats are rounded to the model's float type; integers, and floats for integers or booleans, must be the same number there."""
    if values.dtype.kind == dtype.kind and dtype.kind in "fc":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    converted = exactly(values, dtype)
    if converted is None:
        what = f" with values that no {dtype} is" if values.dtype.kind in "iuf" else ""
        raise MalformedUpdate(f"array {name!r}: expected dtype {dtype}, got {values.dtype}{what}")
    return converted
