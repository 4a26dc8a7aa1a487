"""Replies pulled from a SuperLink by Flower's own Grid: none can end, hold up, cost or be more than its own."""

import time
import tracemalloc

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

import flwr_byzantine as ours
from flwr_byzantine.flower import compat, superlink
from flwr_byzantine.flower.exchange import Late, Unreadable
from flwr_byzantine.flower.grids import wait_for_all
from flwr_byzantine.flower.pulls import Pulls
from flwr_byzantine.flower.uploads import STALLED, Cost, Upload
from tests.support.superlink import Link, bomb, http_grid, reply_to, upload, with_body

HOSTILE = 5


def model():
    return ArrayRecord({"w": Array(np.zeros(1000, np.float32))})


def hostile(spoil=lambda parts: parts, change=lambda reply: reply, **metrics):
    """Answers: all nodes are honest but the last one, whose reply or parts are changed."""

    def answers(metadata):
        if metadata.dst_node_id != HOSTILE:
            return upload(reply_to(metadata))
        return upload(change(reply_to(metadata, np.full(1000, 9.0, np.float32), **metrics)), spoil)

    return answers


def asked():
    compat.ensure_task_identity()
    content = RecordDict({"arrays": model(), "config": ConfigRecord({"server-round": 1})})
    return [Message(content, node, "train") for node in range(1, HOSTILE + 1)]


def exchanged(answers, timeout=20.0):
    link = Link(answers)
    replies = wait_for_all(http_grid(link), asked(), timeout)
    return {reply.metadata.src_node_id: reply for reply in replies}, link


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


def test_an_upload_that_never_comes_ends_with_the_round_and_is_named():
    begun = time.monotonic()
    found, link = exchanged(
        hostile(lambda parts: {key: None if b"ArrayChunk" in content else content for key, content in parts.items()}), 1.0
    )
    assert time.monotonic() - begun < 10
    assert isinstance(found[HOSTILE].error, Late)
    time.sleep(0.5)
    pulled = link.pulled
    time.sleep(0.5)
    assert link.pulled == pulled  # nobody asks for it any more


def test_a_superlink_is_asked_again_after_a_pause():
    link = Link(lambda metadata: None)
    with Pulls(http_grid(link), Cost()) as pulls:
        pulls.look({"a"})
        pulls.look({"a"})
        assert link.looked == 1
        pulls.look({"a"}, again=True)
        assert link.looked == 2


def test_of_the_parts_that_are_not_there_one_is_asked_for_again():
    def late(parts):
        return {key: None if content.split(b" ")[0] in (b"ArrayChunk", b"MetricRecord") else content for key, content in parts.items()}

    _, link = exchanged(hostile(late, late=1), 1.0)
    missing = sorted(link.asked_for[key] for key, part in link.parts.items() if part is None)
    assert missing[0] <= 1 < missing[1]


def test_stalled_uploads_hold_up_nobody_however_many_they_are(monkeypatch):
    monkeypatch.setattr("flwr_byzantine.flower.uploads.STALLED", 0.05)

    def answers(metadata):
        parts = upload(reply_to(metadata, np.full(1000, metadata.dst_node_id, np.float32)))
        return parts if metadata.dst_node_id == HOSTILE else (*parts[:2], dict.fromkeys(parts[2]))

    compat.ensure_task_identity()
    content = RecordDict({"arrays": model()})
    sent = [Message(content, node, "train") for node in (*range(10, 30), HOSTILE)]
    begun = time.monotonic()
    replies = wait_for_all(http_grid(Link(answers)), sent, 3.0)
    assert [reply.metadata.src_node_id for reply in replies if reply.has_content()] == [HOSTILE]
    assert sum(isinstance(reply.error, Late) for reply in replies if reply.has_error()) == 20
    assert time.monotonic() - begun < 10


def test_a_bomb_costs_what_was_uploaded():
    data = np.zeros(1_000_000, np.float32)
    link = Link(lambda metadata: upload(reply_to(metadata, data), lambda parts: with_body(parts, "Array", bomb(400))))
    compat.ensure_task_identity()
    sent = [Message(RecordDict({"arrays": ArrayRecord({"w": Array(data)})}), 7, "train")]
    tracemalloc.start()
    (reply,) = wait_for_all(http_grid(link), sent, 20.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "bytes of arrays" in reply.error.reason
    assert peak < 6 * data.nbytes


def test_costs_are_counted_before_anything_is_expanded():
    many, _ = exchanged(hostile(many=[1.0] * 400_000))
    assert "bytes of metrics, configs and names" in many[HOSTILE].error.reason
    big, _ = exchanged(hostile(change=lambda reply: reply_to(metadata_of(reply), np.zeros(10**6))))
    assert "bytes of arrays, by the model's size" in big[HOSTILE].error.reason
    arrays = ArrayRecord({f"a{k}": Array(np.full(1, k, np.float32)) for k in range(1_500)})
    parts, _ = exchanged(hostile(change=lambda reply: with_arrays(reply, arrays)))
    assert "parts, got" in parts[HOSTILE].error.reason


def metadata_of(reply):
    made = Message(RecordDict(), HOSTILE, "train")
    return compat.set_metadata(made, message_id=reply.metadata.reply_to_message_id).metadata


def with_arrays(reply, arrays):
    reply.content["arrays"] = arrays
    return reply


def test_repeated_chunks_are_welcome_as_far_as_the_model_goes():
    """An array of zeros is cut into equal chunks, of which Flower uploads one."""
    compat.ensure_task_identity()
    data = np.zeros(12_000_000, np.float32)
    link = Link(lambda metadata: upload(reply_to(metadata, data)))
    (reply,) = wait_for_all(http_grid(link), [Message(RecordDict({"arrays": ArrayRecord({"w": Array(data)})}), 7, "train")], 20.0)
    assert reply.content["arrays"]["w"].numpy().nbytes == data.nbytes


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


def test_what_a_reply_may_cost_follows_from_the_model():
    cost = Cost.like(asked())
    assert 4 * 4_000 < cost.values < 4 * 4_000 + 3 * (1 << 16)
    assert Cost.like([]).values == 1 << 30
    upload = Upload(cost)
    assert not upload.stalled
    upload.took(cost.values, is_values=True)
    with pytest.raises(ValueError, match="bytes of arrays"):
        upload.took(1, is_values=True)
    with pytest.raises(ValueError, match="bytes of arrays"):
        upload.wait(0.0)
    assert STALLED > 0


def test_a_grid_that_is_not_flowers_is_tried_message_by_message():
    class Grid:
        def pull_messages(self, keys):
            return [*keys]

    found = superlink.announced(Grid(), ["a", "b"])
    assert {key: fetch(Upload(Cost())) for key, fetch in found.items()} == {"a": ["a"], "b": ["b"]}
