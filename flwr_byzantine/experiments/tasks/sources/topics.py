"""CPython's own help as text: which character comes next. It needs no download, and falls into topics."""

from __future__ import annotations

import numpy as np

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks.sources.raw import Raw, raw_of

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
LENGTH, STRIDE, HELD_OUT = 32, 8, 0.1
SHORTEST = 100  # characters of a topic that is taken
_PLAIN = str.maketrans("“”‘’–—", "\"\"''--")


def read() -> Raw:
    """Windows of 32 characters and the one after, every eighth; the last tenth of each topic is for the test.

    The text is that of `pydoc_data.topics`, so it differs from one version of Python to the next.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InvalidParameter("dataset 'pydoc': this Python has no pydoc_data.topics; install its standard library whole") from None
    parts = [_windows(topics[name]) for name in sorted(topics) if len(topics[name]) >= SHORTEST]
    cuts = [round(len(part) * (1 - HELD_OUT)) for part in parts]
    ends = [cut - LENGTH // STRIDE for cut in cuts]  # windows that overlap with the test's are left out of training
    train = np.concatenate([part[:end] for part, end in zip(parts, ends, strict=True)])
    trained = {window.tobytes() for window in train}  # of passages that occur twice too
    test = np.stack([window for part, cut in zip(parts, cuts, strict=True) for window in part[cut:] if window.tobytes() not in trained])
    sizes, groups = len(CHARACTERS), np.repeat(np.arange(len(parts)), ends)
    return raw_of("pydoc", (train[:, :-1], train[:, -1]), (test[:, :-1], test[:, -1]), sizes, groups, vocabulary=sizes)


def _windows(text: str) -> np.ndarray:
    """(windows, 33) numbers of characters; one that is not among `CHARACTERS` counts as a question mark."""
    place = {character: number for number, character in enumerate(CHARACTERS)}
    tokens = np.array([place.get(character, place["?"]) for character in text.translate(_PLAIN)], np.int64)
    return np.lib.stride_tricks.sliding_window_view(tokens, LENGTH + 1)[::STRIDE]
