"""What a hostile node may answer: each mode by its name, a function of the round's `Task`."""

import json
from dataclasses import replace

import numpy as np
from flwr.app import ConfigRecord, MetricRecord
from flwr.proto.error_pb2 import Error
from flwr.proto.message_pb2 import Message as Envelope
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.recorddict_pb2 import MetricRecord as Metrics

from tests.deployment.hostile.wire import Piece, header, piece, swap, with_body, with_data

FORGED = "INFO :      flwr-byzantine: round 99: kept 5 of 5 nodes"  # what no log may have as a line of its own
ESCAPES = f"\x1b[2J\r\n{FORGED}\n\u202e\x00"


def tampered(kind, change):
    """A mode: an honest reply, with each piece of a kind changed."""
    return lambda task: task.send(task.reply(swap(task.good, kind, change)))


def instead(wrong):
    """A mode: another object where the content should be."""
    return lambda task: task.send(task.reply(wrong))


def measured(more):
    """A mode: an honest reply with more metrics in each of its MetricRecords, which are made when they are needed."""
    return tampered("MetricRecord", lambda found: replace(found, body=found.body + more().body))


def with_record(content, record):
    """A RecordDict with one more record."""
    names = json.loads(content.body) | {"more": record.id}
    return Piece("RecordDict", json.dumps(names).encode(), (*content.children, record))


def renamed(*names):
    """A change of an ArrayRecord or a RecordDict: these names, all for its first entry."""
    return lambda found: Piece(found.kind, json.dumps(dict.fromkeys(names, found.children[0].id)).encode(), found.children[:1])


def forged(*stolen, **said):
    """A mode: a reply that says metadata of an honest node as its own, or what is given."""

    def play(task):
        node, message = task.victim()
        known = {"src_node_id": node, "reply_to_message_id": message}
        task.send(task.reply(task.bad(), **{name: known[name] for name in stolen}, **said))

    return play


def by_guess(task):
    """Takes an honest node's place at the SuperLink, beside its own, if the id of that node's message is one that it would try.

    It tries its own message with that node as destination, made within 5 ms of its own: what differs, if nothing secret does.
    """
    node, message = task.victim()
    own = piece(task.message)
    assert own.id == task.message.metadata.message_id
    if message in {guess(own, node, offset).id for offset in range(-5_000, 5_000)}:
        names = {"src_node_id": node, "reply_to_message_id": message}
        task.send(task.reply(task.bad(), **names), **names)
    task.send(task.reply(task.bad()))


def guess(own, node, offset):
    """A message as it would be for another node, some microseconds before or after."""
    letter = Envelope.FromString(own.body)
    letter.metadata.dst_node_id = node
    letter.metadata.created_at = (round(letter.metadata.created_at * 10**6) + offset) / 10**6
    return replace(own, body=letter.SerializeToString(deterministic=True))


def other_type(task):
    """The right reply, to the wrong question."""
    task.send(task.reply(task.bad(), message_type={"train": "evaluate", "evaluate": "train"}[task.phase]))


def twice(task):
    """An honest reply, then twenty others to the same message."""
    task.send(task.reply(task.good))
    for count in range(20):
        task.send(task.reply(task.bad(), created_at=task.message.metadata.created_at + count / 1000))


def late(task):
    """An honest reply, which comes when nobody waits for it any more."""
    task.over.wait()
    for request in task.line.announce(task.message, task.reply(task.good)):
        task.line.upload(request)


def last_round(task):
    """The answer to the message before this one, which had none, and none to this one."""
    task.send(task.reply(task.bad()), message=task.before[0])


def replay(task):
    """The reply to the message before this one once more, byte for byte."""
    task.send(task.before[1])


def announced(task):
    """A reply that is announced and never uploaded."""
    task.line.announce(task.message, task.reply(task.good))


def drip(task):
    """A reply that is uploaded object by object, with two seconds between them."""
    task.send(task.reply(with_record(task.good, arrays(40, 100))), pause=2.0)


def big(task):
    """A reply of 300 MB."""
    task.send(task.reply(with_record(task.good, arrays(30, 10_000_000))))


def many_objects(task):
    """A reply of 4,000 objects."""
    task.send(task.reply(with_record(task.good, arrays(2_000, 100))))


def arrays(count, size):
    """An ArrayRecord of so many arrays of so many bytes, all different."""
    body = json.dumps({"dtype": "uint8", "shape": [size], "stype": "numpy.ndarray", "arraychunk_ids": [0]}).encode()
    made = [Piece("Array", body, (Piece("ArrayChunk", np.random.default_rng(index).bytes(size)),)) for index in range(count)]
    return Piece("ArrayRecord", json.dumps({f"x{index}": each.id for index, each in enumerate(made)}).encode(), tuple(made))


def repeated(task):
    """A reply that announces its chunk of 1 MB 2,000 times."""
    reply = task.reply(swap(task.good, "Array", with_data(np.random.default_rng(0).bytes(1_000_000))))

    def tree(part):
        return ObjectTree(object_id=part.id, children=[tree(child) for child in part.children] * (2_000 if part.kind == "Array" else 1))

    task.send(reply, tree(reply))


def unknown_child(task):
    """A reply whose content names an object that it does not announce."""
    reply = task.reply(Piece("RecordDict", task.good.body, (*task.good.children, Piece("ArrayChunk", b""))))
    tree = reply.tree()
    del tree.children[0].children[-1]
    task.send(reply, tree)


def pickled(task):
    """An array of objects, which makes a folder when it is loaded."""
    program = f"cos\nmkdir\n(S'{task.folder / 'pickled'}'\ntR.".encode()
    task.send(task.reply(swap(task.good, "Array", with_data(header("()", "'|O'", program)))))


def numbers(count):
    """A MetricRecord with a list of so many numbers."""
    made = Metrics()
    made.items.add(key="list").value.double_list.vals.extend(np.zeros(count))
    return Piece("MetricRecord", made.SerializeToString())


MODES = {
    "honest": lambda task: task.send(task.reply(task.good)),
    "silent": lambda task: None,
    "reconnect": lambda task: None,  # the node comes back under another id
    "forged-source": forged("src_node_id", reply_to_message_id="0" * 64),
    "forged-reply-id": forged("reply_to_message_id"),
    "forged-by-guess": by_guess,
    "forged-both": forged("src_node_id", "reply_to_message_id"),
    "other-type": other_type,
    "twice": twice,
    "late": late,
    "last-round": last_round,
    "replay": replay,
    "announced": announced,
    "drip": drip,
    "big": big,
    "many-objects": many_objects,
    "repeated": repeated,
    "unknown-child": unknown_child,
    "garbage-body": lambda task: task.send(Piece("Message", b"\xff" * 64, (task.good,))),
    "no-content": lambda task: task.send(task.reply()),
    "no-message": lambda task: task.send(task.good),
    "content-array": instead(Piece("Array", b'{"dtype": "", "shape": [], "stype": "", "arraychunk_ids": []}')),
    "content-metrics": instead(piece(MetricRecord({"x": 1}))),
    "content-config": instead(piece(ConfigRecord({"x": "y"}))),
    "record-deep": tampered("RecordDict", with_body(b"[" * 200_000)),
    "record-names": tampered("RecordDict", renamed(*map(str, range(100_000)))),
    "array-names": tampered("ArrayRecord", renamed("\ud800" + ESCAPES, "n" * 2_000_000)),
    "chunk-index": tampered("Array", with_data(b"123", [99])),
    "chunk-bomb": tampered("Array", with_data(bytes(5_000_000), [0] * 400)),
    "npy-dims": tampered("Array", with_data(header(f"({'1,' * 65})"))),
    "pickle": pickled,
    "metric-keys": measured(lambda: piece(MetricRecord({f"k{index}": 1.0 for index in range(100_000)}))),
    "metric-names": measured(lambda: piece(MetricRecord({"n" * 2_000_000: 1.0, ESCAPES: float("nan")}))),
    "metric-list": measured(lambda: numbers(10_000_000)),
    "config-huge": lambda task: task.send(task.reply(with_record(task.good, piece(ConfigRecord({"blob": bytes(50_000_000)}))))),
    "error-text": lambda task: task.send(task.reply(error=Error(code=2, reason=ESCAPES + "x" * 1_000_000))),
}
