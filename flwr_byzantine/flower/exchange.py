"""Sending messages and taking their replies: who answered is known from what was sent and pulled, never from what a reply says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from logging import WARNING
from typing import Any, Protocol

from flwr.app import Error, Message
from flwr.serverapp import Grid

from flwr_byzantine.errors import ByzantineError, MalformedUpdate
from flwr_byzantine.flower import compat, superlink
from flwr_byzantine.flower.pulls import Pulls
from flwr_byzantine.flower.uploads import Cost
from flwr_byzantine.flower.words import printable

POLL = 0.1  # seconds between two looks at what has been pulled
LAST = 3.0  # seconds at most, after the end, for replies that had come and were still to be pulled


class Unreadable(Error):
    """In place of a reply that cannot be taken for one; no client can send this class."""


class Late(Error):
    """In place of a reply that is not there in time."""


class Attached:
    """What may stand in for a Grid's own `send_and_receive`, for others than itself."""


class Clock(Protocol):
    """When to wait no longer."""

    def answered(self, valid: bool, node: int | None = None, when: float | None = None) -> None:
        """Another reply has come, of this node and at this time, where they are known."""

    def over(self) -> bool:
        """Whether to go on with what is there."""


def exchange(grid: Any, sent: Sequence[Message], clock: Clock, timeout: float | None, valid: Callable[[Message], bool]) -> list[Message]:
    """Send messages and take their replies, at most one each, each marked with the node that was asked.

    A reply that raises, answers something else, or costs too much is replaced by an `Unreadable` error of that node's.

    Args:
        grid: a Flower Grid, on which replies are pulled one by one; any other is asked as a whole, within `timeout`.
        sent: not sent yet.
        clock: when to go on without the others, on a Flower Grid.
        timeout: seconds, for other Grids.
        valid: whether a reply can be used; may raise `MalformedUpdate`.
    """
    if isinstance(grid, Grid):
        return _pulled(grid, sent, clock, valid)
    return attributed(sent, as_made(grid)(sent, timeout=timeout))


def as_made(grid: Any) -> Callable[..., Iterable[Message]]:
    """A Grid's own `send_and_receive`, whatever strategy is attached to it."""
    now: Callable[..., Iterable[Message]] = grid.send_and_receive
    attached = getattr(now, "__self__", None)
    return partial(type(grid).send_and_receive, grid) if isinstance(attached, Attached) and attached is not grid else now


def _pulled(grid: Grid, sent: Sequence[Message], clock: Clock, valid: Callable[[Message], bool]) -> list[Message]:
    superlink.make_unguessable(sent)
    pushed = {key for key in grid.push_messages(sent) if key}  # a message that could not be sent has none
    waiting = {key: message for message in sent if (key := message.metadata.message_id) in pushed}
    replies: list[Message] = []

    def take() -> None:
        for key, found in pulls.finished(POLL):
            reply, usable = taken(found, waiting.pop(key), valid)
            replies.append(reply)
            clock.answered(usable, reply.metadata.src_node_id, pulls.fetched[key])

    with Pulls(grid, Cost.like(sent)) as pulls:
        while waiting and not clock.over():
            pulls.look(set(waiting))
            take()
        pulls.look(set(waiting), again=True)
        end = time.monotonic() + LAST
        while waiting and pulls.busy() and time.monotonic() < end:  # what was there in time
            take()
        unfinished = [waiting[key] for key in pulls.unfinished() if key in waiting]
    return [*replies, *(late(asked, "it was announced, and not there in time") for asked in unfinished)]


def taken(found: Any, asked: Message, valid: Callable[[Message], bool]) -> tuple[Message, bool]:
    """The reply, marked, and whether it can be used."""
    if isinstance(found, superlink.LinkFailed) and found.__cause__ is not None:
        raise found.__cause__
    if isinstance(found, ByzantineError) and not isinstance(found, MalformedUpdate):
        raise found  # Flower is not as expected: not the node's fault
    if isinstance(found, Exception):
        return unreadable(asked, reason(found)), False
    reply = checked(found, asked)
    try:
        return reply, valid(reply)
    except MalformedUpdate as error:
        return unreadable(asked, str(error)), False


def reason(error: Exception) -> str:
    """Why a reply could not be pulled."""
    if isinstance(error, MalformedUpdate):
        return str(error)
    return f"expected a reply, got content that raises {type(error).__name__}: {printable(error, 80)}"


def checked(reply: Any, asked: Message) -> Message:
    """The reply to a message, marked as such, or an `Unreadable` one where it claims to be another's.

    Args:
        reply: whatever came for the message, on a way that vouches for it.
        asked: the message.
    """
    if not isinstance(reply, Message):
        return unreadable(asked, f"expected a reply, got a {type(reply).__name__}")
    if reply.has_error():
        return marked(reply, asked)
    try:
        claims = _claims(reply, asked)
    except Exception as error:
        return unreadable(asked, reason(error))
    return unreadable(asked, claims) if claims else marked(reply, asked)


def _claims(reply: Message, asked: Message) -> str:
    """What a reply claims to be that it is not; "" for an honest one."""
    said, true = reply.metadata, asked.metadata
    if said.reply_to_message_id not in ("", true.message_id):
        return f"it says that it answers message '{printable(said.reply_to_message_id, 40)}', which this node was not sent in this round"
    if said.src_node_id != true.dst_node_id:
        return f"it says that it comes from node {printable(said.src_node_id, 40)}"
    if said.message_type != true.message_type:
        return f"it says that it answers a message of type '{printable(said.message_type, 40)}', and was asked to '{true.message_type}'"
    return ""


def marked(reply: Message, asked: Message) -> Message:
    """The reply with the metadata that are known of it."""
    true = asked.metadata
    known = {"src_node_id": true.dst_node_id, "reply_to_message_id": true.message_id, "message_type": true.message_type}
    return compat.set_metadata(reply, **known)


def unreadable(asked: Message, text: str) -> Message:
    """What stands for a reply that cannot be taken for one."""
    return marked(Message(Unreadable(0, printable(text)), reply_to=asked), asked)


def late(asked: Message, text: str) -> Message:
    """What stands for a reply that is not there in time."""
    return marked(Message(Late(0, printable(text)), reply_to=asked), asked)


def attributed(sent: Sequence[Message], replies: Iterable[Message]) -> list[Message]:
    """The replies of a Grid that vouches for nothing, each for the message that it names; at most one each, others are left out.

    Where messages have no ids the node that a reply names must do.
    """
    by_id = {message.metadata.message_id: message for message in sent if message.metadata.message_id}
    by_node = {message.metadata.dst_node_id: message for message in sent}
    found: dict[int, Message] = {}
    for reply in replies:
        if not isinstance(reply, Message):
            compat.log(WARNING, f"a reply that is a {type(reply).__name__} is left out: nobody knows whose it is")
            continue
        said = reply.metadata
        asked = by_id.get(said.reply_to_message_id) if by_id else by_node.get(said.src_node_id)
        if asked is None or id(asked) in found:
            compat.log(WARNING, f"a reply that says it is node {printable(said.src_node_id, 40)}'s is left out: no message waits for it")
        else:
            found[id(asked)] = checked(reply, asked)
    return list(found.values())
