"""The map of nodes and rounds: a pixel for each, in a picture that a page enlarges, with what there is to say of each cell beside it.

Nothing is aggregated, at any size: a large map is scrolled. 500 nodes × 1000 rounds are some 200 kB.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flwr_byzantine.monitor.records import COLOURS, NOT_ASKED, STATUSES, NodeRecord

NAMED = 20  # pixels that a row with a name is high
WIDEST, ROOM = 36, 1000  # pixels: a cell at most; what all rounds should take
THINNEST = 4  # pixels, a cell at least; then the map is scrolled
FEW = 6000  # cells that are drawn one by one, with a gap between them
LETTERS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"&<>\\') + "".join(map(chr, range(0xA1, 0x250)))
KINDS = [NOT_ASKED, *COLOURS, "other"]


@dataclass(frozen=True)
class HeatMap:
    """A map as the page shows it.

    Attributes:
        title: what it shows.
        names: of the rows, in full; empty where rows are too thin for names.
        rounds: numbers of the columns.
        width, height: of a cell, in CSS pixels.
        uri: the picture as a data URI.
        data: JSON for the page's script: rows' names, rounds, one letter a cell in a line for each row, and what the letters mean.
        ticks: pairs of a column's place and its round.
    """

    title: str
    names: tuple[str, ...]
    rounds: tuple[int, ...]
    width: int
    height: int
    uri: str
    data: str
    ticks: tuple[tuple[int, int], ...]


def heat_map(title: str, records: Sequence[NodeRecord], rounds: Sequence[int], named: bool) -> HeatMap:
    """The map of some nodes, in their order.

    Args:
        title: what it shows.
        records: the rows.
        rounds: the columns.
        named: whether rows are high enough for names.
    """
    width = min(WIDEST, max(THINNEST, ROOM // max(1, len(rounds))))
    height = NAMED if named else THINNEST
    places = {status: place for place, status in enumerate(KINDS)}
    grid = np.array([[places.get(record.at(number), len(KINDS) - 1) for number in rounds] for record in records], dtype=np.uint8)
    few = grid.size <= FEW
    picture = png(_spread(grid, width, height) if few else grid)
    names = tuple(record.name for record in records)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if step * width >= 34)
    ticks = tuple((place, number) for place, number in enumerate(rounds) if place % step == 0)
    uri = "data:image/png;base64," + base64.b64encode(picture).decode()
    return HeatMap(title, names if named else (), tuple(rounds), width, height, uri, _data(records, rounds), ticks)


def _spread(grid: np.ndarray, width: int, height: int) -> np.ndarray:
    """Each cell as a rectangle with an empty line to the right and below."""
    spread = np.repeat(np.repeat(grid, height, axis=0), width, axis=1)
    spread[height - 1 :: height], spread[:, width - 1 :: width] = 0, 0
    return spread


def png(pixels: np.ndarray) -> bytes:
    """An image of the colours of statuses; 0 is transparent.

    Args:
        pixels: (height, width), places in `KINDS`.
    """
    palette = b"\0\0\0" + b"".join(bytes.fromhex(colour[1:]) for colour in COLOURS.values()) + bytes((140, 140, 140))
    height, width = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"PLTE", palette), (b"tRNS", b"\0"), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _data(records: Sequence[NodeRecord], rounds: Sequence[int]) -> str:
    """A letter for each of the most frequent pairs of status and reason, and for each status alone."""
    said = [[(record.at(number), record.reasons.get(number, "")) for number in rounds] for record in records]
    counts = Counter(pair for row in said for pair in row)
    alone = [(status, "") for status in dict.fromkeys([*STATUSES, *KINDS, *(status for status, _ in counts)])][: len(LETTERS) // 2]
    pairs = [*alone, *(pair for pair, _ in counts.most_common() if pair[1])][: len(LETTERS)]
    letter = dict(zip(pairs, LETTERS, strict=False))
    rows = ["".join(letter.get(pair) or letter.get((pair[0], ""), LETTERS[0]) for pair in row) for row in said]
    found = {
        "names": [record.name for record in records],
        "rounds": list(rounds),
        "rows": rows,
        "letters": {v: k for k, v in letter.items()},
    }
    return json.dumps(found, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
