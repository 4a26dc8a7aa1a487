"""Which replies of a round are valid, why the others are not, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flwr_byzantine.arrays.arrivals import Arrivals
from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.flower.replies import Reply, drop_arrays
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from flwr_byzantine.strategy.template import Template

FEW = 256  # values of each array that are compared before all are
SAME = "all replies are one and the same, so that the rule has nothing to choose from; is it their average, by secure aggregation?"


@dataclass(frozen=True)
class Inspected:
    """The replies of a round after inspection; each by node id, in ascending order.

    Attributes:
        rows: of the valid ones, one flat array per model array.
        replies: the valid ones.
        dropped: what became of the other nodes that were asked.
        ahead: what has worked on the judged arrays already, while replies came one by one.
    """

    rows: dict[int, list[Array]]
    replies: dict[int, Reply]
    dropped: dict[int, NodeReport]
    ahead: Arrivals | None = None


@dataclass(frozen=True)
class Combined:
    """What came of an aggregated round.

    Attributes:
        server_round: its number, earlier runs counted.
        judged: what became of the judged arrays, flat.
        state: what became of the others, flat.
        replies: the valid replies, by node id.
        template: what the model looks like.
        report: of the round, which is published once the strategy below has made a model of the aggregate.
    """

    server_round: int
    judged: list[Array]
    state: list[Array]
    replies: list[Reply]
    template: Template
    report: RoundReport

    @property
    def arrays(self) -> dict[str, Array]:
        """Name -> array of the aggregate as the strategy below gets it: state as it was broadcast, which no optimiser is to move."""
        roles = self.template.roles
        return self.template.unflatten(roles.merged(self.judged, roles.state(self.template.values)))


class Inspector:
    """Inspects replies, each once: on arrival where a Grid shows them, else when the round is aggregated.

    Args:
        make_spill: makes the file to which a round's arrays are moved, or gives None to keep them in memory.
        make_ahead: makes what works on the judged arrays of replies while others are still to come, or gives None.

    Attributes:
        spill: the round's file, where there is one.
        ahead: what has worked on the replies that came one by one, where something has.
    """

    def __init__(self, make_spill: Callable[[], Spill | None], make_ahead: Callable[[Template, Spill | None], Arrivals | None]) -> None:
        self._make_spill, self._make_ahead = make_spill, make_ahead
        self.spill: Spill | None = None
        self.ahead: Arrivals | None = None
        self._decided = False  # whether something is to work on this round's replies as they come
        self._found: dict[int, tuple[Reply, list[Array] | str]] = {}  # by the identity of Flower's object, which the reply keeps alive

    def arrived(self, reply: Reply, template: Template) -> bool:
        """Inspect a reply that came by itself, once, and let work on it begin; true where it is valid."""
        known, found = id(reply.source) in self._found, self._rows(reply, template)
        if not known and not isinstance(found, str):
            self._work_on(reply.node, found, template)
        return not isinstance(found, str)

    def _work_on(self, node: int, found: list[Array], template: Template) -> None:
        if not self._decided:
            self._decided, self.ahead = True, self._make_ahead(template, self.spill)
        if self.ahead is not None:
            self.ahead.add(node, template.roles.judged(found))

    def _rows(self, reply: Reply, template: Template) -> list[Array] | str:
        """A reply's flat arrays, or why there are none; found once."""
        key = id(reply.source)
        if key not in self._found:
            self._found[key] = reply, self._moved(reply, rows_or_reason(reply, template))
        return self._found[key][1]

    def inspect(self, asked: Sequence[int], replies: Iterable[Reply], template: Template) -> Inspected:
        """All replies of a round.

        Args:
            asked: the nodes that were sent the model; where there are none, anybody may have been asked.
            replies: at most one counts for each node.
            template: what they must look like.
        """
        dropped = dict[int, NodeReport]()
        rows, valid = dict[int, list[Array]](), dict[int, Reply]()
        for reply in replies:
            node = reply.node
            if node in rows or (asked and node not in asked):
                dropped.setdefault(node, NodeReport("invalid", "a reply that nobody asked this node for"))
                continue
            found = self._rows(reply, template)
            if isinstance(found, str):
                dropped[node] = NodeReport(reply.status, found)
            else:
                rows[node], valid[node] = found, reply
        lost = {node: dropped.get(node) or NodeReport("missing", "no reply") for node in asked if node not in rows}
        order = sorted(rows)  # arrival does not change a bit
        return Inspected(
            {node: rows[node] for node in order},
            {node: valid[node] for node in order},
            {node: entry for node, entry in (lost | dropped).items() if node not in rows},
            self.ahead,
        )

    def _moved(self, reply: Reply, found: list[Array] | str) -> list[Array] | str:
        """The rows for the rest of the round: where there is a file, in it, and the reply loses its arrays, usable or not."""
        self.spill = self._make_spill() if self.spill is None else self.spill
        if self.spill is None:
            return found
        kept = found if isinstance(found, str) else self.spill.add(found)
        drop_arrays(reply)
        return kept

    def close(self) -> None:
        """Let go of the round's replies, and close its file."""
        if self.ahead is not None:
            self.ahead.close()
        self._found.clear()
        self.ahead, self._decided = None, False
        spill, self.spill = self.spill, None
        if spill is not None:
            spill.close()


def rows_or_reason(reply: Reply, template: Template) -> list[Array] | str:
    """The reply's flat arrays, or why there are none; a sentence, since an exception's frames would keep the replies in memory."""
    if reply.payloads is None:
        return reply.error
    try:
        return template.read(reply.payloads)
    except MalformedUpdate as error:
        return str(error)
    except Exception as error:  # whatever reading a reply raises is that reply's fault
        return f"expected arrays like the model's, got a reply that raises {type(error).__name__}"


def first_of_each(replies: Sequence[Reply], asked: Sequence[int]) -> list[Mapping[str, Any] | None]:
    """The payloads of each node's first reply, of those that were asked where that is known."""
    return list({reply.node: reply.payloads for reply in reversed(replies) if not asked or reply.node in asked}.values())


def evaluations(asked: Sequence[int], replies: Sequence[Reply]) -> tuple[list[Reply], dict[int, NodeReport]]:
    """The replies to an evaluation that can be used, by node, and what became of the other nodes that were asked."""
    known = set(asked) or {reply.node for reply in replies}
    usable = {reply.node: reply for reply in replies if reply.metrics is not None and reply.node in known}
    others = {node: NodeReport("missing", "no reply") for node in asked}
    others |= {reply.node: NodeReport(reply.status, reply.error) for reply in replies}
    return [usable[node] for node in sorted(usable)], {node: others[node] for node in sorted(set(others) - set(usable))}


def one_and_the_same(rows: Sequence[list[Array]], model: list[Array]) -> bool:
    """Whether several replies are equal in every bit and not the broadcast model.

    Honest clients do that on equal data; secure aggregation that hands out the average does it too.

    Args:
        rows: of each reply, one flat array per model array.
        model: the broadcast one's.
    """
    first, *others = rows
    if not others or not all(_equal(first, row, FEW) for row in others):
        return False
    return all(_equal(first, row) for row in others) and not _equal(first, model)


def _equal(row: list[Array], other: list[Array], few: int | None = None) -> bool:
    return all(np.array_equal(mine[:few], theirs[:few]) for mine, theirs in zip(row, other, strict=True))
