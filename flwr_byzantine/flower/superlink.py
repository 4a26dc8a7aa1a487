"""Pulling replies from a SuperLink one by one: another part of Flower's inside that is used here, see `flower.compat`.

The SuperLink vouches for the node that a message was sent to, and for the message that a reply was given for. Everything in
the reply is the node's own word: its metadata, its parts, what they say of each other.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from random import SystemRandom
from typing import Any

from flwr.app import Array, Message

from flwr_byzantine.flower.compat import inside
from flwr_byzantine.flower.patience import pause
from flwr_byzantine.flower.uploads import Upload

GRIDS, OBJECTS = "flwr.superlink.grid", "flwr.supercore.inflatable.inflatable_object"
Fetch = Callable[[Upload], list[Any]]  # pulls one reply, counting what it costs; nothing where there is none yet


def is_superlinks(grid: Any) -> bool:
    """Whether a Grid is Flower's own way to a SuperLink, by which a reply's parts come one by one."""
    theirs = inside(f"{GRIDS}.http_grid", "HttpGrid", "is_superlinks")
    return isinstance(grid, theirs) and type(grid).pull_messages is theirs.pull_messages


def make_unguessable(messages: Iterable[Message]) -> None:
    """Shorten each message's time to live by up to a thousandth, at random, so that its id, a hash of it, cannot be guessed.

    A SuperLink takes a reply for that of the node that was asked where its envelope names the message: who could guess the id
    of another node's message could answer it.
    """
    for message in messages:
        message.metadata.ttl *= 1 - SystemRandom().random() / 1000


def announced(grid: Any, keys: Collection[str]) -> dict[str, Fetch]:
    """The replies to some messages: id of the message -> how to pull its reply.

    A SuperLink says who has answered, and vouches for the node; what lies in the reply is the node's own word. Other Grids
    are to be tried, message by message.

    Args:
        grid: a Flower Grid.
        keys: ids of messages that were pushed on it.
    """
    if isinstance(grid, inside(f"{GRIDS}.inmemory_grid", "InMemoryGrid", "announced")):
        return {message.metadata.reply_to_message_id: partial(_at_hand, message) for message in grid.pull_messages(keys)}
    if not is_superlinks(grid):
        return {key: partial(_tried, grid, key) for key in keys}
    request = inside(f"{GRIDS}.http_grid", "PullAppMessagesRequest", "announced")(message_ids=keys)
    answer = grid._runtime_client.PullMessages(request)
    each = zip(answer.messages_list, answer.message_object_trees, strict=True)
    return {
        one.metadata.reply_to_message_id: partial(_pulled, grid, type(answer)(messages_list=[one], message_object_trees=[tree]))
        for one, tree in each
    }


def _at_hand(message: Message, _upload: Upload) -> list[Any]:
    return [message]


def _tried(grid: Any, key: str, _upload: Upload) -> list[Any]:
    return list(grid.pull_messages([key]))


def _pulled(grid: Any, answer: Any, upload: Upload) -> list[Any]:
    """One reply, by Flower's own code on a Grid to whose SuperLink it goes through a `_Metered` client."""
    trees = inside(OBJECTS, "iterate_object_tree", "announced")
    upload.begin(sum(1 for _ in trees(answer.message_object_trees[0])))
    alone = copy.copy(grid)
    alone._client = _Metered(grid._runtime_client, answer, upload)
    return list(alone.pull_messages([answer.messages_list[0].metadata.reply_to_message_id]))


class LinkFailed(Exception):
    """The SuperLink did not answer as it should: no node's fault; the cause is what Flower raised."""


def _linked(call: Callable[[Any], Any], request: Any) -> Any:
    try:
        return call(request)
    except Exception as error:
        raise LinkFailed from error


class _Metered:
    """A SuperLink's client that knows of one reply, and counts its parts before Flower expands them."""

    def __init__(self, client: Any, answer: Any, upload: Upload) -> None:
        self._client, self._answer, self._upload = client, answer, upload
        self._chunks: dict[str, int] = {}
        self._arrays: list[bytes] = []
        self._begun, self._asking = time.monotonic(), threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def PullMessages(self, _request: Any) -> Any:
        return self._answer

    def PullObject(self, request: Any) -> Any:
        response = self._asked(request)
        if response.object_found and not response.object_available:
            response = self._awaited(request)
        content = response.object_content
        kind = content.split(b" ", 1)[0]
        self._upload.took(len(content), kind == b"ArrayChunk")
        if kind == b"ArrayChunk":
            self._chunks[request.object_id] = len(content)
        elif kind == b"Array":
            self._arrays.append(content)
        return response

    def _asked(self, request: Any) -> Any:
        self._upload.wait(0.0)
        return _linked(self._client.PullObject, request)

    def _awaited(self, request: Any) -> Any:
        """A part that is not uploaded yet: Flower pulls several at a time, of which one at a time is asked for again and again."""
        with self._asking:
            while (response := self._asked(request)).object_found and not response.object_available:
                self._upload.wait(pause(self._begun))
        return response

    def ConfirmMessageReceived(self, request: Any) -> Any:
        """All parts are here, and nothing is expanded yet: Flower repeats a chunk as often as an array names it."""
        confirmed = _linked(self._client.ConfirmMessageReceived, request)
        self._upload.expands(sum(map(self._expanded, self._arrays)))
        return confirmed

    def _expanded(self, content: bytes) -> int:
        children = inside(OBJECTS, "get_object_children_ids_from_object_content", "announced")(content)
        body = inside(OBJECTS, "get_object_body", "announced")(content, Array)
        return sum(self._chunks[children[place]] for place in json.loads(body)["arraychunk_ids"])
