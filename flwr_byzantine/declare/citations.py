"""BibTeX for exactly the rules and attacks in use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import Any

from flwr_byzantine.errors import InvalidParameter


def citation(*items: Any) -> str:
    """BibTeX entries of rules, chains and attacks: each publication once, in the order in which it is first used.

    Args:
        items: rules, chains or attacks, or their classes. A class of the user's own whose `reference` is not known here
            comes as a BibTeX comment.

    Raises:
        InvalidParameter: an item without a `reference`.

    Example:
        >>> from flwr_byzantine import rules
        >>> print(citation(rules.chain(rules.NNM(f=2), rules.Krum(f=2))).splitlines()[0])
        @inproceedings{allouah2023fixing,
        >>> citation(rules.Krum, rules.MultiKrum(f=2)).count("@")
        1
    """
    pieces = [piece for item in items for part in _parts(item) for piece in references_of(part)]
    return "\n\n".join(dict.fromkeys(entry_of(piece) or f"% {piece}" for piece in pieces))


def _parts(item: Any) -> Iterator[Any]:
    """A chain's parts, and of each rule over another that one."""
    if found := getattr(item, "parts", ()):
        for part in found:
            yield from _parts(part)
        return
    yield item
    base = None if isinstance(item, type) else getattr(item, "base", None)
    if base is not None:
        yield from _parts(base)


def references_of(item: Any) -> list[str]:
    """The short references that a rule or an attack gives, such as "Yin et al., ICML 2018"."""
    text = getattr(item, "reference", None)
    if not isinstance(text, str) or not text:
        raise InvalidParameter(f"citation needs rules or attacks, such as rules.Krum(f=2), got {item!r}")
    return [piece.strip() for piece in text.split(";")]


def entry_of(piece: str) -> str | None:
    """The BibTeX entry of the publication that a short reference names, or None."""
    words = re.findall(r"[\w.&]+", piece)
    found = (entry for key, entry in entries().items() if key.split()[0] == words[0] and set(key.split()) <= set(words))
    return next(found, None)


@lru_cache(maxsize=8)
def entries() -> dict[str, str]:
    """The entries of `papers.bib`, by the words on the line before each, which a reference to it must hold."""
    text = resources.files(__package__).joinpath("papers.bib").read_text(encoding="utf-8")
    return dict(re.findall(r"^% (.+)\n(@[^@]+\n\})$", text, re.MULTILINE))
