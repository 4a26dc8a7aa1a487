"""A subclass of a named strategy may override any hook, and send by itself, in both APIs."""

from unittest.mock import MagicMock

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.common import FitIns, FitRes, ndarrays_to_parameters, parameters_to_ndarrays

import flwr_byzantine as ours
from flwr_byzantine import legacy
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.quarantine import Quarantine
from tests.support.federation import GOAL, F, N, client_app, start, values
from tests.support.legacy import MODEL, OK, Clients, one_round, proxies
from tests.support.replies import nonsense


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
