"""Uploads to a SuperLink: those that never come or stall hold up nobody, and what one costs is counted before it is paid."""

import time
import tracemalloc

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict

from flwr_byzantine.flower import compat
from flwr_byzantine.flower.exchange import Late
from flwr_byzantine.flower.grids import wait_for_all
from flwr_byzantine.flower.pulls import Pulls
from flwr_byzantine.flower.uploads import STALLED, Cost, Upload
from tests.support.superlink import Link, bomb, http_grid, reply_to, upload, with_body
from tests.support.uploads import HOSTILE, asked, exchanged, hostile, model


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
