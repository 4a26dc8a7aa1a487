"""Who says what is shared, and what is then expected of replies: names, patterns, positions and lists."""

import logging

import numpy as np
import pytest

from flwr_byzantine import InvalidParameter, Quarantine
from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.strategy.roles import decide, shared_names
from flwr_byzantine.strategy.template import Template
from tests.support.batchnorm import NNM, federate, legacy_federate, legacy_over, over, start
from tests.support.shared import HEADS, MODEL, SENT, toy


def test_what_is_shared_is_expected_and_checked():
    wrong = {6: {}, 7: {"head": np.ones(2), "w": np.ones(3, np.float32)}}
    strategy = over(NNM, shared="w", quarantine=Quarantine(threshold=1.5))
    toy(strategy, MODEL, lambda sent, node: wrong.get(node, sent))
    nodes = strategy.reports[0].nodes
    assert nodes[6].reason == "expected the 1 shared of the model's 3 arrays, got missing ['w'] and unknown []"
    assert nodes[7].reason == "array 'w': expected shape (4,), got (3,)"
    assert strategy.core.ledger.banned.keys() == {6, 7}


LISTS = [  # arrays of the model, positions of the shared ones -> lengths of lists that are taken, and refused
    (5, [1, 3], [2, 5], [1, 3, 4, 6]),
    (5, [0, 1], [2, 3, 5, 9], [0, 1]),
    (3, [0, 1, 2], [3, 4], [2]),
]


@pytest.mark.parametrize(("total", "places", "taken", "refused"), LISTS)
def test_a_list_holds_all_arrays_or_those_that_are_shared(total, places, taken, refused):
    """Or what follows the shared ones, where these come first."""
    names = [str(place) for place in range(total)]
    template = Template({name: np.zeros(1) for name in names}, [names[place] for place in places])
    for length in taken:
        rows = template.check({str(place): np.array([place]) for place in range(length)})
        assert [int(row[0]) for row in rows] == (list(range(len(places))) if length == len(places) else places)
    for length in refused:
        with pytest.raises(MalformedUpdate, match="expected the"):
            template.check({str(place): np.array([place]) for place in range(length)})


def test_names_that_are_numbers_are_names_where_they_are_no_list():
    template = Template({str(place): np.zeros(1) for place in range(4)}, ["1", "3"])
    assert [row.tolist() for row in template.check({"3": np.array([3]), "1": np.array([1])})] == [[1], [3]]


@pytest.mark.parametrize(
    ("shared", "expected"),
    [
        (["0.*", "3.*"], SENT),
        ("3.bias", ["3.bias"]),
        ([8, 0], ["0.weight", "3.bias"]),
        ("trained", [*SENT[:2], "1.weight", "1.bias", *SENT[2:]]),
        (lambda name, value: value.ndim == 2, ["0.weight", "3.weight"]),
        ("all", None),
        (None, None),
    ],
)
def test_who_says_what_is_shared(shared, expected):
    assert shared_names(start(), shared) == expected


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"shared": "no.such.pattern"}, "shared must hold names, patterns or positions of the model's 3 arrays, got 'no.such.pattern'"),
        ({"shared": ["w", 3]}, "shared must hold names, patterns or positions of the model's 3 arrays, got 3"),
        ({"shared": lambda name, value: False}, r"judge='trained' leaves no array of numbers to judge; clients share \[\]"),
        ({"shared": "mask"}, r"judge='trained' leaves no array of numbers to judge; clients share \['mask'\]"),
        ({"shared": "w", "judge": "head"}, r"judge='head' leaves no array of numbers to judge; clients share \['w'\]"),
    ],
)
@pytest.mark.parametrize("api", [federate, legacy_federate])
def test_what_does_not_fit_the_model_is_refused_before_anybody_is_asked(api, policy, message):
    names = {"w": 1, "mask": 2, "head": 0}
    older = {name: [names.get(value, value)] if isinstance(value, str) else value for name, value in policy.items()}
    strategy = over(NNM, **policy) if api is federate else legacy_over(NNM, model=MODEL, **older)
    with pytest.raises(InvalidParameter, match=message if api is federate else message.split("=")[0].split(" ")[0]):
        toy(strategy, MODEL, lambda sent, node: pytest.fail("was asked"), api)


def test_what_is_judged_is_judged_among_the_shared():
    model = {name: np.ones(2, np.float32) for name in ("a", "b", "c")} | {"running_mean": np.ones(2)}
    assert decide(model, ["a", "b"], shared=["b", "c"]).judged(["b", "c"]) == ["b"]
    assert decide(model, [1, 2], shared=["b", "running_mean"]).kinds == {"running_mean": "BatchNorm"}
    assert (
        str(decide(model, "trained", shared=["b", "running_mean"]))
        == "judged 1 array, 2 values; state: 1 BatchNorm array; not shared: 2 arrays"
    )


def test_the_log_says_once_what_is_not_shared(caplog):
    with caplog.at_level(logging.INFO, logger="flwr"):
        toy(strategy := over(NNM, shared="w"), MODEL, HEADS["none"])
    said = [record.getMessage() for record in caplog.records if "judged" in record.getMessage()]
    assert [text.split(": ", 1)[1] for text in said] == ["judged 1 array, 4 values; not shared: 2 arrays"]
    assert strategy.reports[1].notes == ("judged 1 array, 4 values; not shared: 2 arrays",)
