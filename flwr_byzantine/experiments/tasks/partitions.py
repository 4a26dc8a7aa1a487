"""Which training examples each client holds."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks.data import Source, source_of, split
from flwr_byzantine.experiments.tasks.options import Options, thawed
from flwr_byzantine.experiments.tasks.partition_options import PARAMETERS
from flwr_byzantine.experiments.tasks.partitioners import divided

if TYPE_CHECKING:
    from flwr_byzantine.experiments.tasks.task import Task

PARTITION_STREAM, ATTACKERS_DATA_STREAM = 2, 6  # tell these generators from others of the same seed


def partitions(task: Task) -> list[Array]:
    """Row indices of each client's training data.

    "sorted" and "gamma" are made here, all others by flwr-datasets' partitioner of that name. Under `shares="honest"`,
    honest client f + j holds share j of n - f, and malicious client k a copy of share k mod (n - f), so that no data is
    lost to the honest ones. Under `attackers_data="iid"` a malicious client holds as many examples of all instead.

    Raises:
        InvalidParameter: the data does not suffice for so many clients or so much heterogeneity, or cannot be divided so.

    Source: gamma-similarity: Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, ICML 2020.

    Example:
        >>> from flwr_byzantine.experiments.tasks import Task
        >>> [len(rows) for rows in partitions(Task(partition="sorted", num_clients=4))]
        [337, 337, 337, 336]
        >>> linear = partitions(Task(partition="linear", num_clients=3))
        >>> [len(rows) for rows in linear]
        [224, 449, 674]
    """
    bad = 0 if task.shares == "all" else task.num_malicious
    parts = task.num_clients - bad
    degree = {"gamma": task.gamma}.get(task.partition, task.alpha if task.partition in PARAMETERS["alpha"] else 0.0)
    found = _partitions(source_of(task), task.partition, task.partition_options, degree, parts)
    held = [found[k % parts] for k in range(bad)] + found
    if task.attackers_data == "share":
        return held
    sizes = tuple(map(len, held[: task.num_malicious]))
    return _drawn(source_of(task), sizes) + held[task.num_malicious :]


@lru_cache(maxsize=8)
def _drawn(source: Source, sizes: tuple[int, ...]) -> list[Array]:
    """So many rows for each malicious client, of all rows, each client's without replacement."""
    rng, total = np.random.default_rng([source[3], ATTACKERS_DATA_STREAM]), len(split(*source).train_y)
    return [rng.choice(total, size, replace=False) for size in sizes]


@lru_cache(maxsize=8)
def _partitions(source: Source, partition: str, options: Options, degree: float, parts: int) -> list[Array]:
    data, seed = split(*source), source[3]
    labels = data.train_y.numpy()
    if parts > len(labels):
        raise InvalidParameter(f"{len(labels)} examples cannot be divided among {parts} clients; lower num-clients")
    if partition in ("sorted", "gamma"):
        return similar(labels, degree, parts, np.random.default_rng([seed, PARTITION_STREAM]))
    return divided(data, partition, thawed(options), degree, parts, seed)


def similar(labels: Array, gamma: float, parts: int, rng: np.random.Generator) -> list[Array]:
    """A share `gamma` of the examples dealt at random, the rest in equal pieces sorted by label.

    Args:
        labels: (rows,) labels.
        gamma: 1 is iid, 0 sorted.
        parts: number of clients.
        rng: source of randomness.

    Example:
        >>> [part.tolist() for part in similar(np.array([1, 0, 1, 0]), 0.0, 2, np.random.default_rng(0))]
        [[1, 3], [0, 2]]
    """
    order = rng.permutation(len(labels))
    count = round(gamma * len(labels))
    rest = np.sort(order[count:])
    rest = rest[np.argsort(labels[rest], kind="stable")]
    pieces = zip(np.array_split(order[:count], parts), np.array_split(rest, parts), strict=True)
    return [np.concatenate(pair) for pair in pieces]
