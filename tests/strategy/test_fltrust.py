"""FLTrust as a strategy: the server's own update comes from a function; and every aggregating rule is a named strategy."""

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.strategy import Strategy as LegacyStrategy
from flwr.serverapp.strategy import Strategy

from flwr_byzantine import errors, legacy, rules, strategy
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.in_process import InProcess

NODES, FLIPPED = 10, (1, 4, 7, 10)  # 40 %
TARGET = np.linspace(-1.0, 1.0, 6).reshape(2, 3)


def towards(target, arrays, rate=0.5):
    """What a client or the server makes of a model: a step to its own target."""
    return [np.asarray(array + rate * (goal - array), np.float32) for array, goal in zip(arrays, target, strict=True)]


def goals(seed):
    """The common target as this node's data see it, for a model of a matrix and a scalar."""
    noise = np.random.default_rng(seed).normal(scale=0.2, size=7)
    return [TARGET + noise[:6].reshape(2, 3), np.float32(2.0 + noise[6])]


def trained(node, arrays):
    """The reply of a node: honest, or its step turned round and five times as long."""
    new = towards(goals(node), arrays)
    return [np.asarray(old - 5 * (now - old), np.float32) for old, now in zip(arrays, new, strict=True)] if node in FLIPPED else new


app = ClientApp()


@app.train()
def train(message, context):
    arrays = trained(context.node_id, message.content["arrays"].to_numpy_ndarrays())
    content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 10, "loss": 1.0})})
    return Message(content, reply_to=message)


class Server:
    """The server's own training, on data of its own that differ from everybody's; remembers how it was called."""

    def __init__(self):
        self.rounds, self.shown = [], []

    def __call__(self, server_round, arrays):
        self.rounds.append(server_round)
        self.shown.append(arrays)
        return towards(goals(99), arrays.to_numpy_ndarrays() if isinstance(arrays, ArrayRecord) else arrays)


def model():
    return [np.zeros((2, 3), np.float32), np.array(0.0, np.float32)]


def error(arrays):
    return float(np.sqrt(((arrays[0] - TARGET) ** 2).sum() + (arrays[1] - 2.0) ** 2))


def start(made, rounds=8):
    result = made.start(LocalGrid(app, NODES), ArrayRecord(model()), num_rounds=rounds)
    return result.arrays.to_numpy_ndarrays()


def test_learns_though_two_fifths_flip_the_sign_and_the_mean_does_not():
    server = Server()
    made = strategy.FLTrust(server_update=server, fraction_evaluate=0.0)
    before = error(model())
    after = error(start(made))
    assert after < 0.2 * before
    assert error(start(strategy.Mean(fraction_evaluate=0.0))) > before
    assert server.rounds == list(range(1, 9))
    assert all(report.rule == "FLTrust(f=4)" for report in made.reports)
    assert {node: entry.status for node, entry in made.reports[0].nodes.items() if entry.status == "rejected"} == dict.fromkeys(
        FLIPPED, "rejected"
    )


def test_the_round_is_the_rule_on_the_deltas():
    made = strategy.FLTrust(server_update=Server(), fraction_evaluate=0.0)
    flat = [np.concatenate([np.ravel(part) for part in trained(node, model())]) for node in range(1, NODES + 1)]
    own = np.concatenate([np.ravel(part) for part in towards(goals(99), model())])
    expected = rules.FLTrust()(np.array(flat), trusted=own)
    np.testing.assert_allclose(np.concatenate([np.ravel(part) for part in start(made, 1)]), expected, rtol=1e-6)


def test_any_chain_that_trusts_the_server_may_be_wrapped():
    made = strategy.Robust(rules.chain(rules.NNM(f=4), rules.FLTrust(f=4)), server_update=Server())
    assert error(start(made)) < 0.2 * error(model())


@pytest.mark.parametrize("form", [list, ArrayRecord, lambda arrays: dict(zip("01", arrays, strict=True))])
def test_the_server_may_answer_in_any_form(form):
    made = strategy.FLTrust(server_update=lambda number, arrays: form(Server()(number, arrays)), fraction_evaluate=0.0)
    plain = strategy.FLTrust(server_update=Server(), fraction_evaluate=0.0)
    for got, expected in zip(start(made, 2), start(plain, 2), strict=True):
        np.testing.assert_array_equal(got, expected)


class Everybody:
    """A client manager of ten nodes."""

    def num_available(self):
        return NODES

    def sample(self, num_clients, min_num_clients=None, criterion=None):
        return [type("Proxy", (), {"cid": str(node), "node_id": node})() for node in range(1, NODES + 1)]


def test_the_legacy_strategy_learns_too():
    server = Server()
    made, arrays = legacy.FLTrust(server_update=server), model()
    for number in range(1, 9):
        asked = made.configure_fit(number, ndarrays_to_parameters(arrays), Everybody())
        results = [
            (proxy, FitRes(Status(Code.OK, ""), ndarrays_to_parameters(trained(proxy.node_id, arrays)), 10, {})) for proxy, _ in asked
        ]
        arrays = parameters_to_ndarrays(made.aggregate_fit(number, results, [])[0])
    assert error(arrays) < 0.2 * error(model())
    assert isinstance(server.shown[0], list)
    np.testing.assert_allclose(arrays[0], start(strategy.FLTrust(server_update=Server(), fraction_evaluate=0.0))[0], atol=1e-6)


@pytest.mark.parametrize("api", [strategy, legacy])
def test_without_the_servers_update_the_mistake_is_named_at_once(api):
    with pytest.raises(errors.InvalidParameter, match="FLTrust trusts an update of the server's own: pass server_update="):
        api.FLTrust()
    with pytest.raises(errors.InvalidParameter, match="server_update must be a function"):
        api.Robust(rules.FLTrust(), server_update=3)


def test_robust_over_fltrust_without_it_says_so_in_the_first_round():
    with pytest.raises(errors.InvalidParameter, match="pass server_update="):
        start(strategy.Robust(rules.FLTrust()))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda arrays: arrays[:1], "server_update must return the model as trained in round 1"),
        (lambda arrays: [arrays[0].T, arrays[1]], r"expected shape \(2, 3\), got \(3, 2\)"),
        (lambda arrays: [arrays[0] * np.nan, arrays[1]], "expected finite values"),
        (lambda arrays: None, "server_update must return the model"),
    ],
)
def test_a_server_update_unlike_the_model_is_an_error(answer, message):
    with pytest.raises(errors.InvalidParameter, match=message):
        start(strategy.FLTrust(server_update=lambda _number, arrays: answer(arrays.to_numpy_ndarrays())))


def test_rules_that_do_not_ask_for_it_do_not_pay_for_it():
    server = Server()
    start(strategy.Robust(rules.Median(), server_update=server), rounds=1)
    assert server.rounds == []


def test_in_process_it_gets_the_same_and_what_it_says_is_passed_on():
    def refuse(number, arrays):
        assert isinstance(arrays, ArrayRecord)
        raise errors.InvalidParameter("get data")

    server = InProcess(strategy.Robust(rules.FLTrust(), server_update=refuse))
    with pytest.raises(errors.InvalidParameter, match=r"^get data$"), server.running({"w": np.zeros(2)}):
        server.round(1, {"w": np.zeros(2)}, {node: {"w": np.ones(2)} for node in range(3)})


FLOWERS = {"Median": "FedMedian", "TrimmedMean": "FedTrimmedAvg"}  # Flower's names for two of the rules
AGGREGATING = [rule for rule in rules.available() if not issubclass(rule, rules.PreAggregation)]


@pytest.mark.parametrize("rule", AGGREGATING, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize(("api", "base"), [(strategy, Strategy), (legacy, LegacyStrategy)], ids=["message", "legacy"])
def test_every_aggregating_rule_is_a_named_strategy(rule, api, base):
    needs = {"server_update": Server()} if "trusted" in rule.anchors else {}
    given = {"f": 1} if "f" in rule.__dataclass_fields__ else {}
    for name in {rule.__name__, FLOWERS.get(rule.__name__, rule.__name__)}:
        assert name in api.__all__
        made = getattr(api, name)(**given, **needs)
        assert isinstance(made, base)
        assert isinstance(made.core.rule(10), rule)
        assert made.core.rule(10).f == given.get("f", 0)
