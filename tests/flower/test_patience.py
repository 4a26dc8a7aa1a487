"""How long a round waits, on a clock that the test turns."""

from functools import partial

import pytest

import flwr_byzantine
from flwr_byzantine import InvalidParameter, rules
from flwr_byzantine.flower import patience as module
from flwr_byzantine.flower.patience import Patience, Quorum
from flwr_byzantine.strategy.core import Core
from flwr_byzantine.strategy.fedavg import RobustFedAvg
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.steps import Replace

NAMED = [
    name
    for name in dir(flwr_byzantine)
    if isinstance(kind := getattr(flwr_byzantine, name), type) and issubclass(kind, RobustFedAvg) and name != "FLTrust"
]


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def ends(clock, patience, answers):
    """When it is over, or None; `answers` are pairs of a time and whether the reply is valid."""
    coming = sorted(answers)
    for tick in range(20_000):
        clock[0] = tick * 0.5
        while coming and coming[0][0] <= clock[0]:
            patience.answered(coming.pop(0)[1])
        if patience.over():
            return clock[0]
    return None


def at(seconds, count, valid=True):
    return [(seconds, valid)] * count


@pytest.mark.parametrize(
    ("grace", "answers", "expected"),
    [
        (None, at(5.0, 9), 65.0),  # a minute at least
        (None, at(100.0, 9), 200.0),  # as long again as the quorum took
        (4.0, at(5.0, 9), 9.0),
        (0.0, at(5.0, 9), 5.0),
        (None, at(5.0, 8), 3600.0),  # no quorum: the limit
        (4.0, at(5.0, 7) + at(1.0, 2, False), 605.0),  # two malformed: no quorum, but not for ever
        (4.0, at(5.0, 7) + at(1.0, 2, False) + at(50.0, 2), 54.0),  # two that are slow make it one
        (None, at(100.0, 7) + at(1.0, 2, False), 1100.0),
    ],
)
def test_the_others_get_their_time_after_the_quorum(clock, grace, answers, expected):
    assert ends(clock, Patience(Quorum(9, 7), grace, 3600.0), answers) == expected


def test_what_the_rule_needs_is_waited_for_longer_but_not_for_ever(clock):
    assert ends(clock, Patience(Quorum(5, 7), 4.0, 3600.0), at(10.0, 5)) == 610.0
    clock[0] = 0.0
    assert ends(clock, Patience(Quorum(5, 7), 4.0, 3600.0), at(10.0, 5) + at(90.0, 2)) == 94.0


@pytest.mark.parametrize(("asked", "training", "expected"), [(11, True, 65.0), (11, False, 65.0), (3, False, 65.0), (3, True, 605.0)])
def test_two_that_hang_cost_little_more_than_a_minute_by_default(clock, asked, training, expected):
    """Of eleven in training or evaluation, of three in an evaluation; in training three are not enough for the rule."""
    core = Core(Policy(), lambda n: rules.Krum(f=2), Replace(), print, object)
    assert ends(clock, core.patience(asked, training, 3600.0), at(5.0, asked - 2)) == expected


def test_the_limit_ends_it_in_any_case(clock):
    assert ends(clock, Patience(Quorum(9), 100.0, 20.0), at(5.0, 9)) == 20.0
    clock[0] = 0.0
    assert ends(clock, Patience(Quorum(9), 100.0, None), []) is None


SERVERS = {"Zeno": {"server_loss": lambda _round, _arrays: 0.0}, "ZenoPlusPlus": {"server_update": lambda _round, arrays: arrays}}


@pytest.mark.parametrize("name", NAMED)
def test_no_named_strategy_waits_longer_by_default(clock, name):
    """Two of eleven hang in training or evaluation, the others answer within five seconds."""
    made = partial(getattr(flwr_byzantine, name), **SERVERS.get(name, {}))
    try:
        strategy = made()
    except InvalidParameter:  # f must be given
        strategy = made(f=0.2)
    for training in (True, False):
        clock[0] = 0.0
        assert ends(clock, strategy.core.patience(11, training, 3600.0), at(5.0, 9)) == 65.0
