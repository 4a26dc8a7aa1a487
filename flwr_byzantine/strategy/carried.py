"""State that comes along with the weights (running statistics, counters, masks): aggregated by itself, whoever was kept for his weights."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.parallel import AfterPart
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.window import Window

SMALL = 1 << 14  # values


def all_carried(arrays: Sequence[Sequence[Array]], origins: Sequence[Array], f: int, after_part: AfterPart | None = None) -> list[Array]:
    """`carried` of each array of a model's state; small ones of one dtype in one pass, since a model has many of them.

    Args:
        arrays: for each, its rows.
        origins: for each, the broadcast values.
        f: of the rule.
        after_part: as for `Updates`.

    Example:
        >>> [found.tolist() for found in all_carried([[np.array([k])] * 3 for k in (1, 2)], [np.array([0])] * 2, f=1)]
        [[1], [2]]
    """
    groups, found = defaultdict[np.dtype[Any], list[int]](list), dict[int, Array]()
    for k, (rows, origin) in enumerate(zip(arrays, origins, strict=True)):
        if _is_small(rows, origin):
            groups[origin.dtype].append(k)
    for places in groups.values():
        joined = [np.concatenate(parts) for parts in zip(*(arrays[k] for k in places), strict=True)]
        ends = np.cumsum([origins[k].size for k in places])
        found |= zip(places, np.split(carried(joined, np.concatenate([origins[k] for k in places]), f), ends[:-1]), strict=True)
    return [found[k] if k in found else carried(arrays[k], origins[k], f, after_part) for k in range(len(arrays))]


def _is_small(rows: Sequence[Array], origin: Array) -> bool:
    """Whether an array is copied sooner than it is gone through by itself, and has nothing that needs care."""
    return origin.size <= SMALL and kernels.finite(origin) and {row.size for row in rows} == {origin.size}


def carried(rows: Sequence[Array], origin: Array, f: int, after_part: AfterPart | None = None) -> Array:
    """One array of state from those of all valid replies, in its dtype: each value lies among those of the honest ones.

    Numbers are the mean without the f smallest and the f largest of each coordinate where the rule has an f and the replies are
    enough, else the median; integers are rounded. Booleans are the majority's, and at a tie the broadcast model's. Where the
    broadcast value is not finite, the median counts replies that repeat it among the others. State may grow (per-channel observers of
    PyTorch are empty before their first batch): it gets the size that most replies have, and replies of another size do not count.

    Args:
        rows: flat, one for each reply.
        origin: the broadcast values.
        f: of the rule.
        after_part: as for `Updates`.

    Example:
        >>> carried([np.array([k, 1.0]) for k in (1.0, 2.0, 1e30)], np.array([0.0, np.inf]), f=1).tolist()
        [2.0, 1.0]
    """
    alike, size = _of_common_size(rows)
    if not alike:
        return origin
    return _combined(alike, origin if origin.size == size else np.zeros(size, origin.dtype), f, after_part)


def _of_common_size(rows: Sequence[Array]) -> tuple[list[Array], int]:
    """The rows of the size that more than half have, and that size; none where sizes differ too much."""
    size, count = Counter(row.size for row in rows).most_common(1)[0]
    return [row for row in rows if row.size == size] if 2 * count > len(rows) else [], size


def _combined(rows: Sequence[Array], origin: Array, f: int, after_part: AfterPart | None = None) -> Array:
    if origin.dtype == np.bool_:
        votes = 2 * np.sum(rows, axis=0)
        return np.asarray(np.where(votes == len(rows), origin, votes > len(rows)))
    out, fixed = np.empty_like(origin), _not_finite(origin)
    if fixed is None:
        kernels.windows(rows, None, _window(len(rows), f), None, out, after_part)
        return out
    free = ~fixed
    out[fixed] = _extended_median([row[fixed] for row in rows])
    if free.any():
        out[free] = _combined([row[free] for row in rows], origin[free], f)
    return out


def _window(n: int, f: int) -> Window:
    return Window(f, n - f) if f > 0 and 2 * f < n else Window((n - 1) // 2, n // 2 + 1)


def _not_finite(origin: Array) -> Array | None:
    """(c,) where the values are not finite, or None where all are."""
    return None if kernels.finite(origin) else np.asarray(~np.isfinite(origin))


def _extended_median(rows: Sequence[Array]) -> Array:
    """(c,) medians of numbers and infinities, NaN being the largest; zeros and NaN have one sign, as sorting fixes the order of neither."""
    values = np.sort(np.array(rows, np.float64), axis=0)
    low, high = values[(len(rows) - 1) // 2], values[len(rows) // 2]
    with np.errstate(invalid="ignore"):  # of both infinities there is no mean
        found = np.where(low == high, low, low / 2 + high / 2) + 0.0
    return np.where(np.isnan(found), np.nan, found)
