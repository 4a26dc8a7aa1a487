"""Named strategies are what Flower's are: FedAvgs whose arguments are attributes and whose hooks may be overridden, in both APIs."""

import copy
import inspect
import pickle
from dataclasses import MISSING, fields
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common import Code, FitIns, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import strategy as legacy_flower
from flwr.serverapp import strategy as flower

import flwr_byzantine as ours
from flwr_byzantine import InfeasibleRound, InvalidParameter, Robust, legacy, rules, strategy
from flwr_byzantine.flower import compat
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.quarantine import Quarantine
from tests.support.federation import GOAL, F, N, client_app, start, values
from tests.support.grids import SlowGrid
from tests.support.legacy import MODEL, OK, Clients, one_round, proxies

NOT_NAMED = {"NodeReport", "RoundReport", "Quarantine", "Robust", "Buffered", "ByzantineSGD"}
NAMED = [getattr(strategy, name) for name in strategy.__all__ if name not in NOT_NAMED]
LEGACY = [getattr(legacy, name) for name in legacy.__all__ if name not in NOT_NAMED]
EVERY = [pytest.param(cls, id=f"{cls.__module__.split('.')[-1]}:{cls.__name__}") for cls in (*NAMED, *LEGACY)]
OTHER = {int: 3, float: 0.25, bool: True, str: "other"}  # a value unlike the default, by its type


def made(cls, **arguments):
    needed = {"f": F} if cls.__name__ not in ("Mean", "FedMedian", "FedTrimmedAvg") else {}
    needed |= {"server_update": lambda number, model: model} if cls.__name__ in ("FLTrust", "ZenoPlusPlus") else {}
    needed |= {"server_loss": lambda number, arrays: 0.0} if cls.__name__ == "Zeno" else {}
    return cls(**needed | arguments)


@pytest.mark.parametrize("cls", EVERY)
def test_every_named_strategy_is_a_fedavg_of_its_api(cls):
    assert issubclass(cls, flower.FedAvg if cls in NAMED else legacy_flower.FedAvg)


@pytest.mark.parametrize("cls", EVERY)
def test_every_argument_is_an_attribute_that_can_be_set(cls):
    """Read as given, set afterwards; what is not set keeps the default that the signature shows."""
    built = made(cls)
    for name, parameter in inspect.signature(cls).parameters.items():
        assert hasattr(built, name), name
        known = {
            "f",
            "server_update",
            "server_loss",
            "train_metrics_aggr_fn",
            "evaluate_metrics_aggr_fn",
        }  # given above, or None means Flower's own
        assert name in known or getattr(built, name) == parameter.default
        if type(parameter.default) in OTHER and name not in CHOICES:
            setattr(built, name, OTHER[type(parameter.default)])
            assert getattr(built, name) == OTHER[type(parameter.default)]


CHOICES = {
    "reproducible",  # some refuse it: tests/strategy/test_same_bits.py
    "select",
    "then",
    "resume",
    "on_infeasible",
    "on_missing",
    "weighting",
    "start_from",
    "smoothing",
    "keep",
    "num_malicious_nodes",
    "num_malicious_clients",
}


def test_attributes_set_after_construction_have_effect():
    krum = ours.Krum(num_malicious_nodes=1)
    krum.num_malicious_nodes, krum.fraction_train, krum.min_train_nodes = 2, 0.5, 2
    krum.train_metrics_aggr_fn = lambda contents, key: MetricRecord({"replies": len(contents)})
    krum.num_malicious_nodes = 1
    result = krum.start(LocalGrid(client_app(), N), start(), 1)
    assert krum.reports[0].n_sampled == N // 2
    assert krum.reports[0].f == 1
    assert result.train_metrics_clientapp[1]["replies"] == N // 2
    trimmed = ours.FedTrimmedAvg(beta=0.1)
    trimmed.beta, trimmed.certificate = 0.3, True
    trimmed.start(LocalGrid(client_app(), N), start(), 1)
    assert trimmed.reports[0].f == 3
    assert trimmed.reports[0].certificate is not None
    sgd = ours.ByzantineSGD("median", 0.1, f=2)
    sgd.step_size, sgd.momentum, sgd.rule = 0.5, 0.9, "krum"
    assert (sgd.core.step.gamma(0), sgd.core.step.momentum, str(sgd.rule_at(11))) == (0.5, 0.9, "Krum(f=2)")
    old = legacy.Krum(num_malicious_clients=1)
    old.num_malicious_clients = 3
    one_round(old)
    assert old.reports[0].f == 3


@pytest.mark.parametrize(
    ("cls", "name", "value", "message"),
    [
        (ours.Krum, "num_malicious_nodes", -1, "num_malicious_nodes must be an integer >= 0, got -1"),
        (ours.FedTrimmedAvg, "beta", 0.7, "beta must be a number >= 0 and < 0.5, got 0.7"),
        (ours.CenteredClipping, "tau", -1.0, "tau must be"),
        (legacy.Krum, "f", 0.9, "f must be a number >= 0 and < 0.5, got 0.9"),
        (legacy.FedMedian, "grace", -1.0, "grace must be a number >= 0 or None, got -1.0"),
        (ours.Median, "on_infeasible", "stop", "on_infeasible must be one of 'skip', 'error'"),
        (lambda: Robust("krum", f=1), "rule", "crum", "unknown rule 'crum'"),
        (lambda: Robust("krum", f=1), "f", None, "a rule by name needs f"),
        (ours.Krum, "report_path", "no/such/folder/x", "report_path must lie in a folder that exists"),
        (legacy.Krum, "checkpoint", "no/such/folder/x", "checkpoint must lie in a folder that exists"),
        (ours.Krum, "spill", "no/such/folder", "spill must be a folder that exists"),
        (ours.Krum, "server_update", 3, "server_update must be a function"),
        (ours.Krum, "resume", True, "resume=True needs checkpoint="),
        (lambda: made(ours.FLTrust), "server_update", None, "FLTrust trusts an update of the server's own"),
        (lambda: legacy.ByzantineSGD("krum", 0.1, f=1), "momentum", 1.0, "momentum must be a number >= 0 and < 1, got 1.0"),
    ],
)
def test_an_attribute_that_cannot_be_is_refused_at_once_and_changes_nothing(cls, name, value, message):
    built = cls()
    before = getattr(built, name)
    with pytest.raises(InvalidParameter, match=message):
        setattr(built, name, value)
    assert getattr(built, name) == before
    assert built.rule_at(11)


@pytest.mark.parametrize(
    "rule", [rule for rule in rules.available() if not issubclass(rule, rules.PreAggregation)], ids=lambda r: r.__name__
)
@pytest.mark.parametrize("place", [ours, legacy], ids=["message", "legacy"])
def test_every_aggregation_rule_has_a_strategy_with_its_parameters_and_defaults(rule, place):
    cls = getattr(place, rule.__name__)
    mine = inspect.signature(cls).parameters
    for item in fields(rule):
        name = cls.renamed.get(item.name, item.name)
        if item.name == "f" or (name not in mine and rule in (rules.Krum, rules.MultiKrum, rules.Bulyan)):
            continue  # f follows from Flower's arguments; the variants of Flower's namesakes are Flower's
        others = {"MoNNA.trusted": None, "SignSGD.eta": 0.001}  # a server has no row of its own; and it averages models
        default = others.get(f"{rule.__name__}.{name}", item.default)
        assert mine[name].default == (None if default is MISSING else default), name
    assert isinstance(made(cls).rule_at(N), rule)


def test_flowers_helpers_are_there():
    compat.ensure_task_identity()
    messages = list(ours.Krum()._construct_messages(RecordDict(), [7, 8], "train"))
    assert [message.metadata.dst_node_id for message in messages] == [7, 8]
    assert legacy.Krum(fraction_fit=0.5, min_fit_clients=3).num_fit_clients(10) == (5, 2)
    assert legacy.FedMedian(fraction_evaluate=0.05).num_evaluation_clients(40) == (2, 2)
    assert repr(legacy.Bulyan(num_malicious_clients=1)) == "Bulyan(accept_failures=True)"


def test_flowers_order_of_positional_arguments_is_kept():
    krum = ours.Krum(0.5, 0.25, 3, 4, 5, 1, "weight")
    assert (krum.fraction_train, krum.min_available_nodes, krum.num_malicious_nodes, krum.weighted_by_key) == (0.5, 5, 1, "weight")


def overriding(base, hook, by_itself):
    """A subclass with one hook of its own: it calls super(), or does by itself what Flower's documentation says that it must."""

    class Mine(base):
        calls = 0

    def replaced(self, *args, **kwargs):
        type(self).calls += 1
        return (by_itself or getattr(super(Mine, self), hook))(*(() if by_itself is None else (self,)), *args, **kwargs)

    setattr(Mine, hook, replaced)
    return Mine


def ways(hooks):
    """Each hook with super(), and without it where something of ours is then left."""
    alone = [pytest.param(hook, True, id=f"{hook} by itself") for hook, own in hooks.items() if own is not None]
    return [*(pytest.param(hook, False, id=f"{hook} with super") for hook in hooks), *alone]


def own_configure_train(self, server_round, arrays, config, grid):
    config["server-round"] = server_round
    return self._construct_messages(RecordDict({"arrays": arrays, "config": config}), list(grid.get_node_ids()), "train")


def own_construct_messages(self, record, node_ids, message_type):
    return [Message(record, node, message_type) for node in node_ids]


def own_check(self, replies, is_train, validate=True):
    return list(replies), []


HOOKS = {
    "configure_train": own_configure_train,
    "_construct_messages": own_construct_messages,
    "_check_and_log_replies": own_check,
    "configure_evaluate": lambda self, server_round, arrays, config, grid: [],
    "aggregate_evaluate": lambda self, server_round, replies: None,
    "summary": lambda self: None,
    "aggregate_train": None,
    "start": None,
}


@pytest.mark.parametrize(("hook", "alone"), ways(HOOKS))
def test_a_subclass_may_override_any_hook_of_the_message_api(hook, alone):
    """The model is the same as without the subclass, with two nodes that send nonsense."""
    results = []
    for cls in (ours.FedTrimmedAvg, overriding(ours.FedTrimmedAvg, hook, HOOKS[hook] if alone else None)):
        built = cls(f=F, min_train_nodes=N)
        results.append(built.start(LocalGrid(client_app(), N, spoil=nonsense), start(), 3).arrays)
        assert [report.with_status("invalid") for report in built.reports] == [[2, 5]] * 3
    assert cls.calls > 0
    np.testing.assert_array_equal(values(results[0]), values(results[1]))
    assert np.abs(values(results[0]) - GOAL).max() < 2


def nonsense(reply):
    if reply.metadata.src_node_id in (2, 5) and "arrays" in reply.content:
        reply.content["arrays"] = ArrayRecord({"w": Array(np.zeros(1))})
    return reply


LEGACY_HOOKS = {
    "configure_fit": lambda self, number, parameters, manager: [(proxy, MagicMock(config={})) for proxy in proxies()],
    "aggregate_fit": None,
    "num_fit_clients": lambda self, available: (available, available),
    "initialize_parameters": lambda self, manager: None,
    "configure_evaluate": lambda self, number, parameters, manager: [],
    "aggregate_evaluate": lambda self, number, results, failures: (None, {}),
    "evaluate": lambda self, number, parameters: None,
}


@pytest.mark.parametrize(("hook", "alone"), ways(LEGACY_HOOKS))
def test_a_subclass_may_override_any_hook_of_the_legacy_api(hook, alone):
    Mine = overriding(legacy.Krum, hook, LEGACY_HOOKS[hook] if alone else None)
    built, parameters = Mine(num_malicious_clients=2), ndarrays_to_parameters(MODEL)
    built.initialize_parameters(Clients())
    built.evaluate(0, parameters)
    fitted, _ = one_round(built, lambda node, tensors: tensors[:1] if node == 3 else tensors)
    built.configure_evaluate(1, fitted, Clients())
    built.aggregate_evaluate(1, [], [])
    assert Mine.calls > 0
    assert built.reports[0].with_status("invalid") == [3]
    assert [value.max() for value in parameters_to_ndarrays(fitted)] == [1.0, 1.0]


def reply_of(arrays, node=None):
    """As Flower's own unit tests make one: a mock, whose sender is no number."""
    message = Mock(spec=Message)
    message.content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 5})})
    message.has_error.side_effect = lambda: False
    message.has_content.side_effect = lambda: True
    if node is not None:
        message.metadata.src_node_id = node
    return message


@pytest.mark.parametrize("node", [None, 0], ids=["no sender", "one sender"])
def test_without_a_broadcast_the_majoritys_form_is_the_models(node):
    """Names, shapes and dtypes that more than half of the replies have; measured from zero."""
    rows = [np.full(3, value, np.float32) for value in (1.0, 2.0, 3.0, 90.0)]
    odd = [np.zeros((2, 2)), np.zeros(3, np.complex64)]
    built = ours.FedMedian()
    found, _ = built.aggregate_train(1, [reply_of([row], node) for row in (*rows[:2], *odd, *rows[2:], np.full(3, 2.5, np.float32))])
    (value,) = found.to_numpy_ndarrays()
    assert value.tolist() == [2.5] * 3
    assert value.dtype == np.float32
    assert [built.reports[0].n_valid, len(built.reports[0].with_status("invalid"))] == [5, 2]


def test_without_a_broadcast_and_without_a_majority_the_round_is_skipped():
    built = ours.FedMedian()
    assert built.aggregate_train(1, [reply_of([np.zeros(size)]) for size in (1, 2, 3)]) == (None, None)
    assert "no model" not in built.reports[0].note
    assert all("most replies share" in entry.reason for entry in built.reports[0].nodes.values())


def test_the_legacy_api_aggregates_without_a_broadcast_too():
    """Client ids that are no numbers are told apart by all of their letters."""
    results = []
    for name, value in (("hospital-a", 1.0), ("hospital-b", 2.0), ("hospital-c", 9.0)):
        proxy = MagicMock(spec=["cid"])
        proxy.cid = name
        results.append((proxy, FitRes(Status(Code.OK, ""), ndarrays_to_parameters([np.full(2, value)]), 1, {})))
    found, _ = legacy.FedMedian().aggregate_fit(1, results, [])
    assert parameters_to_ndarrays(found)[0].tolist() == [2.0, 2.0]


def test_robust_takes_a_rule_by_name_in_both_apis():
    assert str(Robust("nnm+trimmed-mean", f=2).rule_at(11)) == "NNM(f=2) + TrimmedMean(f=2)"
    assert str(legacy.Robust("krum", f=0.2).rule_at(20)) == "Krum(f=4)"
    share = Robust("multi-krum", f=0.2, strategy=flower.FedAvg(min_train_nodes=N))
    share.start(LocalGrid(client_app(), N), start(), 1)
    assert share.reports[0].f == 2


def test_the_wrapped_strategys_metrics_function_is_its_own_again_after_each_round():
    def count(contents, key):
        return MetricRecord({"clients": len(contents)})

    inner = flower.FedAvg(train_metrics_aggr_fn=count)
    result = Robust(rules.Krum(f=F), inner).start(LocalGrid(client_app(), N), start(), 2)
    assert inner.train_metrics_aggr_fn is count
    assert result.train_metrics_clientapp[2]["clients"] == N


def test_the_legacy_api_asks_no_node_in_quarantine_to_evaluate():
    built = legacy.FedMedian(quarantine=Quarantine(threshold=1.0, rounds=3), fraction_evaluate=1.0)
    one_round(built, lambda node, tensors: tensors[:1] if node == 3 else tensors)
    parameters = ndarrays_to_parameters(MODEL)
    assert 3 not in [proxy.node_id for proxy, _ in built.configure_fit(2, parameters, Clients())]
    assert [proxy.node_id for proxy, _ in built.configure_evaluate(2, parameters, Clients())] == [1, 2, *range(4, 12)]


def test_the_legacy_api_counts_the_resumed_rounds_in_its_evaluation(tmp_path):
    seen, path = [], tmp_path / "run.npz"

    class Watched(legacy_flower.FedAvg):
        def evaluate(self, server_round, parameters):
            seen.append(("evaluate", server_round))

        def configure_evaluate(self, server_round, parameters, client_manager):
            seen.append(("configure", server_round))
            return []

        def aggregate_evaluate(self, server_round, results, failures):
            seen.append(("aggregate", server_round))
            return 0.0, {}

    one_round(legacy.Robust(rules.Krum(f=1), Watched(), checkpoint=path))
    again = legacy.Robust(rules.Krum(f=1), Watched(), checkpoint=path, resume=True)
    parameters = again.initialize_parameters(Clients())
    again.evaluate(0, parameters)
    again.configure_evaluate(1, parameters, Clients())
    again.aggregate_evaluate(1, [(proxy, Mock(status=OK, loss=1.0, num_examples=1, metrics={})) for proxy in proxies()], [])
    assert seen == [("evaluate", 1), ("configure", 2), ("aggregate", 2)]


def test_accept_failures_false_is_flowers():
    built = legacy.FedMedian(accept_failures=False)
    built.configure_fit(1, ndarrays_to_parameters(MODEL), Clients())
    assert built.aggregate_fit(1, [], [RuntimeError()]) == (None, {})
    assert built.aggregate_evaluate(1, [], [RuntimeError()]) == (None, {})


def test_a_config_record_is_told_what_byzantine_sgd_wants():
    config = ConfigRecord()
    ours.ByzantineSGD(rules.Krum(f=1), 0.1).configure_train(1, start(), config, LocalGrid(client_app(), N))
    assert config["reply-kind"] == "gradient"


def test_malformed_replies_do_not_begin_the_grace_period():
    """Nine of eleven answer at once, two of them nonsense: the quorum of nine is full with the two that come later."""
    late = SlowGrid([0.6 if node in (3, 7) else 0.0 for node in range(1, N + 1)])
    late.local.spoil = nonsense
    built = ours.FedTrimmedAvg(f=F, grace=0.0, min_train_nodes=N, fraction_evaluate=0.0)
    built.start(late, start(), 1)
    assert built.reports[0].with_status("missing") == []
    assert built.reports[0].with_status("invalid") == [2, 5]


class Sending(legacy.CenteredClipping):
    """Makes its instructions by itself, as a user's subclass may."""

    def configure_fit(self, server_round, parameters, client_manager):
        return [(proxy, FitIns(parameters, {})) for proxy in proxies()]


class SendingGradients(legacy.ByzantineSGD):
    configure_fit = Sending.configure_fit


@pytest.mark.parametrize(("cls", "arguments"), [(Sending, {"f": 2}), (SendingGradients, {"rule": "median", "step_size": 1.0, "f": 2})])
def test_a_legacy_subclass_that_sends_by_itself_is_measured_from_what_it_sent(cls, arguments):
    """A rule that clips deltas, and a step from the model: both would be lost if the model counted as zero."""
    built, model = cls(quarantine=Quarantine(threshold=1.0, rounds=3), **arguments), [np.full(2, 1000.0)]
    asked = built.configure_fit(1, ndarrays_to_parameters(model), Clients())
    gradient = cls is SendingGradients
    assert all(given.config == ({"reply-kind": "gradient"} if gradient else {}) for _, given in asked)
    reply = ndarrays_to_parameters([np.full(2, 3.0 if gradient else 1003.0)])
    results = [(proxy, FitRes(OK, reply if proxy.node_id != 5 else ndarrays_to_parameters([np.zeros(1)]), 1, {})) for proxy, _ in asked[1:]]
    found, _ = built.aggregate_fit(1, results, [])
    assert parameters_to_ndarrays(found)[0].tolist() == [997.0 if gradient else 1003.0] * 2
    assert (built.reports[0].with_status("missing"), built.reports[0].with_status("invalid")) == ([1], [5])
    assert 5 not in [proxy.node_id for proxy, _ in built.configure_fit(2, found, Clients())]


def test_a_subclass_that_sends_by_itself_asks_no_node_in_quarantine():
    Mine = overriding(ours.FedMedian, "configure_train", own_configure_train)
    built = Mine(quarantine=Quarantine(threshold=1.0, rounds=9))
    built.start(LocalGrid(client_app(), N, spoil=nonsense), start(), 3)
    assert [report.n_sampled for report in built.reports] == [N, N - 2, N - 2]


def test_a_rule_by_name_and_a_rule_may_take_each_others_place():
    built = Robust("krum", f=1)
    built.rule = rules.Median(f=4)
    assert str(built.rule_at(11)) == "Median(f=4)"
    built.rule, built.f = "multi-krum", 2
    assert str(built.rule_at(11)) == "MultiKrum(f=2)"


@pytest.mark.parametrize("cls", [ours.Krum, legacy.FedMedian], ids=["message", "legacy"])
@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda built: pickle.loads(pickle.dumps(built))], ids=["copy", "deepcopy", "pickle"]
)
def test_a_copy_is_a_strategy_of_its_own(cls, twin):
    first = cls(f=1)
    second = twin(first)
    second.f = 3
    assert (first.core.rule(11).f, second.core.rule(11).f) == (1, 3)
    assert second.core.policy is second
    assert "f=3" in (repr(second) if cls is ours.Krum else str(second.rule_at(11)))


def test_results_of_proxies_without_names_are_told_apart():
    results = [(MagicMock(spec=["cid"], cid=""), FitRes(OK, ndarrays_to_parameters([np.full(1, float(k))]), 1, {})) for k in range(5)]
    found, _ = legacy.FedMedian().aggregate_fit(1, results, [])
    assert parameters_to_ndarrays(found)[0].tolist() == [2.0]


def test_a_round_that_a_failure_costs_is_reported_and_counted():
    built = legacy.FedMedian(accept_failures=False, max_skipped_rounds=2)
    built.configure_fit(1, ndarrays_to_parameters(MODEL), Clients())
    assert built.aggregate_fit(1, [], [RuntimeError()]) == (None, {})
    assert (built.reports[0].aggregated, built.reports[0].n_sampled) == (False, 11)
    assert "accept_failures is False, and 1 clients failed" in built.reports[0].note
    with pytest.raises(InfeasibleRound, match="skipped 2 rounds in a row"):
        built.aggregate_fit(2, [], [RuntimeError()])


def test_a_server_update_needs_the_broadcast_model():
    with pytest.raises(InvalidParameter, match="configure_train"):
        made(ours.FLTrust, f=0).aggregate_train(1, [reply_of([np.zeros(1)]) for _ in range(3)])


def test_one_result_is_enough_where_the_rule_says_so():
    (proxy, *_) = proxies()
    found, _ = legacy.FedMedian().aggregate_fit(1, [(proxy, FitRes(OK, ndarrays_to_parameters([np.ones(2)]), 1, {}))], [])
    assert parameters_to_ndarrays(found)[0].tolist() == [1.0, 1.0]
