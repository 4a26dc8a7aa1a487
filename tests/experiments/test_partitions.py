"""Every partitioner of flwr-datasets by name, with its options."""

import re

import flwr_datasets.partitioner
import numpy as np
import pytest

from flwr_byzantine import InvalidParameter
from flwr_byzantine.experiments.sweep import read
from flwr_byzantine.experiments.tasks import Task, data, task
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
OTHERS = {"natural-id", "grouped-natural-id", "vertical-even", "vertical-size"}


def of(name, options=(), **more):
    return Task(partition=name, partition_options=options, num_clients=6 if name == "exponential" else 10, **more)


def test_every_partitioner_of_flwr_datasets_has_its_name():
    classes = set(flwr_datasets.partitioner.__all__) - {"Partitioner"}
    names = {re.sub(r"(?<!^)([A-Z])", r"-\1", cls.removesuffix("Partitioner")).lower() for cls in classes}
    assert set(task.PARTITIONS) == names | {"gamma", "sorted"} == WHOLE.keys() | OTHERS


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
        ("{name = 'pathological', num-classes-per-partition = 11}", "is greater than the number of unique classes"),
        ("{name = 'pathological', num-classes-per-partition = 'two'}", "an option is of a wrong kind: num-classes-per-partition = 'two'"),
        ("{name = 'dirichlet', min-partition-size = 'a'}", "an option is of a wrong kind: min-partition-size = 'a'"),
        ("{name = 'dirichlet', min-partition-size = 500}", "lower min-partition-size, raise alpha or lower num-clients"),
        ("{name = 'pathological', clases = 2}", "unknown option of 'pathological' 'clases'; choose one of: class_assignment_mode"),
        ("{name = 'iid', alpha = 1.0}", "'iid' has no options, got 'alpha'"),
        ("{name = 'sorted', alpha = 1.0}", "'sorted' has no options, got 'alpha'"),
        (
            "{name = 'dirichlet', alpha = 1.0}",
            "partition 'dirichlet': alpha is no option but a key of its own; write alpha = ... beside partition",
        ),
        ("{name = 'gamma', gamma = 0.5}", "partition 'gamma': gamma is no option but a key of its own"),
        ("{name = 'size', partition-sizes = [3, 4]}", "makes 2 shares of these examples, and there are 10 clients to hold them"),
        ("{name = 'size', partition-sizes = [1, 1, 1, 1, 1, 1, 1, 1, 1, 5000]}", "is greater than the size of the dataset"),
        ("{name = 'inner-dirichlet', partition-sizes = [3]}", "makes 1 shares"),
        ("{name = 'dirichlet', self-balancing = 'yes'}", "partition 'dirichlet': self-balancing must be true or false, got 'yes'"),
        ("{name = 'shard'}", "The shard_size needs to be specified"),
        ("{name = 'id-to-size-fnc', partition-id-to-size-fn = 'numpy:no_such'}", "numpy has no 'no_such'"),
        ("{name = 'id-to-size-fnc', partition-id-to-size-fn = 'os:getcwd'}", "cannot be divided among 10 clients by partition"),
        ("{name = 'continuous', strictness = 2}", "`strictness` must be between 0 and 1"),
        (
            "{name = 'distribution', distribution-array = [[1]], num-unique-labels-per-partition = 1, "
            "preassigned-num-samples-per-label = 1}",
            "the number of rows in `distribution_array` is 1",
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
