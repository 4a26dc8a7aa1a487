"""Which dtypes of a reply are taken for which of the model's: floats are rounded, everything else must be the same number."""

import numpy as np
import pytest

from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.flower.codec import pack
from flwr_byzantine.strategy.template import Template

TYPES = [bool, np.int8, np.int64, np.uint8, np.float16, np.float32, np.float64, np.longdouble, np.dtype(">f4")]


@pytest.mark.parametrize("model", [*TYPES, np.complex64])
@pytest.mark.parametrize("reply", TYPES[1:])
def test_numbers_that_both_dtypes_have_are_taken(model, reply):
    (found,) = Template({"w": np.zeros((2, 2), model)}).check({"w": np.array([[0, 1], [1, 0]], reply)})
    expected = [0, 0, 1, 0, 1, 0, 0, 0] if model is np.complex64 else [0, 1, 1, 0]
    assert (found.dtype, found.tolist()) == (np.zeros(1, model).real.dtype, expected)


@pytest.mark.parametrize("reply", [bool, np.complex64])
@pytest.mark.parametrize("model", [*TYPES, np.complex64])
def test_complex_numbers_and_booleans_are_taken_for_their_kind_alone(model, reply):
    template, sent = Template({"w": np.zeros(2, model)}), {"w": np.ones(2, reply)}
    if model is reply:
        assert template.check(sent)[0].sum() == 2
        return
    with pytest.raises(MalformedUpdate, match=f"array 'w': expected dtype .*, got {np.dtype(reply)}$"):
        template.check(sent)


def test_floats_are_rounded():
    (found,) = Template({"w": np.zeros(1, np.float32)}).check({"w": np.array([0.1])})
    assert found == np.float32(0.1)


NOT_THERE = [
    *((np.int8, np.int64(300)), (np.uint8, np.int64(-1)), (np.float32, np.float64(1e300)), (bool, np.int8(2)), (bool, np.float32(0.5))),
    *((np.int64, np.float64(value)) for value in (2.5, 2.0**63, -(2.0**64), np.nan, np.inf)),
    *((np.uint64, np.float64(2.0**64)), (np.int64, np.float16(np.inf)), (np.int64, np.longdouble(2) ** 63), (np.uint8, np.float16(-1))),
    *((np.float32, np.int64(2**24 + 1)), (np.float64, np.int64(2**53 + 1)), (np.float64, np.int64(2**63 - 1))),
    *((np.float16, np.uint32(70000)), (np.complex64, np.float64(0.1))),
]


@pytest.mark.parametrize(("model", "value"), NOT_THERE)
def test_numbers_that_do_not_fit_are_refused(model, value):
    with pytest.raises(MalformedUpdate, match="array 'w': expected"):
        Template({"w": np.zeros(1, model)}).check({"w": np.array([value])})


@pytest.mark.parametrize(("model", "value"), [(np.int64, -(2.0**63)), (np.uint64, 2.0**63), (np.int64, -0.0), (np.int8, -128.0)])
def test_the_largest_integers_may_come_as_floats(model, value):
    (found,) = Template({"n": np.zeros(1, model)}).check({"n": np.array([value])})
    assert (found.dtype, int(found[0])) == (np.dtype(model), int(value))


def test_a_reply_far_larger_than_the_model_is_not_decoded():
    data = pack({"w": np.zeros(3, np.float32)})["w"].data
    with pytest.raises(MalformedUpdate, match="expected about 12 bytes like the model, got 200140; not decoded"):
        Template.of({"w": data}).read({"w": data + b"\0" * 200_000})
