"""Headers of npy bytes as a hostile client writes them: of npy's grammar, or nearly."""

from __future__ import annotations

SIMPLE = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


def header(text: str, version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    """The bytes before the values of an npy array, with this text.

    Args:
        text: the header's dictionary, as written.
        version: of the format.
        length: what the bytes say of the text's length; None tells the truth.
    """
    raw = text.encode("utf-8").ljust(117) + b"\n"
    size = len(raw) if length is None else length
    return b"\x93NUMPY" + bytes(version) + size.to_bytes(2 if version == (1, 0) else 4, "little") + raw


def _with(shape: str = "(2, 3)", descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


SHAPES = {
    "10^12 elements": "(1000000000000,)",
    "2*10^9 elements": "(2000000000,)",
    "negative": "(-2, 3)",
    "overflowing": f"({2**40}, {2**40})",
    "beyond int64": f"({2**63}, 0)",
    "65 dimensions": str((1,) * 65),
    "4,000 dimensions": f"({'1,' * 4000})",
    "sides of bool": "(True, 6)",
    "sides of float": "(2.0, 3)",
    "sides of text": "('2', '3')",
    "hexadecimal": "(0x2, 0x3)",
    "hexadecimal of 9,500 digits": f"(0x{'f' * 9_500},)",
    "underscores": "(2, 0_3)",
    "a list": "[2, 3]",
    "a number": "6",
    "nothing": "None",
    "nested": "((2, 3),)",
    "100 parentheses": f"{'(' * 100}2,{')' * 100}",
    "a sum": "(1 + 1, 3)",
}
TYPES = {
    "a subarray": "('<f4', (2, 3))",
    "a structure": "[('a', '<f4')]",
    "a structure by names": "{'names': ['a'], 'formats': ['<f4']}",
    "two fields in one text": "'<f4,<f4'",
    "a number": "4",
    "nothing": "None",
    "unknown": "'<x9'",
    "no bytes": "'|V0'",
    "objects": "'|O'",
    "long double": "'<f16'",
}
HEADERS = {
    **{f"shape: {name}": header(_with(shape=shape)) for name, shape in SHAPES.items()},
    **{f"type: {name}": header(_with(descr=descr)) for name, descr in TYPES.items()},
    **{f"order: {order}": header(_with(order=order)) for order in ("None", "1", "'F'", "(True,)")},
    **{f"version {major}": header(SIMPLE, (major, 0)) for major in (2, 3, 9)},
    "a key twice": header(SIMPLE.replace("}", "'shape': (10**9,), }").replace("10**9", "1000000000")),
    "a key too many": header(SIMPLE.replace("}", "'more': 1, }")),
    "a key missing": header("{'descr': '<f4', 'shape': (2, 3), }"),
    "letters beyond ASCII": header(SIMPLE.replace("descr", "d\u0435scr"), (3, 0)),
    "a call": header("__import__('os').getcwd()"),
    "longer than the bytes": header(SIMPLE, (2, 0), 2**31),
    "shorter than it is": header(SIMPLE, length=20),
    "no length": header(SIMPLE, length=0),
}
"""Name -> what stands before the values in place of the honest header of six float32, (2, 3)."""
