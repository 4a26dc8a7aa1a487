"""Words that nobody would want on a terminal, a terminal to print them on, and what of its text is fit to print."""

import io
import re

import pytest
from rich.console import Console

HOSTILE = {
    "markup": "[red]a[/red][/][link=file:///etc]b[/link]",
    "emoji code": "a:warning:b",
    "escape": "a\x1b[2J\x1b]8;;x\x07b",
    "lines": "a\nround 9: kept 11 of 11\r\nb",
    "nul": "a\x00b",
    "up": "../../a",
    "absolute": "/tmp/a",
    "windows": "C:\\a\\..\\b",
    "pipes": "a|b||c \\| d",
    "ticks": "a`b``c```",
    "html": "<script>alert(1)</script><img src=x onerror=y>&lt;",
    "stars": "**a** _b_ ~~c~~ # d [e](http://f)",
    "direction": "a\u202eb\u2066c",
    "zero width": "a\u200bb\ufeffc\u2060",
    "separator": "a\u2028b\u0085c",
    "surrogate": "a\ud800b",
    "mathematics": "$\\frac{a$ $b$",
    "braces": "{a} %s {0}",
    "formula": "=cmd()",
    "long": "a" * 3_000,
}
words = pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def is_fit(text):
    return not CONTROL.search(text)


def terminal(encoding="utf-8", width=100_000, tty=False):
    """A console without a terminal's width, and what it was given."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="")
    return Console(file=stream, width=width, force_terminal=tty, highlight=False)


def written(console):
    console.file.flush()
    return console.file.buffer.getvalue().decode(console.file.encoding)
