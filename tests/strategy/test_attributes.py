"""What strategies keep in their attributes over the rounds, as plain data and back."""

import random
from collections import deque
from functools import partial

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord
from flwr.common import Parameters
from flwr.serverapp.strategy import DifferentialPrivacyServerSideAdaptiveClipping, FedAdam, FedAvg

from flwr_byzantine.strategy.attributes import Attributes
from flwr_byzantine.strategy.plain import NotPlain, pack, unpack

PLAIN = [
    None,
    True,
    7,
    10**30,
    0.1,
    float("inf"),
    "über",
    [1, [2.5, "x"]],
    (1, (2,)),
    {"a": 1, 2: {"b": None}},
    {1, 2},
    frozenset("ab"),
    deque([1, 2], 5),
    b"\0\xff",
    np.float32(0.1),
    ConfigRecord({"lr": 0.1, "names": ["a"]}),
    MetricRecord({"loss": 1.5}),
    Parameters([b"\0\1", b""], "numpy.ndarray"),
]


@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_plain_data_comes_back_as_it_was(value):
    arrays = {}
    found = unpack(pack(value, "x", arrays), arrays)
    assert found == value
    assert type(found) is type(value)


def test_arrays_and_generators_come_back_as_they_were():
    rng, python, old = np.random.default_rng(3), random.Random(4), np.random.RandomState(5)
    record = ArrayRecord({"w": Array(np.ones(2, np.float32))})
    value, arrays = {"m": [np.eye(2), np.zeros((0, 2))], "record": record, "rng": (rng, python, old)}, {}
    found = unpack(pack(value, "x", arrays), arrays)
    assert [item.tolist() for item in found["m"]] == [[[1, 0], [0, 1]], []]
    assert found["record"] == record
    again = found["rng"]
    assert (again[0].random(), again[1].random(), again[2].rand()) == (rng.random(), python.random(), old.rand())


@pytest.mark.parametrize(
    "value",
    [object(), np.array([None]), {"x": object()}, [partial(print)], type("Norms", (dict,), {})()],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_no_plain_data(value):
    with pytest.raises(NotPlain):
        pack(value, "x", {})


class Cosine:
    def __init__(self):
        self.step = 0


def test_what_changed_since_the_run_began_is_saved_of_each_strategy_below_and_the_rest_is_named():
    def made():
        adam = FedAdam()
        return adam, DifferentialPrivacyServerSideAdaptiveClipping(adam, 0.1, 5)

    (adam, outer), (fresh, other) = made(), made()
    adam.schedule, adam.table = Cosine(), np.ones(1000)
    attributes, again = Attributes([outer], {"hidden"}), Attributes([other])
    adam.tau, outer.clipping_norm, outer.hidden = 0.5, 0.7, 3
    adam.m_t = {"w": np.ones(2, np.float32)}
    forms, arrays, unsaved = attributes.changed()
    assert set(forms) == {"0.clipping_norm", "0.strategy.tau", "0.strategy.m_t"}
    assert len(arrays) == 1
    assert unsaved == ["FedAdam.schedule (Cosine)"]
    again.restore(forms, arrays)
    assert (fresh.tau, other.clipping_norm, fresh.m_t["w"].tolist()) == (0.5, 0.7, [1.0, 1.0])
    adam.table[3] = 2
    assert "0.strategy.table" in attributes.changed()[0]
    Attributes([FedAvg()]).restore(forms, arrays)  # paths of strategies that are not there


def test_strategies_that_hold_each_other_are_walked_once():
    one, two = FedAvg(), FedAvg()
    one.other, two.other = two, one
    attributes = Attributes([one, two])
    one.fraction_train = 0.25
    assert attributes.changed() == ({"0.fraction_train": 0.25}, {}, [])
