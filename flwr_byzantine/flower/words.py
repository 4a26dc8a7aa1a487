"""The words of others, made fit to print: no control characters, and of a client's not more than is read."""

from __future__ import annotations

LONGEST = 200  # characters of a client's words that reach a log or a report


def escaped(words: object) -> str:
    r"""Somebody's words on one line: what is not printable is escaped (control characters, line ends, changes of direction, ...).

    Args:
        words: a text, or anything that `str` makes one of.

    Example:
        >>> escaped("gone\n\x1b[31mERROR: forged")
        'gone\\n\\x1b[31mERROR: forged'
    """
    text = str(words)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def printable(words: object, longest: int = LONGEST) -> str:
    r"""Somebody's words on one short line: `escaped`, and of a long text the beginning and the end are kept.

    The cause of an error stands at its end: under Flower's simulation engine the first hundreds of characters are the same in all.

    Args:
        words: a text, or anything that `str` makes one of.
        longest: characters that are kept at most.

    Example:
        >>> printable("a" * 1000 + " because\tof this", longest=40)
        'aaaaaaaaa[...]aaaaaaaaa because\\tof this'
    """
    text = str(words)
    if len(text) > 4 * longest:  # the middle is left out before anything is made of it
        text = text[: 2 * longest] + text[-2 * longest :]
    line = escaped(text)
    if len(line) <= longest:
        return line
    begin = longest // 4 - 1
    return f"{line[:begin]}[...]{line[begin + 5 - longest :]}"


def is_printable(name: str) -> bool:
    r"""Whether a name can be printed as it is, which means that `printable` leaves it alone.

    Example:
        >>> is_printable("loss"), is_printable("loss\n"), is_printable("l" * 300)
        (True, False, False)
    """
    return len(name) <= LONGEST and name.isprintable()
