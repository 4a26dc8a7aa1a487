"""Which training examples each client holds."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks.data import root_of, split

if TYPE_CHECKING:
    from flwr_byzantine.experiments.tasks.task import Task

SMALLEST = 10  # examples that every client gets at least under "dirichlet"
PARTITION_STREAM = 2  # tells the generator of the partition from others of the same seed


def partitions(task: Task) -> list[Array]:
    """Row indices of each client's training data.

    "iid" and "dirichlet" are flwr-datasets' partitioners. Under `shares="honest"`, honest client f + j holds share j
    of n - f, and malicious client k a copy of share k mod (n - f), so that no data is lost to the honest ones.

    Raises:
        InvalidParameter: the data does not suffice for so many clients or so much heterogeneity.

    Source: gamma-similarity: Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, ICML 2020.

    Example:
        >>> from flwr_byzantine.experiments.tasks import Task
        >>> [len(rows) for rows in partitions(Task(partition="sorted", num_clients=4))]
        [337, 337, 337, 336]
    """
    bad = 0 if task.shares == "all" else task.num_malicious
    parts = task.num_clients - bad
    data = (task.dataset, root_of(task.data_root), task.seed, task.validation)
    degree = {"dirichlet": task.alpha, "gamma": task.gamma}.get(task.partition, 0.0)
    found = _partitions(data, task.partition, degree, parts)
    return [found[k % parts] for k in range(bad)] + found


@lru_cache(maxsize=8)
def _partitions(data: tuple[str, str, int, float], partition: str, degree: float, parts: int) -> list[Array]:
    labels, seed = split(*data).train_y.numpy(), data[2]
    if parts > len(labels):
        raise InvalidParameter(f"{len(labels)} examples cannot be divided among {parts} clients; lower num-clients")
    if partition in ("iid", "dirichlet"):
        return _by_flower(labels, partition, degree, parts, seed)
    return similar(labels, degree, parts, np.random.default_rng([seed, PARTITION_STREAM]))


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


def _by_flower(labels: Array, partition: str, alpha: float, parts: int, seed: int) -> list[Array]:
    import datasets
    from flwr_datasets.partitioner import DirichletPartitioner, IidPartitioner

    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"row": list(range(len(labels))), "label": labels.tolist()})
    partitioner: Any = (
        IidPartitioner(parts)
        if partition == "iid"
        else DirichletPartitioner(parts, partition_by="label", alpha=alpha, min_partition_size=SMALLEST, seed=seed)
    )
    partitioner.dataset = rows.shuffle(seed=seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each of its attempts that fails; the last one raises
            return [np.array(partitioner.load_partition(k)["row"]) for k in range(parts)]
    except ValueError as error:
        problem = f"{len(labels)} examples cannot be divided among {parts} clients by partition {partition!r} with alpha = {alpha:g}"
        raise InvalidParameter(f"{problem} ({error}); raise alpha or lower num-clients") from None
