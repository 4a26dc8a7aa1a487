"""Metrics that no minority of clients can bend: medians, key by key."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from logging import WARNING
from typing import Any

import numpy as np

from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.flower.words import is_printable, printable

IDENTITIES = ("partition-id", "partition_id")  # say who a client is, and are no metrics
NOISE_KEY = "gradient-noise"  # metric: E‖G - E G‖² as a client estimates it
Own = Callable[[], Mapping[str, Any]]
Log = Callable[[int, str], None]


def aggregate_metrics(replies: Sequence[Reply], skip: str, own: Own | None, log: Log) -> dict[str, Any]:
    """The metrics of a round, which Flower logs: the user's function where there is one, else the median of each.

    Clients choose the names: metrics are left out whose name cannot be printed as it is.

    Args:
        replies: the valid replies, in a fixed order.
        skip: the key of the number of examples, which is not a metric.
        own: the user's function, called on these replies; where it raises, that costs the metrics and not the run.
        log: takes a level and a text.
    """
    if own is None:
        return robust_metrics([reply.metrics or {} for reply in replies], skip)
    try:
        return {name: printable(value) if isinstance(value, str) else value for name, value in own().items() if is_printable(name)}
    except Exception as error:
        log(WARNING, f"metrics dropped: the metrics function raised {type(error).__name__}: {printable(error)}")
        return {}


def numbers_of(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """The metrics that are single numbers."""
    return {printable(name): float(value) for name, value in (metrics or {}).items() if isinstance(value, int | float)}


def reported_noise(replies: Sequence[Reply]) -> float | None:
    """The median of what the clients say of their gradient's noise, or None where no majority does."""
    said = [{key: value for key, value in (reply.metrics or {}).items() if key == NOISE_KEY} for reply in replies]
    noise = robust_metrics(said, "").get(NOISE_KEY)
    return noise if isinstance(noise, float) else None


def robust_metrics(records: Sequence[Mapping[str, Any]], skip: str) -> dict[str, Any]:
    """Per key, the median over the replies that report it well; keys that no majority reports well, or not fit to print, are left out.

    Args:
        records: what each valid reply reports.
        skip: the key of the number of examples, which is not a metric.

    Example:
        >>> robust_metrics([{"loss": 1.0}, {"loss": 2.0}, {"loss": 1e9, "odd": 1}], "num-examples")
        {'loss': 2.0}
    """
    said = Counter(key for record in records for key in record)
    common = sorted(key for key, count in said.items() if 2 * count > len(records))  # the values of others are not looked at
    keys = [key for key in common if key != skip and key not in IDENTITIES and is_printable(key)]
    found = {key: _median([record.get(key) for record in records]) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def _median(values: list[Any]) -> float | list[float] | None:
    """The median of the form (a number, or a list of one length) that more than half of the values have."""
    found = [(isinstance(value, list), row) for value in values if (row := finite_numbers(value)) is not None]
    forms = [(listed, len(row)) for listed, row in found]
    common = max(set(forms), key=forms.count) if forms else (False, 0)
    rows = [row for listed, row in found if (listed, len(row)) == common]
    if 2 * len(rows) <= len(values) or common[1] == 0:
        return None
    middle = [float(item) for item in 2.0 * np.median(0.5 * np.array(rows, np.float64), axis=0)]  # the sum of two may overflow
    return middle if common[0] else middle[0]


def finite_numbers(value: Any) -> list[float] | None:
    """A number, or a list of numbers, as finite floats; None for anything else."""
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in items):
        return None
    try:
        numbers = [float(item) for item in items]
    except OverflowError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
