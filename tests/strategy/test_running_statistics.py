"""Whose weights are kept does not depend on running statistics and their counter, and no statistics are believed thereby."""

import logging

import numpy as np
import pytest
from flwr.server.strategy import FedAdam as LegacyFedAdam
from flwr.serverapp.strategy import FedAdam, FedAvgM

from flwr_byzantine import Robust, rules
from tests.support.batchnorm import (
    BAD,
    EVERYONE,
    NNM,
    F,
    accuracy,
    backwards,
    disguised,
    federate,
    legacy_federate,
    legacy_over,
    over,
    rejected,
    same,
    start,
    statistics,
    weights_of,
    with_statistics,
)
from tests.support.roles import RULES

TRAINED = [0, 1, 2, 3, 7, 8]  # positions in the model, of which 4 to 6 are running statistics and their counter
HOSTILE = {"zero": statistics(0.0), "negative": statistics(-5.0), "huge": statistics(1e30)}


def test_the_counter_decides_nothing_in_the_message_api():
    strategy = over(RULES["mda"])
    found, without = federate(strategy, rounds=2), federate(over(RULES["mda"]), model=start(counter=False), rounds=2)
    assert same(found, without)
    assert rejected(strategy) == [list(BAD)] * 2
    assert found["1.num_batches_tracked"].dtype == np.int64
    assert accuracy(found) > 0.7


@pytest.mark.parametrize("policy", [{}, {"judge": TRAINED}], ids=["by form", "by position"])
def test_the_counter_decides_nothing_in_the_legacy_api(policy):
    """Names are missing there: integers are found by their dtype, PyTorch's running statistics by the counter after them."""
    strategy = legacy_over(RULES["mda"], **policy)
    assert same(legacy_federate(strategy, rounds=2), federate(over(RULES["mda"]), rounds=2))
    assert rejected(strategy) == [list(BAD)] * 2


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("api", [federate, legacy_federate])
def test_statistics_of_those_who_are_kept_are_not_thereby_believed(hostile, api):
    strategy = over(NNM) if api is federate else legacy_over(NNM, judge=TRAINED)
    found = api(strategy, HOSTILE[hostile], rounds=2)
    assert rejected(strategy)[0] == []  # honest weights
    assert 0 < found["1.running_var"].min() <= found["1.running_var"].max() < 10
    assert accuracy(found) > 0.7


def test_statistics_of_raw_inputs_decide_nothing():
    model = start(raw=True, counter=False)
    strategy = over(rules.MultiKrum(f=F, m=6))
    found = federate(strategy, disguised, raw=True, model=model, rounds=2)
    assert found["0.running_var"].max() > 1000  # far longer than all weights
    assert not {node for report in strategy.reports for node in report.with_status("kept")} & set(BAD)
    everything = over(rules.MultiKrum(f=F, m=6), judge="all")
    federate(everything, disguised, raw=True, model=model, rounds=2)
    assert {node for report in everything.reports for node in report.with_status("kept")} & set(BAD)  # what it is good for


@pytest.mark.parametrize("inner", [FedAdam, FedAvgM])
def test_server_optimisers_move_the_judged_arrays_alone(inner):
    extra = {"eta": 1.0} if inner is FedAdam else {"server_momentum": 0.9, "server_learning_rate": 1.0}
    strategy = Robust(NNM, inner(**EVERYONE, **extra))
    found = federate(strategy, rounds=3)
    assert found["1.running_var"].min() > 0
    moments = strategy.strategy.m_t if inner is FedAdam else dict(zip(found, strategy.strategy.momentum_vector, strict=True))
    if inner is FedAdam:
        assert not moments["1.running_var"].any()
    assert np.abs(moments["0.weight"]).max() > 0
    assert found["1.num_batches_tracked"].dtype == np.int64


def test_legacy_server_optimisers_leave_the_state_alone():
    strategy = legacy_over(NNM, LegacyFedAdam, judge=TRAINED)
    found = legacy_federate(strategy, rounds=3)
    assert found["1.running_var"].min() > 0
    assert found["1.num_batches_tracked"].dtype == np.int64


def test_the_log_says_once_what_is_judged(caplog):
    with caplog.at_level(logging.INFO, logger="flwr"):
        federate(over(NNM), rounds=2, epochs=1)
    said = [record.getMessage() for record in caplog.records if "judged" in record.getMessage()]
    assert [text.split(": ", 1)[1] for text in said] == ["judged 6 arrays, 4,938 values; state: 3 BatchNorm arrays"]


@pytest.mark.parametrize("judge", [range(2), [np.int64(0), np.int64(1)], (0, 1)])
def test_positions_of_any_integers(judge):
    strategy = over(NNM, judge=judge)
    federate(strategy, rounds=1, epochs=1)
    assert strategy.reports[0].notes[0].startswith("judged 2 arrays")


def test_spilled_rounds_and_certificates_are_the_same(tmp_path):
    plain, spilled = over(NNM, certificate=True), over(NNM, certificate=True, spill=tmp_path)
    assert same(federate(spilled, rounds=1, epochs=1), federate(plain, rounds=1, epochs=1))
    assert plain.reports[0].certificate == spilled.reports[0].certificate


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_batchnorm_costs_no_rule_its_robustness(name):
    expected = accuracy(federate(over(RULES[name]), model=start(counter=False), rounds=5))
    assert accuracy(federate(over(RULES[name]), rounds=5)) > expected - 0.02
    honest = federate(over(RULES[name]), lambda model, found: found, rounds=5)
    for attack in HOSTILE.values():
        found = federate(over(RULES[name]), attack, rounds=5)
        assert same(weights_of(found), weights_of(honest))
        assert accuracy(found) > accuracy(honest) - 0.03


@pytest.mark.slow
@pytest.mark.parametrize("attack", [backwards, disguised])
@pytest.mark.parametrize("name", RULES)
def test_statistics_of_raw_inputs_cost_no_rule_its_robustness(name, attack):
    """Against the same run in which clients send what is trained alone, and the statistics are taken at its end."""
    weights = federate(over(RULES[name]), attack, raw=True, model=weights_of(start(raw=True)), rounds=5)
    found = federate(over(RULES[name]), attack, raw=True, model=start(raw=True, counter=False), rounds=5)
    assert same(weights_of(found), weights)
    assert accuracy(found, raw=True) > accuracy(with_statistics(weights, raw=True), raw=True) - 0.03
