"""Replies pulled from a SuperLink by Flower's own Grid: none can end, hold up, cost or be more than its own."""

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord, Message, MetricRecord, RecordDict

import flwr_byzantine as ours
from flwr_byzantine.flower import compat, superlink
from flwr_byzantine.flower.exchange import Unreadable
from flwr_byzantine.flower.grids import wait_for_all
from flwr_byzantine.flower.uploads import Cost, Upload
from tests.support.superlink import Link, bomb, http_grid, with_body
from tests.support.uploads import HOSTILE, asked, exchanged, hostile, model


def forged(**claims):
    return lambda reply: compat.set_metadata(reply, **claims)


def another(kind):
    """A reply whose content is no RecordDict."""

    def change(parts):
        other = {"Array": Array(np.zeros(3)), "MetricRecord": MetricRecord({"x": 1}), "ConfigRecord": ConfigRecord({"x": "1"})}[kind]
        found = dict(parts)
        found.update({other.object_id: other.deflate()})
        return with_children(found, "Message", [other.object_id])

    return change


def with_children(parts, kind, children):
    def changed(content):
        if content.split(b" ", 1)[0] != kind.encode():
            return content
        body = content.split(b"\0", 1)[1]
        return f"{kind} {','.join(children)} {len(body)}".encode() + b"\0" + body

    return {key: changed(content) for key, content in parts.items()}


SPOILED = {
    "garbage in the message": lambda parts: with_body(parts, "Message", b"\xff" * 64),
    "garbage in the records": lambda parts: with_body(parts, "RecordDict", b"[[["),
    "deep JSON in the records": lambda parts: with_body(parts, "RecordDict", b"[" * 200_000),
    "garbage in the metrics": lambda parts: with_body(parts, "MetricRecord", b"\xff" * 9),
    "garbage in an array": lambda parts: with_body(parts, "Array", b"\xff\xfe"),
    "a chunk that is not there": lambda parts: with_body(parts, "Array", b'{"dtype":"f","shape":[1],"stype":"n","arraychunk_ids":[99]}'),
    "an Array as content": another("Array"),
    "a MetricRecord as content": another("MetricRecord"),
    "a ConfigRecord as content": another("ConfigRecord"),
    "no content": lambda parts: with_children(parts, "Message", []),
    "a part of an unknown kind": lambda parts: {key: content.replace(b"MetricRecord", b"Mystery", 1) for key, content in parts.items()},
    "parts without a head": lambda parts: {key: b"" for key in parts},
    "a chunk named 400 times": lambda parts: with_body(parts, "Array", bomb(400)),
}
FORGED = {
    "another's source": forged(src_node_id=2),
    "an unknown message": forged(reply_to_message_id="0" * 64),
    "another type": forged(message_type="evaluate"),
    "the last round's message, and another's source": forged(reply_to_message_id="1" * 64, src_node_id=2),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_reply_that_does_not_inflate_is_its_own_nodes_fault(name):
    found, link = exchanged(hostile(SPOILED[name]))
    assert sorted(found) == [1, 2, 3, 4, 5]
    assert isinstance(found[HOSTILE].error, Unreadable), name
    assert all(found[node].has_content() for node in range(1, HOSTILE))
    assert len(link.confirmed) >= HOSTILE - 1


@pytest.mark.parametrize("name", FORGED)
def test_a_reply_is_that_of_the_node_that_was_asked_whatever_it_says(name):
    found, _ = exchanged(hostile(change=FORGED[name]))
    assert sorted(found) == [1, 2, 3, 4, 5]
    assert isinstance(found[HOSTILE].error, Unreadable)
    assert "it says that it" in found[HOSTILE].error.reason
    assert all(found[node].has_content() for node in range(1, HOSTILE))


def test_the_model_is_that_of_the_honest_nodes_and_the_report_names_the_other():
    for answers in (hostile(SPOILED["garbage in the message"]), hostile(change=FORGED["another's source"])):
        strategy = ours.FedTrimmedAvg(min_train_nodes=HOSTILE, min_available_nodes=HOSTILE, fraction_evaluate=0.0)
        grid = http_grid(Link(answers))
        grid.get_node_ids = lambda: range(1, HOSTILE + 1)
        result = strategy.start(grid, model(), 1)
        assert result.arrays["w"].numpy().tolist() == [1.0] * 1000
        assert {node: entry.status for node, entry in strategy.reports[0].nodes.items()} == {
            1: "kept", 2: "kept", 3: "kept", 4: "kept", 5: "invalid",
        }  # fmt: skip


def test_nobody_can_guess_the_message_that_another_node_is_to_answer():
    """A SuperLink takes a reply for anybody's who knows the message's id, which is a hash of the message."""
    compat.ensure_task_identity()
    message = Message(RecordDict(), 7, "train", ttl=100.0)
    before = message.metadata.ttl
    ids = set()
    for _ in range(50):
        superlink.make_unguessable([message])
        ids.add(message.object_id)
        assert 0.9 * before < message.metadata.ttl <= before
    assert len(ids) == 50
    link = Link(hostile())
    sent = asked()
    wait_for_all(http_grid(link), sent, 20.0)
    assert len({message.metadata.ttl for message in sent}) == HOSTILE


def test_a_grid_that_is_not_flowers_is_tried_message_by_message():
    class Grid:
        def pull_messages(self, keys):
            return [*keys]

    found = superlink.announced(Grid(), ["a", "b"])
    assert {key: fetch(Upload(Cost())) for key, fetch in found.items()} == {"a": ["a"], "b": ["b"]}
