"""Which of Flower's strategies `Robust` may wrap: each of them works, with attackers among the clients, or is refused by one sentence."""

from pathlib import Path

import numpy as np
import pytest
from flwr.common import FitRes, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import strategy as legacy_flower
from flwr.serverapp import strategy as flower

import flwr_byzantine as ours
from flwr_byzantine import InvalidParameter, Robust, attacks, legacy, rules
from flwr_byzantine.adversary import AdversarialGrid
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.below import standing_on
from tests.support.federation import N, client_app, start, values
from tests.support.legacy import MODEL, OK, Clients

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
