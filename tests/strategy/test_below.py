"""Which of Flower's strategies `Robust` may wrap: each of them works, with attackers among the clients, or is refused by one sentence."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.common import EvaluateRes, FitRes, Parameters, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import strategy as legacy_flower
from flwr.serverapp import strategy as flower

import flwr_byzantine as ours
from flwr_byzantine import InfeasibleRound, InvalidParameter, Robust, attacks, legacy, rules
from flwr_byzantine.adversary import AdversarialGrid
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.below import standing_on
from flwr_byzantine.strategy.template import Template
from tests.support.federation import N, client_app, start, values
from tests.support.legacy import MODEL, OK, Clients, one_round, proxies

PRIVATE, TREES, CHOOSES = "wrap the other way round", "cannot be averaged", "gets the aggregate alone"
TABLE = {  # arguments of those that work; of the others what the refusal says
    "Bulyan": CHOOSES,
    "DifferentialPrivacyClientSideAdaptiveClipping": PRIVATE,
    "DifferentialPrivacyClientSideFixedClipping": PRIVATE,
    "DifferentialPrivacyServerSideAdaptiveClipping": PRIVATE,
    "DifferentialPrivacyServerSideFixedClipping": PRIVATE,
    "FedAdagrad": {},
    "FedAdam": {},
    "FedAvg": {},
    "FedAvgM": {"server_momentum": 0.5},
    "FedMedian": {},
    "FedProx": {"proximal_mu": 0.1},
    "FedTrimmedAvg": {},
    "FedXgbBagging": TREES,
    "FedXgbCyclic": TREES,
    "FedYogi": {},
    "Krum": CHOOSES,
    "QFedAvg": "the loss that the client claims",
}
ONLY_MESSAGE = {"MultiKrum": CHOOSES}
ONLY_LEGACY = {
    "DPFedAvgAdaptive": PRIVATE,
    "DPFedAvgFixed": PRIVATE,
    "FaultTolerantFedAvg": {},
    "FedAvgAndroid": "NumPy arrays",
    "FedOpt": {},
    "FedXgbNnAvg": TREES,
}
ATTACKED = {2, 7}


def strategies(module):
    """The names of all strategies that Flower offers there."""
    found = {name: getattr(module, name) for name in module.__all__}
    return {
        name for name, cls in found.items() if isinstance(cls, type) and issubclass(cls, module.Strategy) and cls is not module.Strategy
    }


def test_every_strategy_of_flowers_is_in_the_table():
    assert strategies(flower) == {*TABLE, *ONLY_MESSAGE}
    assert strategies(legacy_flower) == {*TABLE, *ONLY_LEGACY}


def test_the_page_on_combining_says_what_the_table_says():
    page = Path(__file__).resolve().parents[2] / "docs" / "combine.md"
    rows = [row.split("|") for row in page.read_text(encoding="utf-8").split("<!-- wrapped -->")[1].split("\n\n")[0].splitlines()[3:]]
    said = {name.strip("`"): verdict.startswith(" yes") for _, names, verdict, _ in rows for name in names.split()}
    assert said == {name: isinstance(entry, dict) for name, entry in (TABLE | ONLY_MESSAGE | ONLY_LEGACY).items()}


def working(table):
    return [name for name, entry in table.items() if isinstance(entry, dict)]


def refused(table):
    return [name for name, entry in table.items() if isinstance(entry, str)]


@pytest.mark.parametrize("name", working(TABLE | ONLY_MESSAGE))
def test_two_attackers_do_not_move_the_model_of_a_wrapped_strategy(name):
    def final(nodes, wrap):
        inner = getattr(flower, name)(**TABLE[name], fraction_evaluate=0.0)
        grid = AdversarialGrid(LocalGrid(client_app(), N), attacks.Scaling(factor=-50.0), nodes)
        return values(wrap(inner).start(grid, start(), 4).arrays)

    def robust(inner):
        return Robust(rules.TrimmedMean(f=2), inner)

    moved = np.abs(final(ATTACKED, robust) - final(set(), robust)).max()
    assert moved < 0.3
    if "Median" not in name and "Trimmed" not in name:
        assert np.abs(final(ATTACKED, lambda inner: inner) - final(set(), lambda inner: inner)).max() > 2 * moved


def learnt(strategy, spoil):
    """The model after 3 rounds of eleven legacy clients that step half-way to 1."""
    parameters = ndarrays_to_parameters(MODEL)
    for server_round in (1, 2, 3):
        asked = strategy.configure_fit(server_round, parameters, Clients())
        results = []
        for proxy, given in asked:
            stepped = [value + (1 - value) / 2 for value in parameters_to_ndarrays(given.parameters)]
            answer = [value - 50 for value in stepped] if proxy.node_id in spoil else stepped
            results.append((proxy, FitRes(OK, ndarrays_to_parameters(answer), 10, {})))
        parameters, _ = strategy.aggregate_fit(server_round, results, [])
    return np.concatenate([value.ravel() for value in parameters_to_ndarrays(parameters)])


@pytest.mark.parametrize("name", working(TABLE | ONLY_LEGACY))
def test_two_attackers_do_not_move_the_model_of_a_wrapped_legacy_strategy(name):
    def made():
        given = {"initial_parameters": ndarrays_to_parameters(MODEL), **(TABLE | ONLY_LEGACY)[name]}
        return getattr(legacy_flower, name)(**given)

    safe, attacked = (learnt(legacy.Robust(rules.TrimmedMean(f=2), made()), spoil) for spoil in (set(), ATTACKED))
    np.testing.assert_allclose(attacked, safe, atol=1e-6)
    assert np.abs(safe).max() > 0.01, "the model moves"


def unfit(module, name, cls):
    """A strategy of a class that the table refuses; `name` is Flower's class or its base."""
    if name.startswith("DPFed"):
        return cls(module.FedAvg(), N) if name.endswith("Adaptive") else cls(module.FedAvg(), N, 1.0)
    if name.startswith("Differential"):
        own = {"noise_multiplier": 0.5} if "Adaptive" in name else {"noise_multiplier": 0.1, "clipping_norm": 1.0}
        return cls(module.FedAvg(), num_sampled_clients=N, **own)
    return cls(**({"client_learning_rate": 0.1} if name == "QFedAvg" and module is flower else {}))


@pytest.mark.parametrize(
    ("module", "robust", "name"),
    [(flower, Robust, name) for name in refused(TABLE | ONLY_MESSAGE)]
    + [(legacy_flower, legacy.Robust, name) for name in refused(TABLE | ONLY_LEGACY)],
)
def test_the_others_are_refused_alone_deeper_and_as_a_base(module, robust, name):
    message = (TABLE | ONLY_MESSAGE | ONLY_LEGACY)[name]
    cls = getattr(module, name)
    inner, derived = unfit(module, name, cls), unfit(module, name, type("Derived", (cls,), {}))
    holder = module.FedAvg()
    holder.inner = inner
    for strategy in (inner, holder, derived):
        with pytest.raises(InvalidParameter, match=f"Robust cannot wrap .*{message}"):
            robust(rules.Krum(f=1), strategy)


def test_what_is_robust_already_is_not_wrapped():
    holder = flower.FedAvg()
    holder.inner = Robust(rules.Krum(f=1))
    for strategy in (ours.Krum(f=1), Robust("krum", f=1), holder):
        with pytest.raises(InvalidParameter, match="is robust already; chain rules instead"):
            Robust(rules.Krum(f=1), strategy)
    assert [type(found).__name__ for found in standing_on(holder)] == ["FedAvg", "Robust", "FedAvg"]


@pytest.mark.parametrize(("robust", "base"), [(ours.Krum, flower.FedAdam), (legacy.Krum, legacy_flower.FedAdam)])
def test_a_base_whose_aggregation_would_never_be_called_is_refused(robust, base):
    with pytest.raises(
        InvalidParameter, match=r"Both: the aggregation of its base FedAdam would never be called; wrap it instead, Robust\("
    ):
        type("Both", (robust, base), {})(f=1)
    assert type("Both", (ours.Krum, flower.FedProx), {"proximal_mu": 0.1})(f=1).rule_at(9) == rules.Krum(f=1)


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


def test_strategies_are_found_through_lists_dicts_and_circles_each_once():
    strategy, noisy = flower.FedAvg(), unfit(flower, "DifferentialPrivacy", flower.DifferentialPrivacyServerSideFixedClipping)
    strategy.me = strategy
    strategy.others = [strategy, {"deep": (noisy, noisy)}]
    strategy.others.append(strategy.others)
    assert [type(found).__name__ for found in standing_on(strategy)] == ["FedAvg", type(noisy).__name__, "FedAvg"]
    with pytest.raises(InvalidParameter, match="cannot wrap DifferentialPrivacyServerSideFixedClipping"):
        Robust(rules.Krum(f=1), strategy)
    strategy.others = []
    Robust(rules.TrimmedMean(f=2), strategy).start(LocalGrid(client_app(), N), start(), 1)


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
