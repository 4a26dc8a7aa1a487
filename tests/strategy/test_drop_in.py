"""Named strategies are what Flower's are: FedAvgs that take Flower's arguments and have them as attributes, in both APIs."""

import copy
import inspect
import pickle
from dataclasses import MISSING, fields

import numpy as np
import pytest
from flwr.app import MetricRecord, RecordDict
from flwr.server import strategy as legacy_flower
from flwr.serverapp import strategy as flower

import flwr_byzantine as ours
from flwr_byzantine import InvalidParameter, Robust, legacy, rules, strategy
from flwr_byzantine.flower import compat
from flwr_byzantine.flower.local import LocalGrid
from tests.support.federation import F, N, client_app, start
from tests.support.legacy import one_round
from tests.support.replies import reply_of

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


def test_robust_takes_a_rule_by_name_in_both_apis():
    assert str(Robust("nnm+trimmed-mean", f=2).rule_at(11)) == "NNM(f=2) + TrimmedMean(f=2)"
    assert str(legacy.Robust("krum", f=0.2).rule_at(20)) == "Krum(f=4)"
    share = Robust("multi-krum", f=0.2, strategy=flower.FedAvg(min_train_nodes=N))
    share.start(LocalGrid(client_app(), N), start(), 1)
    assert share.reports[0].f == 2


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


def test_a_server_update_needs_the_broadcast_model():
    with pytest.raises(InvalidParameter, match="configure_train"):
        made(ours.FLTrust, f=0).aggregate_train(1, [reply_of([np.zeros(1)]) for _ in range(3)])
