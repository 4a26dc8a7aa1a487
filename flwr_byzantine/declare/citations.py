"""BibTeX for exactly the rules and attacks in use."""

from __future__ import annotations

import re
from typing import Any

from flwr_byzantine import attacks, rules
from flwr_byzantine.declare.papers import PAPERS, Paper
from flwr_byzantine.declare.params import unknown_name
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
    pieces = [piece for item in items for part in getattr(item, "parts", (item,)) for piece in references_of(part)]
    found = {piece: paper_of(piece) for piece in pieces}
    entries = [f"% {piece}" if paper is None else paper.bibtex() for piece, paper in found.items()]
    return "\n\n".join(dict.fromkeys(entries))


def named(text: str) -> list[Any]:
    """The classes that a name stands for: a rule's, those of a chain such as "nnm+krum", or an attack's.

    Raises:
        InvalidParameter: a name of neither a rule nor an attack.

    Example:
        >>> [item.__name__ for item in named("nnm+krum")]
        ['NNM', 'Krum']
    """
    known = {cls.__name__.lower(): cls for cls in (*rules.available(), *attacks.available())}
    keys = [name.strip().lower().replace("-", "").replace("_", "") for name in text.split("+")]
    if missing := [name for name, key in zip(text.split("+"), keys, strict=True) if key not in known]:
        raise unknown_name("rule or attack", missing[0].strip(), [cls.__name__ for cls in known.values()])
    return [known[key] for key in keys]


def references_of(item: Any) -> list[str]:
    """The short references that a rule or an attack gives."""
    text = getattr(item, "reference", None)
    if not isinstance(text, str) or not text:
        raise InvalidParameter(f"citation needs rules or attacks, such as rules.Krum(f=2), got {item!r}")
    return [piece.strip() for piece in text.split(";")]


def paper_of(piece: str) -> Paper | None:
    """The publication that a short reference names, or None."""
    words = re.findall(r"[\w.&]+", piece)
    return next((paper for key, paper in PAPERS.items() if key.split()[0] == words[0] and set(key.split()) <= set(words)), None)
