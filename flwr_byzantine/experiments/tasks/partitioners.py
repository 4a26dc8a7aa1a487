"""flwr-datasets' partitioners by name, with their own options, for labelled examples."""

from __future__ import annotations

import inspect
import reprlib
import warnings
from collections.abc import Callable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.own import called, resolve
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks.partition_options import PARTITIONS, Extent, check_extent, spelled

if TYPE_CHECKING:
    from flwr_byzantine.experiments.tasks.data import Data

SMALLEST = 10  # examples that every client gets at least under "dirichlet", where no option says otherwise
COLUMN = {"natural-id": "group", "grouped-natural-id": "group", "continuous": "value"}  # what others divide by is the label


def divided(data: Data, partition: str, options: Mapping[str, Any], alpha: float, parts: int, seed: int) -> list[Array]:
    """Row indices of each client's training data.

    Args:
        data: to divide.
        partition: the partitioner's name in lower case, with hyphens.
        options: of its constructor, but for num_partitions, partition_by, seed and alpha, which the task gives.
        alpha: of "dirichlet" and "inner-dirichlet".
        parts: number of clients.
        seed: of the order of the examples, and of the partitioner.

    Raises:
        InvalidParameter: options that do not fit the data; data that cannot be divided so.
    """
    by = COLUMN.get(partition, "label")
    columns = _columns(data, by)
    owners = 0 if data.groups is None else len(np.unique(data.groups))
    check_extent(partition, options, Extent(len(data.train_y), len(np.unique(data.train_y)), owners, parts))
    given = {"num_partitions": parts, "alpha": alpha, "seed": seed, "partition_by": by}
    shown = {**({"alpha": alpha} if alpha else {}), **options}
    named = f"partition {partition!r}{_with(shown)}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each of its attempts that fails; the last one raises
            found = _divide(columns, partition, _partitioner(partition, {**_usual(data, partition, parts), **options}, given), given)
    except InvalidParameter:
        raise
    except Exception as error:
        problem = f"{len(data.train_y)} examples cannot be divided among {parts} clients by {named} ({_in_a_line(error, partition)})"
        raise InvalidParameter(f"{problem}; {_advice(shown)}") from None
    empty = [number for number, rows in enumerate(found) if not len(rows)]
    if empty:
        raise InvalidParameter(f"{named} leaves client {empty[0]} of {parts} without an example; {_advice(shown)}")
    return found


def _with(shown: Mapping[str, Any]) -> str:
    return " with " * bool(shown) + ", ".join(f"{spelled(name)} = {reprlib.repr(value)}" for name, value in shown.items())


def _in_a_line(error: Exception, partition: str) -> str:
    """What the partitioner says, with its options as a file spells them."""
    text = " ".join(str(error).replace("num_partitions", "num-clients").split())
    return reduce(lambda told, option: told.replace(option, spelled(option)), PARTITIONS[partition], text)


def _advice(shown: Mapping[str, Any]) -> str:
    lower = "lower min-partition-size, " if "min_partition_size" in shown else ""
    change = "raise alpha or " if "alpha" in shown else "change its options or " if shown else ""
    return f"{lower}{change}lower num-clients"


def _divide(columns: dict[str, list[Any]], partition: str, partitioner: Any, given: Mapping[str, Any]) -> list[Array]:
    import datasets

    datasets.disable_progress_bars()
    parts = given["num_partitions"]
    partitioner.dataset = datasets.Dataset.from_dict(columns).shuffle(seed=given["seed"])
    if partitioner.num_partitions != parts:
        problem = f"partition {partition!r} makes {partitioner.num_partitions} shares of these examples, and there are {parts} clients"
        raise InvalidParameter(f"{problem} to hold them; change num-clients or its options")
    if partition == "natural-id":  # its load_partition looks through all examples for each client
        rows, owners = (np.array(partitioner.dataset[:][name]) for name in ("row", "group"))
        return [rows[owners == partitioner.partition_id_to_natural_id[k]] for k in range(parts)]
    return [np.array(partitioner.load_partition(k)[:]["row"], dtype=np.int64) for k in range(parts)]


def _columns(data: Data, by: str) -> dict[str, list[Any]]:
    """The examples' numbers, and what they are divided by: label, whose they are, or the mean of their values."""
    if by == "group" and data.groups is None:
        raise InvalidParameter("nobody knows whose the examples of this data set are; divide it by label, or take one where it is known")
    values = data.train_y if by == "label" else data.train_x.double().mean(1) if by == "value" else data.groups
    return {"row": list(range(len(data.train_y))), by: np.asarray(values).tolist()}


def _partitioner(partition: str, options: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """flwr-datasets' object."""
    import flwr_datasets.partitioner as known

    cls = getattr(known, "".join(map(str.capitalize, partition.split("-"))) + "Partitioner")
    parameters = inspect.signature(cls).parameters
    filled = {key: value for key, value in given.items() if key in parameters}
    return cls(**filled, **{key: _value(key, value) for key, value in options.items()})


def _usual(data: Data, partition: str, parts: int) -> dict[str, Any]:
    """Options that are ours where the task says nothing."""
    if partition == "dirichlet":
        return {"min_partition_size": SMALLEST}
    if partition == "inner-dirichlet":
        return {"partition_sizes": [len(data.train_y) // parts] * parts}
    if partition == "grouped-natural-id" and data.groups is not None:
        return {"group_size": -(-len(np.unique(data.groups)) // parts)}
    return {}


def _value(option: str, value: Any) -> Any:
    """An option as the partitioner takes it: tables are arrays, functions are named."""
    if option == "partition_id_to_size_fn":
        return _sizes(value)
    if option == "distribution_array":
        return np.array(value, dtype=np.float64)
    return value


def _sizes(name: str) -> Callable[[Array], Array]:
    """The function that gives relative sizes for clients 1, 2, ..., looked at."""
    what = "partition-id-to-size-fn"
    resolve(name, what)

    def sizes(numbers: Array) -> Array:
        made = called(name, what, numbers)
        try:
            found = np.asarray(made, dtype=np.float64)
        except (TypeError, ValueError):
            found = np.zeros(0)
        if found.shape != numbers.shape or not np.isfinite(found).all() or (found < 0).any() or not found.any():
            wanted = f"must turn an array, the numbers 1 to {len(numbers)} of the clients, into as many numbers >= 0, not all 0"
            raise InvalidParameter(f"{what} {name!r} {wanted}, got {reprlib.repr(made)}")
        return found

    return sizes
