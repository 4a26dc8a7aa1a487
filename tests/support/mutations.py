"""Hostile replies at random: npy headers by grammar, bytes, arrays, metrics, records and metadata; in plain values, for both APIs."""

from __future__ import annotations

import math
import random

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from flwr_byzantine.experiments.audit.battery import PlainReply, npy
from flwr_byzantine.experiments.audit.forgeries import copied, forgeries
from flwr_byzantine.experiments.audit.headers import HEADERS, SHAPES, TYPES

WORDS = [
    "",
    "a",
    "num-examples",
    "loss",
    "w",
    "\x1b[2J",
    "\n",
    "\u202e",
    "\ud800",
    "я",
    "\0",
    "x" * 600,
    "../..",
    "[red]",
    "0",
    "partition-id",
]
NUMBERS = [0, 1, -1, 10, True, 2**31, 2**63 - 1, -(2**63), 0.5, -0.0, 1e-320, 1e25, 3e38, 1e200, 1e308, math.nan, math.inf, -math.inf]
SIDES = ["0", "1", "2", "3", "6", "-1", "True", "False", "None", "2.0", "1e1", "'2'", "0x2", "0b10", "0o3", "1_0", "2j", "b'2'", "[]", "()"]
SIDES += [
    str(2**31),
    str(2**63),
    str(2**64),
    str(10**30),
    "9" * 5_000,
    f"0x{'f' * 4_000}",
    "{}",
    "(2,)",
    "...",
    "x",
    "-(1)",
    "2 + 1",
    "*(1,)",
]
DESCRS = [
    *TYPES.values(),
    "'<f4'",
    "'<f4'",
    "'<f8'",
    "'>f4'",
    "'|b1'",
    "'<c8'",
    "'|O8'",
    "'<U3'",
    "'|S0'",
    "'<M8[s]'",
    "'<m8'",
    "'|V4'",
    "'=f4'",
]
DESCRS += [
    "'f'",
    "'float32'",
    "'<f4, (2,3)f4'",
    "'2f4'",
    "'(2,)f4'",
    "('<f4', -1)",
    "('<f4', (1,) * 3)",
    "[('a', '<f4', (2,))]",
    "[]",
    "['<f4']",
]
DESCRS += [
    "[('a', [('b', '<f4')])]",
    "{'names': ['a', 'a'], 'formats': ['<f4', '<f4']}",
    "{}",
    "True",
    "1.5",
    "b'<f4'",
    "'\\x00'",
    "''",
    "'<f4' '<f4'",
]
ORDERS = ["False", "False", "False", "True", "None", "0", "1", "'C'", "[]", "()", "1.0", "Ellipsis"]
KEYS = ["'descr'", "'fortran_order'", "'shape'", "'more'", "b'descr'", "descr", "1", "('shape',)", "'d\\x65scr'", "'sh\u0430pe'"]


def header(rng: random.Random) -> bytes:
    """The bytes before the values: by npy's grammar, with a slip or a few."""

    def odd(honest, others, chance=0.25):
        return rng.choice(others) if rng.random() < chance else honest

    shapes = [_tuple(rng), _tuple(rng), rng.choice(list(SHAPES.values())), str((1,) * rng.randint(60, 70))]
    pairs = [("'descr'", odd("'<f4'", DESCRS)), ("'fortran_order'", odd("False", ORDERS)), ("'shape'", odd("(2, 3)", shapes, 0.5))]
    for _ in range(odd(0, [1, 2])):
        rng.choice([rng.shuffle, lambda found: found.append(rng.choice(found)), lambda found: found.pop(), _renamed(rng)])(pairs)
    text = "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + odd(", }", ["}", "", "}}", "} #"])
    raw = text.encode("utf-8", "replace").ljust(odd(117, [0, 20_000])) + odd(b"\n", [b"", b"\0", b"\xff"], 0.1)
    version = odd(b"\1\0", [b"\2\0", b"\2\0", b"\3\0", b"\0\0", b"\1\1", b"\xff\xff"], 0.1)
    length = odd(len(raw), [0, len(raw) - 1, len(raw) + 1, 2**16 - 1, rng.randrange(2**16)], 0.1)
    width = 2 if version[0] == 1 else 4
    return odd(b"\x93NUMPY", [b"\x93NUMPZ"], 0.02) + version + min(length, 2**16 - 1).to_bytes(width, "little") + raw


def _tuple(rng: random.Random) -> str:
    sides = [rng.choice(SIDES) for _ in range(rng.choice([0, 1, 2, 2, 2, 3, 65]))]
    left, right = rng.choice(["()", "()", "()", "[]", "{}", ("((", "),)"), ("", "")])
    return left + "".join(f"{side}, " for side in sides) + right


def _renamed(rng: random.Random):
    def change(pairs):
        place = rng.randrange(len(pairs))
        pairs[place] = (rng.choice(KEYS), pairs[place][1])

    return change


def data(rng: random.Random, own: bytes) -> bytes:
    """Bytes in place of an array's."""
    values = own[128:]
    kind = rng.randrange(9)
    if kind < 4:
        return header(rng) + rng.choice([values, values, values, b"", values[:-1], values + b"\0" * 8, values * 2])
    if kind == 4:
        return rng.choice(list(HEADERS.values())) + values
    at = rng.randrange(len(own) + 1)
    if kind == 5:
        return own[:at] + bytes(rng.randrange(256) for _ in range(rng.randint(1, 6))) + own[at + rng.randint(0, 6) :]
    if kind == 6:
        return rng.choice([own[:at], own[at:], own * 2, b"", b"PK\3\4" + own, own + b"\0" * rng.choice([1, 4, 100_000])])
    with np.errstate(all="ignore"):
        shape = rng.choice([(2, 3), (3, 2), (6,), (4,), (2,), (), (0,), (1, 2, 3), (1,) * 64])
        dtype = rng.choice(["f2", "f4", "f8", ">f4", "f16", "i1", "i8", "u2", "?"])
        return npy(np.full(shape, rng.choice(NUMBERS), np.float64).astype(dtype))


def _number(rng: random.Random):
    return rng.choice(
        [rng.choice(NUMBERS), rng.choice(NUMBERS), rng.gauss(0, 1), [rng.choice(NUMBERS[10:])] * rng.choice([0, 1, 3, 1_000]), 10]
    )


def metrics(rng: random.Random, found: dict) -> None:
    """Names and values beside, in place of or without the honest ones."""
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        found[rng.choice(WORDS) * rng.choice([1, 1, 2])] = _number(rng)
    if rng.random() < 0.1:
        found.pop(rng.choice(list(found)), None)
    if rng.random() < 0.01:
        found.update({f"m{k}": 1.0 for k in range(rng.choice([999, 1_001]))})


def spoil(rng: random.Random, reply: PlainReply) -> None:
    """Change a reply in place: arrays, names, metrics, or whether there is one."""
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        name = rng.choice(list(reply.arrays)) if reply.arrays else ""
        if name and rng.random() < 0.8:
            reply.arrays[name] = data(rng, reply.arrays[name])
        elif name:
            _rearranged(rng, reply, name)
    if rng.random() < 0.5:
        metrics(rng, reply.metrics)
    reply.array_records, reply.metric_records = (rng.choice([1] * 12 + [0, 2]) for _ in range(2))
    if rng.random() < 0.03:
        reply.failure = "".join(rng.choice(WORDS) for _ in range(rng.choice([1, 5, 300]))) or "gone"


def _rearranged(rng: random.Random, reply: PlainReply, name: str) -> None:
    """Names changed, dropped, doubled or exchanged; in the legacy API, which has none, the places of arrays."""
    kind, other = rng.randrange(4), rng.choice(list(reply.arrays))
    if kind == 0:
        reply.arrays[name], reply.arrays[other] = reply.arrays[other], reply.arrays[name]
    elif kind == 1:
        reply.arrays = {(rng.choice(WORDS) if key == name else key): value for key, value in reply.arrays.items()}
    elif kind == 2:
        reply.arrays.pop(name)
    else:
        reply.arrays[rng.choice(WORDS)] = reply.arrays[name]


FORGERIES = [tamper for _, tamper in forgeries()]
METADATA = {
    "src_node_id": [0, 1, -1, 2**64, None, "1", True, 3.5],
    "dst_node_id": [0, 7, None],
    "reply_to_message_id": ["", "x", "0" * 64, None, 7, "\ud800" * 300],
    "message_id": ["", "x", None],
    "message_type": ["train", "evaluate", "query", "train.", "", "\x1b", None, "x" * 5_000],
    "group_id": ["", "99", "\n", None],
    "ttl": [0.0, -1.0, math.nan, None],
    "run_id": [0, 7, None],
    "created_at": [0.0, math.nan, 1e300],
}
RECORDS = [
    ArrayRecord(),
    MetricRecord({"x": 1.0}),
    ConfigRecord({"x": "y"}),
    ArrayRecord({"w": Array("float32", (2, 3), "numpy.ndarray", b"")}),
]


def tamper(rng: random.Random, letter):
    """Change the message itself: its metadata, its records, how often it comes, or that it cannot be read."""
    kind = rng.randrange(12)
    if kind < 6 or not letter.reply.has_content():
        return [letter.reply]
    if kind < 8:
        return _forged(rng, letter)
    if kind == 8:
        return [copied(letter.reply, **{name: rng.choice(METADATA[name]) for name in rng.sample(sorted(METADATA), rng.randint(1, 3))})]
    if kind == 9:
        return [copied(letter.reply, RecordDict(_records(rng, dict(letter.reply.content.items()))))]
    if kind == 10:
        return [Message(Error(rng.choice([0, 1, 2**31]), rng.choice(WORDS)), reply_to=letter.asked)]
    return [copied(letter.reply) for _ in range(rng.choice([0, 1, 2, 5]))] or [rng.choice([ValueError, OSError, EOFError])("gone")]


def _forged(rng: random.Random, letter):
    try:
        return rng.choice(FORGERIES)(letter)
    except Exception:  # a forgery of a model that cannot be read
        return [copied(letter.reply, **{name: rng.choice(values) for name, values in METADATA.items() if name != "ttl"})]


def _records(rng: random.Random, content: dict) -> dict:
    for _ in range(rng.randint(1, 3)):
        content[rng.choice([*content, *WORDS, "arrays", "metrics"])] = rng.choice(RECORDS)
    return content
