"""The words of clients, made fit to print: no control characters, and not more than is read."""

from __future__ import annotations

LONGEST = 200  # characters of a client's words that reach a log or a report


def printable(words: object, longest: int = LONGEST) -> str:
    r"""Somebody's words on one line: what is not printable is escaped, and of a long text the beginning and the end are kept.

    The cause of an error stands at its end: under Flower's simulation engine the first hundreds of characters are the same in all.

    Args:
        words: a text, or anything that `str` makes one of.
        longest: characters that are kept at most.

    Example:
        >>> printable("gone\n\x1b[31mERROR: forged")
        'gone\\n\\x1b[31mERROR: forged'
        >>> printable("a" * 1000 + " because of this", longest=40)
        'aaaaaaaaa[...]aaaaaaaaaa because of this'
    """
    text = str(words)
    if len(text) > 4 * longest:  # the middle is left out before anything is made of it
        text = text[: 2 * longest] + text[-2 * longest :]
    line = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    if len(line) <= longest:
        return line
    begin = longest // 4 - 1
    return f"{line[:begin]}[...]{line[begin + 5 - longest :]}"
