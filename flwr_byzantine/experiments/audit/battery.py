"""The battery: what a hostile client can answer in place of its update."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.experiments.audit.forgeries import forgeries
from flwr_byzantine.experiments.audit.headers import HEADERS
from flwr_byzantine.experiments.audit.wire import Tamper


@dataclass
class PlainReply:
    """An honest reply in plain Python values, which a case then changes in place.

    Attributes:
        arrays: name -> npy bytes, in the model's order.
        metrics: what goes into the MetricRecord, or into the legacy metrics; "num-examples" among them.
        broadcast: name -> the model's value.
        array_records, metric_records: how often each record is in the reply (the second under another key).
        failure: message of an error reply, or "".
        silent: no reply at all.
    """

    arrays: dict[str, bytes]
    metrics: dict[str, Any]
    broadcast: dict[str, Array]
    array_records: int = 1
    metric_records: int = 1
    failure: str = ""
    silent: bool = False


@dataclass(frozen=True)
class Case:
    """One kind of hostile reply, to training and to evaluation.

    Attributes:
        spoil: changes a `PlainReply` in place.
        tamper: what is pulled in place of the reply, where it is more than its values that is hostile; or None.
        legacy: whether the legacy API can express it.
    """

    name: str
    spoil: Callable[[PlainReply], None] = field(default=lambda _: None, repr=False)
    tamper: Tamper | None = field(default=None, repr=False)
    legacy: bool = True


def npy(value: Any) -> bytes:
    """`value` as the bytes of an npy file, pickled where its dtype needs it."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(value), allow_pickle=True)
    return stream.getvalue()


def values(data: bytes) -> Array:
    """The array that honest npy bytes hold."""
    return np.asarray(np.load(io.BytesIO(data)))


def _first(change: Callable[[bytes], bytes]) -> Callable[[PlainReply], None]:
    """A spoiler that changes the bytes of the reply's first array."""

    def spoil(reply: PlainReply) -> None:
        name = next(iter(reply.arrays))
        reply.arrays[name] = change(reply.arrays[name])

    return spoil


def _instead(data: bytes) -> Callable[[PlainReply], None]:
    """A spoiler that puts these bytes in place of the first array's."""
    return _first(lambda _: data)


def _headed(head: bytes) -> Callable[[PlainReply], None]:
    """A spoiler that puts another header before the values of the first array."""

    def spoil(reply: PlainReply) -> None:
        name = next(iter(reply.arrays))
        reply.arrays[name] = head + values(reply.arrays[name]).tobytes()

    return spoil


def _filled(value: float) -> Callable[[PlainReply], None]:
    return _all(lambda own, _: np.full_like(own, value))


def _times(factor: float) -> Callable[[PlainReply], None]:
    return _all(lambda own, w: (w + factor * (own - w)).astype(own.dtype))


def _all(change: Callable[[Array, Array], Array]) -> Callable[[PlainReply], None]:
    """A spoiler that replaces every array by change(honest values, broadcast values)."""

    def spoil(reply: PlainReply) -> None:
        with np.errstate(all="ignore"):
            reply.arrays = {name: npy(change(values(data), reply.broadcast[name])) for name, data in reply.arrays.items()}

    return spoil


def _arrays(change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Callable[[PlainReply], None]:
    def spoil(reply: PlainReply) -> None:
        reply.arrays = change(reply.arrays)

    return spoil


def _renamed(ending: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda arrays: {f"{name}{ending}": data for name, data in arrays.items()}


def _set(**fields: Any) -> Callable[[PlainReply], None]:
    def spoil(reply: PlainReply) -> None:
        for name, value in fields.items():
            setattr(reply, name, value)

    return spoil


def _metric(name: str, value: Any) -> Callable[[PlainReply], None]:
    def spoil(reply: PlainReply) -> None:
        reply.metrics = {**reply.metrics, name: value}

    return spoil


def _typed(dtype: Any) -> Callable[[PlainReply], None]:
    return _all(lambda own, _: np.ones_like(own, dtype=dtype) if dtype in (bool, object, "U1") else own.astype(dtype))


def _cases() -> Iterator[Case]:
    yield Case("keys renamed", _arrays(_renamed("x")), legacy=False)
    yield Case("key missing", _arrays(lambda a: dict(list(a.items())[1:])))
    yield Case("key extra", _arrays(lambda a: {**a, "extra": next(iter(a.values()))}))
    yield Case("no arrays", _arrays(lambda _: {}))
    yield Case("keys in another order", _arrays(lambda a: dict(sorted(a.items()))), legacy=False)
    yield Case("array record missing", _set(array_records=0), legacy=False)
    yield Case("array record twice", _set(array_records=2), legacy=False)
    yield Case("metric record missing", _set(metric_records=0), legacy=False)
    yield Case("metric record twice", _set(metric_records=2), legacy=False)
    yield Case("empty content", _set(array_records=0, metric_records=0), legacy=False)
    yield Case("error reply", _set(failure="out of memory"))
    yield Case("no reply", _set(silent=True))
    yield from _forms()
    yield from _bytes()
    yield from _numbers()
    yield from _metrics()
    yield from _costly()
    yield from _words()
    for name, tamper in forgeries():
        yield Case(name, tamper=tamper, legacy=False)


def _forms() -> Iterator[Case]:
    for name, shape in {"larger": (30, 30), "transposed": (3, 2), "flat": (6,), "one value": (1,), "0-d": (), "empty": (0,)}.items():
        yield Case(f"shape: {name}", _instead(npy(np.ones(shape, np.float32))))
    for dtype in ("float64", "float16", ">f4", "int64", "int8", "uint8", "complex64"):
        yield Case(f"dtype: {dtype}", _typed(dtype))
    for name, kind in {"bool": bool, "object": object, "str": "U1"}.items():
        yield Case(f"dtype: {name}", _typed(kind))
    yield Case("dtype: datetime64", _all(lambda own, _: np.zeros(own.shape, "datetime64[s]")))
    yield Case("dtype: structured", _all(lambda own, _: np.zeros(own.shape, [("a", "f4")])))


def _bytes() -> Iterator[Case]:
    for name, data in {"garbage": b"garbage", "none": b"", "zip": b"PK\x03\x04" + b"\0" * 40, "magic alone": b"\x93NUMPY"}.items():
        yield Case(f"bytes: {name}", _instead(data))
    yield Case("bytes: truncated", _first(lambda data: data[:-3]))
    yield Case("bytes: header cut", _first(lambda data: data[:20]))
    yield Case("bytes: trailing", _first(lambda data: data + b"123"))
    for name, head in HEADERS.items():
        yield Case(f"header: {name}", _headed(head))
    yield Case("header: not a literal", _first(lambda data: data.replace(b"'descr'", b"_______", 1)))
    yield Case("Fortran order", _all(lambda own, _: np.asfortranarray(own)))
    yield Case("a hundred times too large", _first(lambda _: npy(np.ones(1_000_000, np.float32))))


def _numbers() -> Iterator[Case]:
    def one(value: float) -> Callable[[Array, Array], Array]:
        def change(own: Array, _: Array) -> Array:
            spoilt = own.copy()
            spoilt.reshape(-1)[-1] = value
            return spoilt

        return change

    for name, value in {"NaN": math.nan, "inf": math.inf, "-inf": -math.inf, "3e38": 3e38, "-3e38": -3e38, "1e25": 1e25}.items():
        yield Case(f"all {name}", _filled(value))
        yield Case(f"one {name}", _all(one(value)))
    yield Case("float64 beyond float32", _all(lambda own, _: np.full(own.shape, 1e300)))
    for sign in (1, -1):
        yield Case(f"huge in float64: {sign * 1e200:g}", _all(_huge(sign * 1e200)))
    for factor in (-10.0, -1.0, 100.0):
        yield Case(f"update times {factor:g}", _times(factor))
    yield Case("subnormal", _all(lambda own, _: np.full_like(own, 1e-42)))


def _huge(value: float) -> Callable[[Array, Array], Array]:
    """The value where the array's type can hold it."""
    return lambda own, _: np.full_like(own, value) if own.dtype == np.float64 else own


def _metrics() -> Iterator[Case]:
    claims = {"NaN": math.nan, "inf": math.inf, "negative": -10, "1e308": 1e308, "2^63 - 1": 2**63 - 1, "zero": 0, "cancelling": -100}
    for name, value in claims.items():
        yield Case(f"num-examples: {name}", _metric("num-examples", value))
    yield Case("num-examples: list", _metric("num-examples", [1, 2]), legacy=False)
    yield Case("num-examples: missing", lambda reply: reply.metrics.pop("num-examples") and None, legacy=False)
    yield Case("metric extra", _metric("extra", 1.0))
    losses: dict[str, Any] = {"NaN": math.nan, "inf": math.inf, "1e308": 1e308, "list": [1.0, 2.0], "integer": 3}
    for name, loss in losses.items():
        yield Case(f"metric: {name}", _metric("loss", loss))
    yield Case("metric missing", lambda reply: reply.metrics.pop("loss") and None)


def _costly() -> Iterator[Case]:
    yield Case("2,000 metrics", lambda reply: reply.metrics.update({f"m{k}": 1.0 for k in range(2_000)}))
    yield Case("a list of 200,000 values", _metric("loss", [1.0] * 200_000), legacy=False)
    yield Case("metric's name: 2 MB", _metric("m" * 2_000_000, 1.0))
    yield Case(
        "array's name: 2 MB", _arrays(lambda a: {"w" * 2_000_000: next(iter(a.values())), **dict(list(a.items())[1:])}), legacy=False
    )


def _words() -> Iterator[Case]:
    words = {"control characters": "\x1b[2J\nINFO: round 1: kept 13 of 13\0", "directions": "\u202ea\u2066", "a surrogate": "\ud800"}
    for name, text in words.items():
        yield Case(f"error reply: {name}", _set(failure=text))
        yield Case(f"metric's name: {name}", _metric(text, 1.0))
        yield Case(f"array's name: {name}", _arrays(_renamed(text)), legacy=False)
    yield Case("error reply: 2 MB", _set(failure="x" * 2_000_000))


BATTERY: tuple[Case, ...] = tuple(_cases())
