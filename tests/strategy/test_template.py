"""Which dtypes of a reply are taken for which of the model's: floats are rounded, integers must fit, nothing crosses."""

import numpy as np
import pytest

from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.flower.codec import pack
from flwr_byzantine.strategy.template import Template

TAKEN = [(np.float32, np.float64), (np.float64, np.float16), (np.int64, np.int8), (np.int8, np.int64), (np.uint8, np.int32), (bool, bool)]
REFUSED = [
    (np.float32, np.int64),
    (np.int64, np.float32),
    (np.int64, bool),
    (bool, np.int8),
    (np.float32, bool),
]


@pytest.mark.parametrize(("model", "reply"), TAKEN)
def test_taken(model, reply):
    (found,) = Template({"w": np.zeros((2, 2), model)}).check({"w": np.ones((2, 2), reply)})
    assert (found.dtype, found.tolist()) == (np.dtype(model), [1] * 4)


@pytest.mark.parametrize(("model", "reply"), REFUSED)
def test_refused(model, reply):
    with pytest.raises(MalformedUpdate, match="array 'w': expected"):
        Template({"w": np.zeros((2, 2), model)}).check({"w": np.ones((2, 2), reply)})


@pytest.mark.parametrize(("model", "value"), [(np.int8, np.int64(300)), (np.uint8, np.int64(-1)), (np.float32, np.float64(1e300))])
def test_numbers_that_do_not_fit_are_refused(model, value):
    with pytest.raises(MalformedUpdate, match="array 'w': expected"):
        Template({"w": np.zeros(1, model)}).check({"w": np.array([value])})


def test_a_reply_far_larger_than_the_model_is_not_decoded():
    data = pack({"w": np.zeros(3, np.float32)})["w"].data
    with pytest.raises(MalformedUpdate, match="expected about 12 bytes like the model, got 200140; not decoded"):
        Template.of({"w": data}).read({"w": data + b"\0" * 200_000})
