"""What a hostile client can write on a reply of the Message API, and send with it or in place of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from flwr_byzantine.experiments.audit.wire import Letter, Tamper
from flwr_byzantine.flower import compat

UNKNOWN = "0" * 64  # an id that no message has
FARTHER = 1e6  # what a forger puts into its model


def copied(reply: Message, content: Any = None, **metadata: Any) -> Message:
    """The reply as a message of its own, with other metadata and perhaps other content."""
    made = copy.deepcopy(reply)
    if content is not None:
        made.content = content
    return compat.set_metadata(made, **metadata)


def _poisoned(letter: Letter) -> RecordDict:
    """The reply's content, with a model that is far away."""
    content: RecordDict = compat.copy_content(letter.reply.content)
    for record in content.array_records.values():
        for name, array in record.items():
            record[name] = Array(array.numpy() * 0 + FARTHER)
    return content


def _forged(**metadata: Callable[[Letter], Any]) -> Tamper:
    """A far-away model under metadata that are not the sender's."""
    return lambda letter: [copied(letter.reply, _poisoned(letter), **{name: value(letter) for name, value in metadata.items()})]


def _always(value: Any) -> Callable[[Letter], Any]:
    return lambda _: value


def _everywhere(record: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda content: dict.fromkeys(content, record)


def _beside(record: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda content: {**content, "beside": record}


def _content(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Tamper:
    """Other records in the reply."""
    return lambda letter: [copied(letter.reply, RecordDict(change(dict(letter.reply.content.items()))))]


def _other(value: Any) -> Tamper:
    """Content that is no RecordDict."""
    return lambda letter: [copied(letter.reply, value)]


def _raising(error: Exception) -> Tamper:
    """A reply that cannot even be pulled."""
    return lambda _: [error]


def _again(letter: Letter) -> list[Any]:
    """The reply to the message before; in the first round its own."""
    return [letter.reply if letter.before is None else copied(letter.before)]


def forgeries() -> Iterator[tuple[str, Tamper]]:
    """Name and what is pulled of each kind."""
    yield from _metadata()
    yield from _kinds()
    yield from _repeated()
    yield from _unreadable()


def _metadata() -> Iterator[tuple[str, Tamper]]:
    victim: dict[str, Callable[[Letter], Any]] = {
        "src_node_id": lambda letter: letter.victim.metadata.dst_node_id,
        "reply_to_message_id": lambda letter: letter.victim.metadata.message_id,
    }
    yield "forged: another node's id", _forged(src_node_id=victim["src_node_id"])
    yield "forged: an unknown node's id", _forged(src_node_id=_always(2**63 - 1))
    yield "forged: another message's id", _forged(reply_to_message_id=victim["reply_to_message_id"])
    yield "forged: an unknown message's id", _forged(reply_to_message_id=_always(UNKNOWN))
    yield "forged: another node's reply", _forged(**victim)
    yield (
        "forged: another node's id, an unknown message's",
        _forged(src_node_id=victim["src_node_id"], reply_to_message_id=_always(UNKNOWN)),
    )
    yield "forged: sent to another node", _forged(dst_node_id=victim["src_node_id"])
    for kind in ("evaluate", "train", "query", "train.other", "nothing\n\x1b[31m"):
        yield f"forged: of type {kind!r}", _forged(message_type=_always(kind))
    yield "forged: of another round", _forged(group_id=_always("99"))
    yield "forged: of another run", _forged(run_id=_always(99))


def _kinds() -> Iterator[tuple[str, Tamper]]:
    for name, record in {"metrics": MetricRecord({"x": 1.0}), "a config": ConfigRecord({"x": "y"}), "arrays": ArrayRecord()}.items():
        yield f"content: {name} under every name", _content(_everywhere(record))
        yield f"content: {name} beside", _content(_beside(record))
    yield "content: a config in place of the metrics", _content(lambda content: {**content, "metrics": ConfigRecord({"num-examples": 10})})
    yield "content: 100 more records", _content(lambda content: {**content, **{f"more {k}": ArrayRecord() for k in range(100)}})
    yield "content: other names of records", _content(lambda content: {f"{name}\n\x1b[31m": record for name, record in content.items()})
    yield "content: an Array", _other(Array("float32", (1,), "numpy.ndarray", b""))
    yield "content: a MetricRecord", _other(MetricRecord({"x": 1}))
    yield "content: text", _other("text")
    yield "content: a dict", _other({"arrays": ArrayRecord()})


def _repeated() -> Iterator[tuple[str, Tamper]]:
    yield "twice: the same", lambda letter: [letter.reply, copied(letter.reply)]
    yield "twice: the second far away", lambda letter: [letter.reply, copied(letter.reply, _poisoned(letter))]
    yield "twice: an error, then far away", lambda letter: [_error(letter), copied(letter.reply, _poisoned(letter))]
    yield "20 times far away", lambda letter: [copied(letter.reply, _poisoned(letter)) for _ in range(20)]
    yield "the last reply again", _again


def _error(letter: Letter) -> Message:
    return Message(Error(1, "gone"), reply_to=letter.asked)


def _unreadable() -> Iterator[tuple[str, Tamper]]:
    kinds = (ValueError, KeyError, RecursionError, MemoryError, UnicodeDecodeError)
    for kind in kinds:
        words = ("utf-8", b"\xff", 0, 1, "bad") if kind is UnicodeDecodeError else ("does not inflate\n\x1b[31m",)
        yield f"not to be pulled: {kind.__name__}", _raising(kind(*words))
