"""The partitions by name, and what each of their options may be: by itself, and for so many clients and such data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flwr_byzantine.declare.names import unknown_name
from flwr_byzantine.declare.own import OWN
from flwr_byzantine.declare.params import Constraint
from flwr_byzantine.errors import InvalidParameter


@dataclass(frozen=True)
class ListOf:
    """A list of one item or more.

    Example:
        >>> print(ListOf(Constraint(int, ge=1)), ListOf(Constraint(int, ge=1)).accepts([1, 0]))
        a list, each of it an integer >= 1 False
    """

    item: Constraint | ListOf

    def accepts(self, value: Any) -> bool:
        """Whether it is such a list."""
        return isinstance(value, (list, tuple)) and len(value) > 0 and all(map(self.item.accepts, value))

    def __str__(self) -> str:
        return f"a list, each of it {self.item}"


class Own:
    """The name of a function of one's own."""

    def accepts(self, value: Any) -> bool:
        """Whether it is such a name; the function need not be there."""
        return isinstance(value, str) and OWN.fullmatch(value) is not None

    def __str__(self) -> str:
        return "'module:function'"


def _one_of(*choices: str) -> Constraint:
    return Constraint(str, choices=choices)


Options = Mapping[str, Constraint | ListOf | Own]
COUNT, FLAG = Constraint(int, ge=1), Constraint(bool)
SHUFFLE: Options = {"shuffle": FLAG}
VERTICAL = "divides the values of each example among clients that hold the same examples, and a client here holds whole ones"
PARTITIONS: dict[str, Options] = {  # with their options, which are those of flwr-datasets' constructors
    "iid": {},
    "dirichlet": {"min_partition_size": Constraint(int, ge=0), "self_balancing": FLAG, **SHUFFLE},
    "sorted": {},
    "gamma": {},
    "linear": {},
    "square": {},
    "exponential": {},
    "size": {"partition_sizes": ListOf(COUNT)},
    "id-to-size-fnc": {"partition_id_to_size_fn": Own()},
    "shard": {"num_shards_per_partition": COUNT, "shard_size": COUNT, "keep_incomplete_shard": FLAG, **SHUFFLE},
    "pathological": {
        "num_classes_per_partition": COUNT,
        "class_assignment_mode": _one_of("random", "deterministic", "first-deterministic"),
        **SHUFFLE,
    },
    "distribution": {
        "distribution_array": ListOf(ListOf(Constraint(float, ge=0))),
        "num_unique_labels_per_partition": COUNT,
        "preassigned_num_samples_per_label": Constraint(int, ge=0),
        "rescale": FLAG,
        **SHUFFLE,
    },
    "inner-dirichlet": {"partition_sizes": ListOf(COUNT), **SHUFFLE},
    "continuous": {"strictness": Constraint(float, ge=0, le=1), **SHUFFLE},
    "natural-id": {},
    "grouped-natural-id": {
        "group_size": COUNT,
        "mode": _one_of("allow-smaller", "allow-bigger", "drop-reminder", "strict"),
        "sort_unique_ids": FLAG,
    },
    "vertical-even": {},
    "vertical-size": {},
}
NEEDED = {
    "size": ("partition_sizes",),
    "id-to-size-fnc": ("partition_id_to_size_fn",),
    "pathological": ("num_classes_per_partition",),
    "distribution": ("distribution_array", "num_unique_labels_per_partition", "preassigned_num_samples_per_label"),
    "continuous": ("strictness",),
}
PARAMETERS = {"alpha": ("dirichlet", "inner-dirichlet"), "gamma": ("gamma",)}  # keys of the task beside the partition, and whose


def spelled(option: str) -> str:
    """An option as a file spells it.

    Example:
        >>> spelled("shard_size")
        'shard-size'
    """
    return option.replace("_", "-")


def check_partition(name: str, options: Mapping[str, Any]) -> None:
    """Raise `InvalidParameter` unless there is such a partition with such options, whatever the data."""
    if name not in PARTITIONS:
        raise unknown_name("partition", name, PARTITIONS)
    if name.startswith("vertical"):
        raise InvalidParameter(f"partition {name!r} {VERTICAL}; take another, such as 'dirichlet'")
    for key, users in PARAMETERS.items():
        if key in options and name in users:
            raise InvalidParameter(f"partition {name!r}: {key} is no option but a key of its own; write {key} = ... beside partition")
    for option, value in options.items():
        _check_option(name, option, value)
    needed = ("shard_size",) if name == "shard" and "num_shards_per_partition" not in options else NEEDED.get(name, ())
    for wanted in (spelled(option) for option in needed if option not in options):
        raise InvalidParameter(f'partition {name!r} needs {wanted}; write partition = {{name = "{name}", {wanted} = ...}}')


def _check_option(name: str, option: str, value: Any) -> None:
    known = PARTITIONS[name]
    if not known:
        raise InvalidParameter(f"{name!r} has no options, got {spelled(option)!r}")
    if option not in known:
        raise unknown_name(f"option of {name!r}", spelled(option), map(spelled, known))
    if not known[option].accepts(value):
        wanted = "true or false" if known[option] is FLAG else known[option]
        raise _must(name, option, wanted, repr(value))


def _must(name: str, option: str, wanted: object, given: object) -> InvalidParameter:
    return InvalidParameter(f"partition {name!r}: {spelled(option)} must be {wanted}, got {given}")


@dataclass(frozen=True)
class Extent:
    """What is divided: how many examples, labels and owners (0 where nobody knows them) there are, and among how many clients."""

    examples: int
    labels: int
    owners: int
    clients: int


def check_extent(name: str, options: Mapping[str, Any], extent: Extent) -> None:
    """Raise `InvalidParameter` where options, each good by itself, do not fit the data or the number of clients.

    Example:
        >>> check_extent("pathological", {"num_classes_per_partition": 11}, Extent(1347, 10, 0, 20))
        Traceback (most recent call last):
        ...
        flwr_byzantine.errors.InvalidParameter: partition 'pathological': num-classes-per-partition must be at most 10, ... got 11
    """
    each, labels = extent.examples // extent.clients, f"{extent.labels}, the labels of this data set"
    few = f"there are {extent.examples} examples for {extent.clients} clients"
    shards = options.get("num_shards_per_partition", 1)
    whole = extent.examples if options.get("keep_incomplete_shard") else each // shards
    most = {
        "num_classes_per_partition": (extent.labels, labels),
        "num_unique_labels_per_partition": (extent.labels, labels),
        "min_partition_size": (each, f"{each}, for {few}"),
        "num_shards_per_partition": (each, f"{each}, for {few}"),
        "shard_size": (whole, f"{whole}, for {few}{f' of {shards} shards each' * (shards > 1)}"),
        "group_size": (extent.owners, f"{extent.owners}, the owners of these examples"),
    }
    for option, (limit, text) in most.items():
        if options.get(option, 0) > limit:
            raise _must(name, option, f"at most {text}", options[option])
    if "partition_sizes" in options:
        _check_sizes(name, options["partition_sizes"], extent)
    if "distribution_array" in options:
        _check_table(name, options, extent)


def _check_sizes(name: str, sizes: list[int], extent: Extent) -> None:
    if len(sizes) != extent.clients:
        raise _must(name, "partition_sizes", f"{extent.clients} sizes, one for each client", f"{len(sizes)}: {sizes}")
    if sum(sizes) > extent.examples:
        raise _must(name, "partition_sizes", f"of {extent.examples} examples at most in all", sum(sizes))


def _check_table(name: str, options: Mapping[str, Any], extent: Extent) -> None:
    if extent.clients % extent.labels:
        problem = f"num-clients must be a multiple of {extent.labels}, the labels of this data set, got {extent.clients}"
        raise InvalidParameter(f"partition {name!r}: {problem}")
    table = options["distribution_array"]
    columns = options["num_unique_labels_per_partition"] * extent.clients // extent.labels
    found = sorted(set(map(len, table)))
    if len(table) != extent.labels or found != [columns]:
        shape = f"{extent.labels} rows, one for each label, of {columns} numbers each (num-unique-labels-per-partition x clients / labels)"
        raise _must(name, "distribution_array", shape, f"{len(table)} rows of {' or '.join(map(str, found))}")
    empty = next((row for row in table if not sum(row)), None)
    if empty is not None:
        raise _must(name, "distribution_array", "rows with a number above 0", empty)
