"""From a strategy's arguments to the rule of a round, and the server's step: defaults and edges."""

import inspect
import math
from dataclasses import fields

import numpy as np
import pytest

import flwr_byzantine as ours
from flwr_byzantine import InvalidParameter, Robust, legacy, rules
from flwr_byzantine.strategy.arguments import faults, rule_of
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.steps import Descent, Replace


def test_the_server_replaces_the_model_or_descends_with_momentum():
    w, g = [np.array([1.0, 2.0], np.float32)], [np.array([4.0, 8.0])]
    assert Replace().step(3, w, g)[0] is g[0]
    assert (Replace.gradients, Descent.gradients, Replace().told(1)) == (False, True, {})
    plain = Descent(0.5)
    np.testing.assert_array_equal(plain.step(0, w, g)[0], [-1.0, -2.0])
    assert plain.step(0, w, g)[0].dtype == np.float32
    heavy = Descent(lambda k: 1.0 / (k + 1), momentum=0.5)
    np.testing.assert_array_equal(heavy.step(0, w, g)[0], [-3.0, -6.0])
    np.testing.assert_array_equal(heavy.step(1, w, g)[0], [1 - 6 / 2, 2 - 12 / 2])
    assert heavy.arrays["0"].tolist() == [6.0, 12.0]
    other = Descent(1.0, momentum=0.5)
    other.arrays = heavy.arrays
    np.testing.assert_array_equal(other.step(1, w, g)[0], [1 - 7.0, 2 - 14.0])
    other.arrays = {}
    assert other.velocity is None


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.inf, math.nan, "a", None])
def test_a_schedule_must_give_a_finite_positive_number(gamma):
    with pytest.raises(InvalidParameter, match=r"step_size must give a finite number > 0, got .* at k = 4"):
        Descent(lambda k: gamma).gamma(4)
    assert Descent(lambda k: 2).gamma(0) == 2.0


@pytest.mark.parametrize(("momentum", "fine"), [(0.0, True), (0.999, True), (1.0, False), (-0.1, False)])
def test_momentum_is_below_one(momentum, fine):
    if fine:
        assert Descent(1.0, momentum).momentum == momentum
    else:
        with pytest.raises(InvalidParameter, match="momentum must be"):
            Descent(1.0, momentum)


@pytest.mark.parametrize(
    ("f", "n", "expected"), [(2, 11, 2), (0, 3, 0), (0.2, 10, 2), (0.2, 9, 1), (0.3, 10, 3), (0.49, 100, 49), (0.0, 5, 0)]
)
def test_f_is_a_count_or_a_share_that_is_rounded_down(f, n, expected):
    assert faults(f, n) == expected


@pytest.mark.parametrize("f", [-1, 0.5, -0.1, "2", True])
def test_any_other_f_is_refused(f):
    with pytest.raises(InvalidParameter, match="f must be"):
        faults(f, 10)


def test_a_rule_may_be_given_in_three_ways():
    krum = rules.Krum(f=1)
    assert rule_of(krum, None, 9) is krum
    assert rule_of(lambda n: rules.Krum(f=n // 5), None, 11) == rules.Krum(f=2)
    assert rule_of("krum", 2, 9) == rules.Krum(f=2)
    assert rule_of(krum, 2, 9) is krum  # an f that was set for a name does not bend a rule that has its own
    for rule, f, message in (
        ("krum", None, "a rule by name needs f"),
        (rules.Krum, None, "rule must be a rule"),
        (3, None, "rule must be a rule"),
        (lambda n: None, None, "rule must be a rule"),
        (rules.NNM(f=1), None, "only pre-aggregates"),
    ):
        with pytest.raises(InvalidParameter, match=message):
            rule_of(rule, f, 9)


@pytest.mark.parametrize("name", sorted(name for name in ours.__all__ if hasattr(getattr(ours, name), "rule_type")))
def test_named_strategies_take_their_rules_defaults(name):
    """Where the strategy has the rule's parameter, it has the rule's default; two differ, on purpose."""
    cls = getattr(ours, name)
    rule = cls.rule_type
    for item in fields(rule):
        ours_name = cls.renamed.get(item.name, item.name)
        if item.name != "f" and ours_name in cls.__dataclass_fields__:
            expected = {("MoNNA", "trusted"): None, ("SignSGD", "eta"): 0.001}.get((name, item.name), item.default)
            assert cls.__dataclass_fields__[ours_name].default == expected
    assert cls.__dataclass_fields__["f"].default is None


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: ours.Krum(num_malicious_nodes=2), [2, 2]),
        (lambda: ours.Krum(f=0.2), [2, 4]),
        (lambda: ours.Krum(), [0, 0]),
        (lambda: ours.FedMedian(), [4, 9]),
        (lambda: ours.FedMedian(f=1), [1, 1]),
        (lambda: ours.FedTrimmedAvg(beta=0.2), [2, 4]),
        (lambda: ours.FedTrimmedAvg(f=3), [3, 3]),
    ],
)
def test_f_of_a_named_strategy(make, expected):
    assert [make().rule_at(n).f for n in (10, 20)] == expected


def test_a_wrong_value_set_later_is_refused_and_changes_nothing():
    strategy = ours.Krum(f=1)
    for name, value in (("f", -1), ("f", 0.5), ("num_malicious_nodes", 2)):
        before = getattr(strategy, name)
        with pytest.raises(InvalidParameter):
            setattr(strategy, name, value)
        assert getattr(strategy, name) == before
    strategy.f = 2
    assert strategy.rule_at(9).f == 2
    with pytest.raises(InvalidParameter, match="f must be given"):
        ours.strategy.CGE()


def test_a_wrapped_rule_is_asked_for_each_round():
    strategy = Robust("nnm+krum", f=0.2)
    assert [strategy.rule_at(n).f for n in (10, 20)] == [2, 4]
    assert strategy.rule_at(10) == rules.chain(rules.NNM(f=2), rules.Krum(f=2))


@pytest.mark.parametrize("api", [ours, legacy], ids=["message", "legacy"])
def test_strategies_are_told_apart_by_identity_and_shown_as_flower_shows_them(api):
    """Dataclasses for their arguments only: no equality by value, which would make them unhashable, and no text of their own."""
    found = [getattr(api, name) for name in api.__all__ if isinstance(getattr(api, name), type) and issubclass(getattr(api, name), Policy)]
    assert len(found) > 5
    for cls in found:
        for part in (part for part in cls.__mro__ if part.__module__.startswith("flwr_byzantine")):
            assert "__eq__" not in vars(part)
            assert not hasattr(vars(part).get("__repr__"), "__wrapped__")  # a dataclass's
        assert cls.__hash__ is object.__hash__


@pytest.mark.parametrize("api", [ours, legacy], ids=["message", "legacy"])
def test_what_flower_does_not_take_by_place_goes_by_keyword(api):
    """Flower's legacy strategies take nothing by place; those of the Message API their own arguments."""
    found = [getattr(api, name) for name in api.__all__ if hasattr(getattr(api, name), "rule_type")]
    for cls in found:
        parameters = inspect.signature(cls).parameters
        by_keyword = {name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}
        own = {
            "f",
            *(item.name for item in fields(Policy)),
            *(item.name for item in fields(cls.rule_type) if item.name in cls.__dataclass_fields__),
        }
        assert set(parameters) >= own
        assert by_keyword >= (set(parameters) if api is legacy else own)
