"""Every partitioner of flwr-datasets by name, with its options."""

import inspect
import json
import math
import re

import flwr_datasets.partitioner
import numpy as np
import pytest

from flwr_byzantine import InvalidParameter
from flwr_byzantine.experiments.sweep import read
from flwr_byzantine.experiments.tasks import Task, data
from flwr_byzantine.experiments.tasks.partition_options import NEEDED, PARTITIONS
from flwr_byzantine.experiments.tasks.partitions import partitions
from tests.support.sweeps import write

DISTRIBUTION = {
    "distribution_array": np.ones((10, 2)).tolist(),
    "num_unique_labels_per_partition": 2,
    "preassigned_num_samples_per_label": 5,
}
WHOLE = {  # partitions that give every example to one client, and what they need
    "iid": {},
    "dirichlet": {"self_balancing": True, "min_partition_size": 20},
    "inner-dirichlet": {},
    "sorted": {},
    "gamma": {},
    "linear": {},
    "square": {},
    "exponential": {},
    "size": {"partition_sizes": [*[100] * 9, 447]},
    "id-to-size-fnc": {"partition_id_to_size_fn": "numpy:sqrt"},
    "continuous": {"strictness": 0.9},
    "distribution": DISTRIBUTION,
    "pathological": {"num_classes_per_partition": 2, "class_assignment_mode": "deterministic"},
    "shard": {"shard_size": 10, "keep_incomplete_shard": True},
}
WITH_OPTIONS = [(name, option) for name in sorted(WHOLE.keys() | {"grouped-natural-id"}) for option in PARTITIONS[name]]
OTHERS = {"natural-id", "grouped-natural-id", "vertical-even", "vertical-size"}


def of(name, options=(), **more):
    return Task(partition=name, partition_options=options, num_clients=6 if name == "exponential" else 10, **more)


def partitioners():
    classes = [getattr(flwr_datasets.partitioner, cls) for cls in flwr_datasets.partitioner.__all__ if cls != "Partitioner"]
    return {re.sub(r"(?<!^)([A-Z])", r"-\1", cls.__name__.removesuffix("Partitioner")).lower(): cls for cls in classes}


def test_every_partitioner_of_flwr_datasets_has_its_name():
    assert set(PARTITIONS) == partitioners().keys() | {"gamma", "sorted"} == WHOLE.keys() | OTHERS


@pytest.mark.parametrize("name", sorted(partitioners().keys() - {"vertical-even", "vertical-size"}))
def test_every_option_of_a_partitioner_is_known_and_whether_it_is_needed(name):
    of_the_task = {"num_partitions", "partition_by", "seed", "alpha"}
    found = {key: one for key, one in inspect.signature(partitioners()[name]).parameters.items() if key not in of_the_task}
    assert PARTITIONS[name].keys() == found.keys()
    ours = {"inner-dirichlet": {"partition_sizes"}, "grouped-natural-id": {"group_size"}}.get(name, set())  # which follow from the data
    assert set(NEEDED.get(name, ())) == {key for key, one in found.items() if one.default is one.empty} - ours


GOOD = {  # of those needed, as a file has them
    "partition_sizes": [134] * 10,
    "partition_id_to_size_fn": "numpy:sqrt",
    "num_classes_per_partition": 2,
    "strictness": 0.5,
    "shard_size": 10,
    **DISTRIBUTION,
}
WRONG = (0, -1, 1.5, "two", True, [], [1], [-1], [[1], [1, 1]], [1] * 10 + [2000], 100_000)


def table(**changed):
    return {**DISTRIBUTION, **changed}


def by_toml(value):
    return json.dumps(value).replace("NaN", "nan")


@pytest.mark.parametrize(("name", "option"), WITH_OPTIONS)
def test_a_wrong_value_of_an_option_is_named_as_the_file_has_it(name, option, tmp_path):
    needed = NEEDED.get(name, ("shard_size",) if name == "shard" else ())
    wrong = [math.nan, {"a": 1}, *(value for value in WRONG if not PARTITIONS[name][option].accepts(value))]
    assert len(wrong) > 5
    for value in wrong:
        options = {**{key: GOOD[key] for key in needed}, option: value}
        given = ", ".join(f"{key.replace('_', '-')} = {by_toml(value)}" for key, value in options.items()).replace(": ", " = ")
        with pytest.raises(InvalidParameter) as error:
            read(write(tmp_path, f"[task]\nnum-clients = 10\npartition = {{name = '{name}', {given}}}\n"))
        assert re.search(rf"\[task\] partition.* {option.replace('_', '-')} must be .+, got {re.escape(repr(value))}$", str(error.value))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("pathological", {"num_classes_per_partition": 11}, "num-classes-per-partition must be at most 10, the labels of this"),
        ("dirichlet", {"min_partition_size": 135}, "min-partition-size must be at most 134, for there are 1347 examples for 10"),
        ("shard", {"shard_size": 135}, "shard-size must be at most 134, for there are 1347 examples for 10 clients, got 135"),
        ("shard", {"num_shards_per_partition": 135}, "num-shards-per-partition must be at most 134, for there are"),
        ("shard", {"num_shards_per_partition": 2, "shard_size": 68}, "shard-size must be at most 67, for there are 1347 examples"),
        ("shard", {"shard_size": 150, "keep_incomplete_shard": True}, "with keep-incomplete-shard = True, shard-size = 150 ("),
        ("size", {"partition_sizes": [3, 4]}, "partition-sizes must be 10 sizes, one for each client, got 2: [3, 4]"),
        ("inner-dirichlet", {"partition_sizes": [135] * 10}, "partition-sizes must be of 1347 examples at most in all, got 1350"),
        ("id-to-size-fnc", {"partition_id_to_size_fn": "math:isnan"}, "partition-id-to-size-fn 'math:isnan' raised TypeError: only"),
        ("id-to-size-fnc", {"partition_id_to_size_fn": "numpy:zeros_like"}, "into as many numbers >= 0, not all 0, got array([0., "),
        ("id-to-size-fnc", {"partition_id_to_size_fn": "numpy:negative"}, "into as many numbers >= 0, not all 0, got array([ -1., "),
        ("id-to-size-fnc", {"partition_id_to_size_fn": "numpy:sum"}, "numbers 1 to 10 of the clients, into as many numbers >= 0"),
        ("id-to-size-fnc", {"partition_id_to_size_fn": "numpy:str_"}, "into as many numbers >= 0, not all 0, got np.str_('[ 1."),
        ("id-to-size-fnc", {"partition_id_to_size_fn": "numpy:exp"}, "(The given specification of the parameter num-clients=10"),
        ("distribution", table(num_unique_labels_per_partition=11), "num-unique-labels-per-partition must be at most 10"),
        ("distribution", table(distribution_array=[[1, 1]] * 9 + [[0, 0]]), "must be rows with a number above 0, got [0, 0]"),
        ("distribution", table(distribution_array=[[1, 1]] * 9 + [[1]]), "must be 10 rows, one for each label, of 2 numbers each"),
        ("distribution", table(preassigned_num_samples_per_label=100), "`preassigned-num-samples-per-label`=100. Reduce"),
        ("grouped-natural-id", {}, "nobody knows whose the examples of this data set are; divide it by label"),
        ("grouped-natural-id", {"group_size": 2}, "nobody knows whose the examples of this data set are; divide it by label"),
    ],
)
def test_options_that_do_not_fit_the_data_or_the_clients_are_named(name, options, said):
    with pytest.raises(InvalidParameter) as error:
        partitions(of(name, options))
    assert said in str(error.value)
    assert not re.search("[a-z]_[a-z]+_", str(error.value))
    assert "\n" not in str(error.value)


def test_labels_must_divide_the_clients_of_a_distribution():
    with pytest.raises(InvalidParameter, match="num-clients must be a multiple of 10, the labels of this data set, got 12"):
        partitions(Task(partition="distribution", partition_options=DISTRIBUTION, num_clients=12))


def test_more_owners_in_a_group_than_there_are_is_named():
    with pytest.raises(InvalidParameter, match=r"group-size must be at most [0-9]+, the owners of these examples, got 10000"):
        partitions(Task(dataset="pydoc", partition="grouped-natural-id", partition_options={"group_size": 10_000}))


@pytest.mark.parametrize("name", WHOLE)
def test_each_gives_every_example_to_one_client_and_the_same_ones_again(name):
    parts = partitions(of(name, WHOLE[name]))
    left_out = 1347 % 10 if name == "inner-dirichlet" else 0
    assert len(np.unique(np.concatenate(parts))) == sum(map(len, parts)) == 1347 - left_out
    again = partitions(of(name, WHOLE[name], lr=0.5))
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(parts, partitions(of(name, WHOLE[name], seed=1)), strict=True))


def test_the_names_do_what_they_say():
    labels, brightness = data.load(Task()).train_y.numpy(), data.load(Task()).train_x.mean(1).numpy()
    assert {len(np.unique(labels[part])) for part in partitions(of("pathological", WHOLE["pathological"]))} == {2}
    assert {len(np.unique(labels[part])) for part in partitions(of("distribution", DISTRIBUTION))} == {2}
    assert max(len(np.unique(labels[part])) for part in partitions(of("shard", {"num_shards_per_partition": 2}))) <= 4
    assert [len(part) for part in partitions(of("size", WHOLE["size"]))] == [*[100] * 9, 447]
    assert {len(part) for part in partitions(of("inner-dirichlet"))} == {134}
    sizes = [len(part) for part in partitions(of("square"))]
    assert sizes[:-1] == [1347 * k**2 // 385 for k in range(1, 10)]
    means = [brightness[part].mean() for part in partitions(of("continuous", {"strictness": 1.0}))]
    assert means == sorted(means)


@pytest.mark.parametrize("name", ["dirichlet", "inner-dirichlet"])
def test_alpha_is_the_heterogeneity_of_both_dirichlets(name):
    labels = data.load(Task()).train_y.numpy()

    def commonest(alpha):
        return np.mean([np.bincount(labels[part]).max() / len(part) for part in partitions(of(name, alpha=alpha))])

    assert commonest(0.1) > commonest(100.0) + 0.2


def test_text_falls_into_its_topics_one_for_each_client_or_several():
    found = data.load(Task(dataset="pydoc"))
    topics = len(np.unique(found.groups))
    single = partitions(Task(dataset="pydoc", partition="natural-id", num_clients=topics))
    assert [len(np.unique(found.groups[part])) for part in single] == [1] * topics
    assert sum(map(len, single)) == len(found.train_y)
    several = partitions(Task(dataset="pydoc", partition="grouped-natural-id", num_clients=20))
    held = [set(found.groups[part]) for part in several]
    assert sum(map(len, held)) == len(set.union(*held)) == topics
    assert max(map(len, held)) == -(-topics // 20)


@pytest.mark.parametrize(
    ("partition", "said"),
    [
        ("'vertical-even'", "'vertical-even' divides the values of each example among clients that hold the same examples"),
        ("'vertical-size'", "and a client here holds whole ones; take another"),
        ("'natural-id'", "nobody knows whose the examples of this data set are"),
        ("'pathological'", 'needs num-classes-per-partition; write partition = {name = "pathological", num-classes-per-partition = ...}'),
        (
            "{name = 'pathological', num-classes-per-partition = 11}",
            "num-classes-per-partition must be at most 10, the labels of this data set, got 11",
        ),
        ("{name = 'pathological', num-classes-per-partition = 'two'}", "num-classes-per-partition must be an integer >= 1, got 'two'"),
        ("{name = 'dirichlet', min-partition-size = 'a'}", "min-partition-size must be an integer >= 0, got 'a'"),
        ("{name = 'dirichlet', min-partition-size = 110}", "lower min-partition-size, raise alpha or lower num-clients"),
        ("{name = 'pathological', clases = 2}", "unknown option of 'pathological' 'clases'; choose one of: class-assignment-mode"),
        ("{name = 'iid', alpha = 1.0}", "'iid' has no options, got 'alpha'"),
        ("{name = 'sorted', alpha = 1.0}", "'sorted' has no options, got 'alpha'"),
        (
            "{name = 'dirichlet', alpha = 1.0}",
            "partition 'dirichlet': alpha is no option but a key of its own; write alpha = ... beside partition",
        ),
        ("{name = 'gamma', gamma = 0.5}", "partition 'gamma': gamma is no option but a key of its own"),
        ("{name = 'dirichlet', self-balancing = 'yes'}", "partition 'dirichlet': self-balancing must be true or false, got 'yes'"),
        ("{name = 'shard'}", "'shard' needs shard-size; write partition = {name = \"shard\", shard-size = ...}"),
        ("{name = 'id-to-size-fnc', partition-id-to-size-fn = 'numpy:no_such'}", "numpy has no 'no_such'"),
        ("{name = 'id-to-size-fnc', partition-id-to-size-fn = 'os:getcwd'}", "partition-id-to-size-fn 'os:getcwd' raised TypeError: "),
        ("{name = 'continuous', strictness = 2}", "strictness must be a number >= 0 and <= 1, got 2"),
        (
            "{name = 'distribution', distribution-array = [[1]], num-unique-labels-per-partition = 1, "
            "preassigned-num-samples-per-label = 1}",
            "distribution-array must be 10 rows, one for each label, of 1 numbers each",
        ),
        ("'exponential'", "results in the partitions sizes that are not greater than 0"),
        ("{name = 'shards'}", "unknown partition 'shards'; did you mean 'shard'?"),
        ("{classes = 2}", 'must be a name or a table such as {name = "pathological"'),
    ],
)
def test_what_cannot_be_divided_is_one_sentence_before_anything_runs(partition, said, tmp_path):
    with pytest.raises(InvalidParameter) as error:
        read(write(tmp_path, f"[task]\nnum-clients = 10\npartition = {partition}\n"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_options_make_cells_of_their_own(tmp_path):
    text = "[task]\nnum-clients = 10\n[grid]\npartition = ['iid', {name = 'pathological', num-classes-per-partition = 2}, "
    cells = read(write(tmp_path, text + "{name = 'pathological', num-classes-per-partition = 3}]\n")).cells
    assert [cell.config["partition_options"] for cell in cells] == [{}, {"num_classes_per_partition": 2}, {"num_classes_per_partition": 3}]
    assert len({cell.key for cell in cells}) == 3
    assert [dict(cell.task().partition_options) for cell in cells[1:]] == [
        {"num_classes_per_partition": 2},
        {"num_classes_per_partition": 3},
    ]
    assert Task.from_json(cells[1].task().to_json()) == cells[1].task()
