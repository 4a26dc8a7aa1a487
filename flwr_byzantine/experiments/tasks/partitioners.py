"""flwr-datasets' partitioners by name, with their own options, for labelled examples."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.names import check_options
from flwr_byzantine.declare.own import resolve
from flwr_byzantine.errors import InvalidParameter

if TYPE_CHECKING:
    from flwr_byzantine.experiments.tasks.data import Data

SMALLEST = 10  # examples that every client gets at least under "dirichlet", where no option says otherwise
COLUMN = {"natural-id": "group", "grouped-natural-id": "group", "continuous": "value"}  # what others divide by is the label
VERTICAL = "divides the values of each example among clients that hold the same examples, and a client here holds whole ones"


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
        InvalidParameter: an option that the partitioner has not, or that it needs; data that it cannot divide so.
    """
    if partition.startswith("vertical"):
        raise InvalidParameter(f"partition {partition!r} {VERTICAL}; take another, such as 'dirichlet'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each of its attempts that fails; the last one raises
            found = _divide(data, partition, options, alpha, parts, seed)
    except InvalidParameter:
        raise
    except Exception as error:
        degree = f" with alpha = {alpha:g}" if alpha else ""
        problem = f"{len(data.train_y)} examples cannot be divided among {parts} clients by partition {partition!r}{degree}"
        raise InvalidParameter(f"{problem} ({' '.join(str(error).split())}); {_advice(error, options, alpha)}") from None
    empty = [number for number, rows in enumerate(found) if not len(rows)]
    if empty:
        raise InvalidParameter(f"partition {partition!r} leaves client {empty[0]} of {parts} without an example; lower num-clients")
    return found


def _advice(error: Exception, options: Mapping[str, Any], alpha: float) -> str:
    if options and isinstance(error, TypeError):
        given = ", ".join(f"{name.replace('_', '-')} = {value!r}" for name, value in options.items())
        return f"an option is of a wrong kind: {given}"
    lower = "lower min-partition-size, " if "min_partition_size" in options else ""
    return f"{lower}{'raise alpha' if alpha else 'change its options'} or lower num-clients"


def _divide(data: Data, partition: str, options: Mapping[str, Any], alpha: float, parts: int, seed: int) -> list[Array]:
    import datasets

    datasets.disable_progress_bars()
    partitioner = _partitioner(data, partition, options, {"num_partitions": parts, "alpha": alpha, "seed": seed})
    partitioner.dataset = datasets.Dataset.from_dict(_columns(data, COLUMN.get(partition, "label"))).shuffle(seed=seed)
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


def _partitioner(data: Data, partition: str, options: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """flwr-datasets' object."""
    import flwr_datasets.partitioner as known

    cls = getattr(known, "".join(map(str.capitalize, partition.split("-"))) + "Partitioner")
    taken = {
        name: item for name, item in inspect.signature(cls).parameters.items() if name not in ("num_partitions", "partition_by", "seed")
    }
    check_options(partition, options, [name for name in taken if name != "alpha"])
    values = {**_usual(data, partition, given["num_partitions"]), **{key: _value(key, value) for key, value in options.items()}}
    for name, item in taken.items():
        if isinstance(item.default, bool) and not isinstance(options.get(name, False), bool):
            raise InvalidParameter(f"partition {partition!r}: {name.replace('_', '-')} must be true or false, got {options[name]!r}")
        if item.default is item.empty and name != "alpha" and name not in values:
            wanted = name.replace("_", "-")
            raise InvalidParameter(f'partition {partition!r} needs {wanted}; write partition = {{name = "{partition}", {wanted} = ...}}')
    parameters = inspect.signature(cls).parameters
    filled = {key: value for key, value in {**given, "partition_by": COLUMN.get(partition, "label")}.items() if key in parameters}
    return cls(**filled, **values)


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
        return resolve(value, "partition-id-to-size-fn")
    if option == "distribution_array":
        return np.array(value, dtype=np.float64)
    return value
