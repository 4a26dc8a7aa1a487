"""A round whose wrapped strategy answers nothing, raises, changes the model's form or accepts no failures; and models of no numbers."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.common import EvaluateRes, FitRes, Parameters, ndarrays_to_parameters
from flwr.server import strategy as legacy_flower
from flwr.serverapp import strategy as flower

import flwr_byzantine as ours
from flwr_byzantine import InfeasibleRound, InvalidParameter, Robust, legacy, rules
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.template import Template
from tests.support.federation import N, client_app, start
from tests.support.legacy import MODEL, OK, Clients, one_round, proxies


class Nothing(flower.FedAvg):
    """An inner strategy that makes no model of a reply alone."""

    def aggregate_train(self, server_round, replies):
        return None, None


def test_an_inner_strategy_that_answers_nothing_is_named_and_is_no_completed_run():
    strategy = Robust(rules.TrimmedMean(f=2), Nothing(fraction_evaluate=0.0))
    with pytest.raises(InfeasibleRound, match="none of 2 rounds was aggregated; the last: Nothing made no model of the aggregate"):
        strategy.start(LocalGrid(client_app(), N), start(), 2)
    assert [report.aggregated for report in strategy.reports] == [False, False]


def test_a_legacy_inner_strategy_that_answers_nothing_is_named():
    inner = legacy_flower.FedAvg()
    inner.aggregate_fit = lambda server_round, results, failures: (None, {})
    strategy = legacy.Robust(rules.TrimmedMean(f=2), inner)
    assert one_round(strategy) == (None, {"loss": 1.0})
    assert (strategy.reports[0].aggregated, strategy.reports[0].note) == (
        False,
        "FedAvg made no model of the aggregate; the model stays as it was",
    )


def test_an_inner_strategy_that_raises_ends_the_run_with_a_report():
    class Odd(flower.FedAvg):
        def aggregate_train(self, server_round, replies):
            raise KeyError("odd")

    strategy = Robust(rules.TrimmedMean(f=2), Odd(fraction_evaluate=0.0))
    with pytest.raises(KeyError):
        strategy.start(LocalGrid(client_app(), N), start(), 2)
    assert strategy.reports[0].note == "Odd raised KeyError on the aggregate; the model stays as it was"


class Drops(flower.FedAvg):
    """An inner strategy that loses an array of the aggregate, or cuts it short."""

    def __init__(self, cut, **arguments):
        super().__init__(**arguments)
        self.cut = cut

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        lost = arrays.pop("b")
        if self.cut:
            arrays["b"] = Array(lost.numpy()[1:])
        return arrays, metrics


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (False, "Drops: a model without array 'b' was made of the aggregate; keep the arrays that come in"),
        (
            True,
            r"Drops: array 'b' made of the aggregate must be of shape \(4,\), got float32 of shape \(3,\); keep the shapes that come in",
        ),
    ],
)
def test_an_inner_strategy_that_changes_the_form_of_the_model_is_named_with_the_array_and_reported(cut, says):
    strategy = Robust(rules.TrimmedMean(f=2), Drops(cut, fraction_evaluate=0.0))
    with pytest.raises(InvalidParameter, match=f"^{says}$"):
        strategy.start(LocalGrid(client_app(), N), start(), 2)
    assert [report.aggregated for report in strategy.reports] == [False]
    assert "Drops: " in strategy.reports[0].note


def test_a_legacy_inner_strategy_that_drops_an_array_is_named_with_it():
    inner = legacy_flower.FedAvg()
    inner.aggregate_fit = lambda server_round, results, failures: (ndarrays_to_parameters(MODEL[:1]), {})
    strategy = legacy.Robust(rules.TrimmedMean(f=2), inner)
    with pytest.raises(InvalidParameter, match=r"^FedAvg: a model without array '1'"):
        one_round(strategy)
    assert [report.aggregated for report in strategy.reports] == [False]


def fitted(strategy, failed):
    """What a legacy strategy makes of a round in which so many of eleven clients fail."""
    strategy.configure_fit(1, ndarrays_to_parameters(MODEL), Clients())
    results = [(proxy, FitRes(OK, ndarrays_to_parameters([value + 1 for value in MODEL]), 10, {})) for proxy in proxies()[failed:]]
    return strategy.aggregate_fit(1, results, [RuntimeError("lost")] * failed)[0]


def evaluated(strategy, failed):
    results = [(proxy, EvaluateRes(OK, 1.0, 10, {})) for proxy in proxies()[failed:]]
    return strategy.aggregate_evaluate(1, results, [RuntimeError("lost")] * failed)[0]


@pytest.mark.parametrize(
    ("inner", "most", "says"),
    [
        (legacy_flower.FedAvg(accept_failures=False), 0, "accept_failures is False, and 1 clients failed"),
        (
            legacy_flower.FaultTolerantFedAvg(min_completion_rate_fit=0.8, min_completion_rate_evaluate=0.8),
            2,
            "min_completion_rate_fit is 0.8, and 8 of 11 clients answered",
        ),
    ],
)
def test_failures_that_a_wrapped_legacy_strategy_does_not_accept_cost_the_round(inner, most, says):
    strategy = legacy.Robust(rules.TrimmedMean(f=1), inner)
    assert fitted(strategy, most) is not None
    assert evaluated(strategy, most) == 1.0
    assert fitted(strategy, most + 1) is None
    assert evaluated(strategy, most + 1) is None
    assert says in strategy.reports[-1].note


def test_replies_that_are_one_and_the_same_are_noted():
    built = legacy.FedMedian(f=1)
    assert one_round(built)[0] is not None
    assert built.reports[0].note.startswith("all replies are one and the same, so that the rule has nothing to choose from")
    for strategy, spoil in (
        (legacy.FedMedian(f=1), lambda node, tensors: [tensors[0], npy_of(np.full(4, 2, np.float32))] if node == 11 else tensors),
        (legacy.FedMedian(f=1), lambda node, tensors: ndarrays_to_parameters(MODEL).tensors),
        (legacy.Mean(), lambda node, tensors: tensors),
    ):
        one_round(strategy, spoil)
        assert strategy.reports[0].note == "", "one that differs, the broadcast model itself, a rule that promises nothing"


JSON = b'{"learner": {"gradient_booster": {}}}'


@pytest.mark.parametrize("model", [[np.frombuffer(data, np.uint8)] for data in (JSON, b"", b"\x80\x04pickle")])
def test_models_that_are_no_numbers_are_refused_before_anybody_is_asked(model):
    record = ArrayRecord(model)
    with pytest.raises(InvalidParameter, match=r"expected a model of numbers, got .*trees"):
        ours.FedMedian(f=1, fraction_evaluate=0.0).start(LocalGrid(client_app(), N), record, 1)


def test_legacy_models_that_are_no_numbers_are_refused_before_anybody_is_asked():
    with pytest.raises(InvalidParameter, match=r"expected a model of numbers, got .*trees"):
        legacy.FedMedian(f=1).configure_fit(1, Parameters([JSON], ""), Clients())


def test_bytes_beside_numbers_are_taken():
    extra = {"w": np.zeros(2, np.float32), "w._extra_state": np.frombuffer(b"\x80\x04pickle", np.uint8), "mask": np.zeros(0, np.uint8)}
    assert Template.of({name: npy_of(value) for name, value in extra.items()}).names == list(extra)


def npy_of(value):
    return ndarrays_to_parameters([value]).tensors[0]
