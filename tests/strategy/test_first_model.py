"""A run that begins without a model: the clients' replies make the first one, in the form that more than half of them have."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.common import Parameters, ndarrays_to_parameters
from flwr.server import SimpleClientManager
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine import ByzantineSGD, InfeasibleRound, InvalidParameter, legacy, rules
from flwr_byzantine.flower.codec import pack
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.strategy.majority import majority
from flwr_byzantine.strategy.template import Template
from tests.support.batchnorm import BAD, EVERYONE, F, N, accuracy, backwards, federate, legacy_federate, over, start, trained

GOAL = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bn.running_var": np.full(2, 3, np.float32),
    "n": np.array(7),
    "mask": np.array([True, False]),
    "observer": np.array([np.inf, -np.inf, np.nan, 1], np.float32),
    "z": np.array([1 + 2j], np.complex64),
}


def npy(arrays):
    return {name: array.data for name, array in pack(arrays).items()}


def honest(node):
    return {name: value if value.dtype.kind in "bi" else value + np.asarray(0.01 * node, value.dtype) for name, value in GOAL.items()}


LIES = {
    "another shape": lambda sent: {**sent, "w": np.zeros((3, 2), np.float32)},
    "another dtype": lambda sent: {**sent, "w": sent["w"].astype(np.complex64)},
    "other names": lambda sent: {name + "2": value for name, value in sent.items()},
    "an array more": lambda sent: {**sent, "more": np.ones(3)},
    "an array less": lambda sent: {name: sent[name] for name in list(sent)[1:]},
    "nothing": lambda sent: {},
    "infinite weights": lambda sent: {**sent, "w": np.full((2, 3), np.inf, np.float32)},
    "not a number in the statistics": lambda sent: {**sent, "bn.running_var": np.full(2, np.nan, np.float32)},
    "minus where others have plus": lambda sent: {**sent, "observer": -sent["observer"]},
}
QUIET = {  # that look like the others
    "far away": lambda sent: {name: value if value.dtype.kind == "b" else value - 1000 for name, value in sent.items()},
    "another mask": lambda sent: {**sent, "mask": ~sent["mask"]},
    "a finite observer": lambda sent: {**sent, "observer": np.full(4, 1e9, np.float32)},
}


def legacy_over(rule, **policy):
    made = LegacyFedAvg(fraction_evaluate=0.0, initial_parameters=Parameters([], "numpy.ndarray"), on_fit_config_fn=lambda k: {"round": k})
    return legacy.Robust(rule, made, **policy)


def same(found, expected):
    return all(np.array_equal(found[name], expected[name], equal_nan=True) for name in expected)


def begun(lie, api=federate, rule=None, rounds=2, model=(), **policy):
    """The strategy and the model after some rounds in which every client answers with its model, whatever it was sent."""
    strategy = (over if api is federate else legacy_over)(rule or rules.Median(f=F), **policy)
    found = api(strategy, reply=lambda got, node: lie(honest(node)) if node in BAD else honest(node), model=dict(model), rounds=rounds)
    return strategy, found


@pytest.mark.parametrize("lie", [*LIES, *QUIET])
def test_the_first_model_is_one_of_the_honest_clients(lie):
    strategy, found = begun((LIES | QUIET)[lie])
    assert [report.with_status("invalid") for report in strategy.reports] == [list(BAD) if lie in LIES else []] * 2
    assert list(found) == list(GOAL)
    for name, value in GOAL.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_allclose(found[name], value, atol=0.12)
    assert strategy.core.state.judged == ["w", "z"]
    assert list(strategy.core.state.infinite) == ["observer"]


@pytest.mark.parametrize("lie", ["another shape", "far away"])
def test_the_legacy_api_begins_with_empty_parameters(lie):
    """Which is what Flower makes of a client that gives none; arrays have no names there, and running statistics are weights."""
    strategy, found = begun((LIES | QUIET)[lie], legacy_federate)
    assert [report.with_status("invalid") for report in strategy.reports] == [list(BAD) if lie in LIES else []] * 2
    np.testing.assert_allclose(found["0"], GOAL["w"], atol=0.12)


def test_without_a_majority_the_round_is_skipped(caplog):
    strategy = over(rules.Median(f=F), max_skipped_rounds=2)
    with pytest.raises(InfeasibleRound, match="skipped 2 rounds in a row"):
        federate(strategy, reply=lambda got, node: {"w": np.ones(1 + node % 2 if node < N else 3)}, model={}, rounds=3)
    assert strategy.reports[0].nodes[1].reason.startswith("expected names, shapes and dtypes of arrays that most replies share")
    assert not strategy.core.state.judged


def test_trees_are_no_first_model():
    """Which Flower's strategies for trees begin without."""
    tree = {"0": np.frombuffer(b'{"learner": {}}', np.uint8)}
    with pytest.raises(InvalidParameter, match="trees, and other models that are bytes"):
        federate(over(rules.Median(f=F)), reply=lambda got, node: tree, model={}, rounds=1)
    with pytest.raises(InfeasibleRound, match="trees, and other models that are bytes"):
        federate(over(rules.Median(f=F)), reply=lambda got, node: {"0": np.ones(node, np.uint8)}, model={}, rounds=1)


def test_what_most_replies_look_like():
    same, other = npy({"a": np.ones(2), "b": np.ones(3)}), npy({"a": np.ones(5), "b": np.ones(3)})
    assert majority([same, same, other]).keys() == {"a", "b"}
    assert majority([same, other]) == majority([]) == majority([{}, {}]) == majority([{"a": b"no npy"}]) == {}
    turned = dict(reversed(same.items()))
    assert list(majority([turned, same, same])) == list(majority([same, turned, same])) == ["a", "b"]
    assert majority([turned, same, other]).keys() == {"a", "b"}  # names count, not their order
    assert list(Template.of_majority([None, None, same]).names) == ["a", "b"]  # those that failed have no say


def test_a_node_that_was_asked_has_one_vote():
    """It may answer again and again on a Grid that lets it, and others may answer too."""
    strategy = over(rules.Median(f=1))
    sent = [reply(node, {"w": np.ones(2)}) for node in (1, 2, 3)] + [reply(node, {"w": np.ones(9)}) for node in (4, 4, 4, 4, 11, 12, 13)]
    strategy.core.begin({}, None)
    strategy.core.ask([1, 2, 3, 4])
    assert strategy.core.round(1, sent).report.with_status("invalid") == [4, 11, 12, 13]


def reply(node, arrays):
    return Reply(node, npy(arrays), {}, 1, source=object())


def test_a_rule_s_memory_begins_with_the_first_differences():
    """Whole models are none: the rounds after the first are those of a run that begins with its model."""
    rule, lie = rules.CenteredClipping(f=F, tau=2.0), QUIET["far away"]
    found, first = begun(lie, rule=rule, rounds=4)[1], begun(lie, rule=rule, rounds=1)[1]
    assert same(found, begun(lie, rule=rule, rounds=3, model=first)[1])


def test_the_run_goes_on_from_its_checkpoint(tmp_path):
    def model(path, rounds):
        return begun(QUIET["far away"], rule=rules.CenteredClipping(f=F), rounds=rounds, checkpoint=tmp_path / path, resume=True)[1]

    model("one", 1)
    assert same(model("one", 3), model("two", 3))


def test_a_file_for_the_replies_changes_nothing(tmp_path):
    assert same(begun(QUIET["far away"])[1], begun(QUIET["far away"], spill=tmp_path)[1])


def test_the_log_says_where_the_model_comes_from(caplog):
    with caplog.at_level(logging.INFO, logger="flwr"):
        begun(LIES["nothing"])
    said = [record.getMessage() for record in caplog.records if "no arrays yet" in record.getMessage()]
    assert len(said) == 1


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: ByzantineSGD(rules.Median(f=F), 0.1, strategy=FedAvg(**EVERYONE)), "ByzantineSGD needs a model at which clients take"),
        (lambda: over(rules.Median(f=F), shared="w"), "shared= needs a model, of which clients keep something"),
    ],
)
def test_what_needs_a_model_is_refused_without_one(made, message):
    with pytest.raises(InvalidParameter, match=message):
        federate(made(), reply=lambda got, node: pytest.fail("was asked"), model={}, rounds=1)


def test_digits_from_an_empty_model():
    """Every honest client begins with the network's own initial weights."""
    strategy = over(rules.parse("mda", F))
    found = federate(strategy, model={}, rounds=3, reply=lambda got, node: answer(got or start(), node))
    assert [report.with_status("rejected") for report in strategy.reports] == [list(BAD)] * 3
    assert accuracy(found) > 0.8


def answer(model, node):
    found = trained(model, node, 1)
    return backwards(model, found) if node in BAD else found


def test_the_legacy_api_says_that_nobody_checks_a_model_of_one_random_client(caplog):
    strategy = legacy.Krum(num_malicious_clients=1)
    manager = SimpleClientManager()
    manager.register(SimpleNamespace(cid="1"))
    with caplog.at_level(logging.WARNING, logger="flwr"):
        assert strategy.initialize_parameters(manager) is None
    assert "one random client, and nobody checks it" in caplog.text
    strategy = legacy.Krum(num_malicious_clients=1, initial_parameters=ndarrays_to_parameters([np.ones(1)]))
    caplog.clear()
    assert strategy.initialize_parameters(manager) is not None
    assert "random client" not in caplog.text
