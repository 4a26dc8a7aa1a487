"""Whose a reply is, on every Grid that is shipped or wrapped: what it says of itself counts nowhere."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp.strategy import DifferentialPrivacyServerSideAdaptiveClipping, DifferentialPrivacyServerSideFixedClipping

import flwr_byzantine as ours
from flwr_byzantine import attacks
from flwr_byzantine.adversary import AdversarialGrid
from flwr_byzantine.experiments.recording import RecordingGrid
from flwr_byzantine.flower import compat
from flwr_byzantine.flower.exchange import attributed
from flwr_byzantine.flower.local import LocalGrid
from tests.support.federation import N, client_app, start
from tests.support.grids import HOSTILE, VICTIM, SlowGrid

FORGED = {
    "source": {"src_node_id": VICTIM},
    "type": {"message_type": "query"},
    "message": {"reply_to_message_id": "of the last round"},
    "all": {"src_node_id": VICTIM, "message_type": "query", "reply_to_message_id": "of the last round"},
}
GRIDS = {
    "local": lambda grid: grid,
    "adversarial": lambda grid: AdversarialGrid(grid, attacks.SignFlip(), {1}),
    "recording": lambda grid: RecordingGrid(grid, {0}),
    "both": lambda grid: RecordingGrid(AdversarialGrid(grid, attacks.SignFlip(), {1}), {0}),
}


def forging(claims):
    def spoil(reply):
        if reply.metadata.src_node_id == HOSTILE:
            for array in reply.content["arrays"].values() if "arrays" in reply.content else []:
                array.data = Array(np.full_like(array.numpy(), 100)).data
            return compat.set_metadata(reply, **claims)
        return reply

    return spoil


class Flowers(SlowGrid):
    """As Flower's own Grids: replies are pulled, with the metadata that the node has written."""

    def __init__(self, spoil):
        super().__init__([0.0] * N)
        self.spoil = spoil

    def pull_messages(self, message_ids):
        return [self.spoil(reply) for reply in super().pull_messages(message_ids)]


@pytest.mark.parametrize("wrap", GRIDS)
@pytest.mark.parametrize("claims", FORGED)
@pytest.mark.parametrize("make", [Flowers, lambda spoil: LocalGrid(client_app(), N, spoil=spoil)], ids=["Flower's", "ours"])
def test_a_forged_reply_is_its_senders_alone_in_training_and_evaluation(make, claims, wrap):
    strategy = ours.FedTrimmedAvg(f=2, grace=5.0, min_train_nodes=N)
    result = strategy.start(GRIDS[wrap](make(forging(FORGED[claims]))), start(), 1)
    (report,) = strategy.reports
    assert report.with_status("invalid") == [HOSTILE]
    assert "it says that it" in report.nodes[HOSTILE].reason
    assert report.n_valid == N - 1
    assert result.evaluate_metrics_clientapp[1]["accuracy"] == 0.5


def test_of_several_replies_to_one_message_the_first_counts():
    class Double(LocalGrid):
        def send_and_receive(self, messages, *, timeout=None):
            replies = super().send_and_receive(messages, timeout=timeout)
            return [reply for reply in replies for _ in range(3)]

    strategy = ours.FedTrimmedAvg(f=2, min_train_nodes=N)
    strategy.start(Double(client_app(), N), start(), 2)
    assert [report.n_valid for report in strategy.reports] == [N, N]


def test_replies_to_no_message_of_this_round_are_left_out_and_said(caplog):
    class Late(LocalGrid):
        kept = ()

        def send_and_receive(self, messages, *, timeout=None):
            replies = super().send_and_receive(messages, timeout=timeout)
            old, self.kept = self.kept, replies[:2]
            return [*old, *replies]

    strategy = ours.FedTrimmedAvg(f=2, min_train_nodes=N, fraction_evaluate=0.0)
    strategy.start(Late(client_app(), N), start(), 2)
    assert [report.n_valid for report in strategy.reports] == [N, N]
    assert "no message waits for it" in caplog.text


def test_a_grid_without_message_ids_is_believed_as_to_the_node():
    sent = [Message(RecordDict(), node, "train") for node in (1, 2)]
    replies = [Message(RecordDict(), reply_to=sent[0]), Message(RecordDict(), reply_to=sent[0]), Message(RecordDict(), reply_to=sent[1])]
    for reply, node in zip(replies, (1, 1, 7), strict=True):
        compat.set_metadata(reply, src_node_id=node)
    assert [reply.metadata.src_node_id for reply in attributed(sent, replies)] == [1]


def test_a_loop_of_the_users_own_is_as_safe():
    """`configure_train` makes a Grid of Flower's believe nothing; others are left alone."""
    from tests.support.superlink import Link, http_grid, reply_to, upload

    def answers(metadata):
        reply = reply_to(metadata, np.full(1000, 1.0 + 8 * (metadata.dst_node_id == HOSTILE), np.float32))
        return upload(compat.set_metadata(reply, src_node_id=VICTIM) if metadata.dst_node_id == HOSTILE else reply)

    grid = http_grid(Link(answers))
    grid.get_node_ids = lambda: range(1, N + 1)
    strategy = ours.FedTrimmedAvg(f=2, min_train_nodes=N)
    model = ArrayRecord({"w": Array(np.zeros(1000, np.float32))})
    messages = strategy.configure_train(1, model, ConfigRecord(), grid)
    replies = grid.send_and_receive(messages, timeout=30.0)
    arrays, _ = strategy.aggregate_train(1, replies)
    assert strategy.reports[0].with_status("invalid") == [HOSTILE]
    assert arrays["w"].numpy().tolist() == [1.0] * 1000
    local = LocalGrid(client_app(), N)
    strategy.configure_train(2, start(), ConfigRecord(), local)
    assert "send_and_receive" not in vars(local)


@pytest.mark.parametrize("make", [Flowers, lambda spoil: LocalGrid(client_app(), N, spoil=spoil)], ids=["Flower's", "ours"])
@pytest.mark.parametrize("outer", [DifferentialPrivacyServerSideFixedClipping, DifferentialPrivacyServerSideAdaptiveClipping])
def test_a_strategy_around_this_one_sees_no_reply_that_cannot_be_used(outer, make):
    """Differential privacy belongs around `Robust`, and would end or skip the round for one malformed reply."""

    def spoil(reply):
        if reply.metadata.src_node_id == HOSTILE and "arrays" in reply.content:
            reply.content["arrays"]["w"] = Array("float32", (6,), "numpy.ndarray", b"garbage")
        return compat.set_metadata(reply, src_node_id=HOSTILE) if reply.metadata.src_node_id == VICTIM else reply

    inner = ours.Robust("trimmed-mean", f=2)
    sizes = {"clipping_norm": 10.0} if outer is DifferentialPrivacyServerSideFixedClipping else {"initial_clipping_norm": 10.0}
    result = outer(inner, noise_multiplier=1e-6, num_sampled_clients=N, **sizes).start(make(spoil), start_of_floats(), 2)
    assert [report.with_status("invalid") for report in inner.reports] == [[HOSTILE, VICTIM]] * 2
    assert [report.n_valid for report in inner.reports] == [N - 2] * 2
    assert "w" in result.arrays
    assert result.evaluate_metrics_clientapp[2]["accuracy"] == 0.5


def start_of_floats():
    return ArrayRecord({name: array for name, array in start().items() if name != "n"})


def test_a_grid_with_another_strategy_attached_is_used_as_it_was_made():
    grid = LocalGrid(client_app(), N)
    for _ in range(3):
        inner = ours.Robust("trimmed-mean", f=2)
        DifferentialPrivacyServerSideFixedClipping(inner, 1e-6, 10.0, N).start(grid, start_of_floats(), 1)
        assert inner.reports[0].n_valid == N
    grid.spoil = forging(FORGED["source"])
    strategy = ours.FedTrimmedAvg(f=2, min_train_nodes=N)
    strategy.start(grid, start(), 1)
    assert strategy.reports[0].with_status("invalid") == [HOSTILE]  # not kept back by one of the others
