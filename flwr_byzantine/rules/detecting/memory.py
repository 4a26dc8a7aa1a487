"""A detector's memory of senders: one entry for each, bounded, those not seen for longest forgotten first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from flwr_byzantine.arrays.typing import Array


@dataclass(frozen=True)
class Senders:
    """What is known of senders: arrays with one entry for each, in ascending order of their ids.

    Attributes:
        nodes: (k,) uint64 ids, ascending.
        seen: (k,) int64 round in which each was last seen.
        known: name -> (k, ...) array, one entry for each.

    Example:
        >>> one = Senders().after(np.array([9, 4], np.uint64), 0, {"score": np.array([0.9, 0.4])}, most=2)
        >>> two = one.after(np.array([7], np.uint64), 1, {"score": np.array([0.7])}, most=2)
        >>> two.nodes.tolist(), two.known["score"].tolist()
        ([4, 7], [0.4, 0.7])
    """

    nodes: Array = field(default_factory=lambda: np.zeros(0, np.uint64))
    seen: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    known: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Senders:
        """From what `arrays` gave, and perhaps others of other names; nobody where there is nothing."""
        if "nodes" not in arrays:
            return cls()
        known = {name.removeprefix("known."): value for name, value in arrays.items() if name.startswith("known.")}
        return cls(arrays["nodes"], arrays["seen"], known)

    def arrays(self) -> dict[str, Array]:
        """All of it by name, to be kept in a state."""
        return {"nodes": self.nodes, "seen": self.seen, **{f"known.{name}": value for name, value in self.known.items()}}

    def places(self, ids: Array) -> tuple[Array, Array]:
        """Which of these senders are known, (n,) bool; and the entries of those that are, in the order of `ids`."""
        at = np.searchsorted(self.nodes, ids)
        inside = at < len(self.nodes)
        inside[inside] = self.nodes[at[inside]] == ids[inside]
        return inside, at[inside]

    def recall(self, name: str, ids: Array, fresh: Array) -> Array:
        """(n, ...) entries of these senders; `fresh` (n, ...) has those of the senders that are not known."""
        inside, at = self.places(ids)
        found = np.array(fresh)
        if inside.any() and name in self.known:
            found[inside] = self.known[name][at]
        return found

    def recall_seen(self, ids: Array, fresh: int) -> Array:
        """(n,) round in which each of these senders was last seen; `fresh` for those that are not known."""
        inside, at = self.places(ids)
        found = np.full(len(ids), fresh, np.int64)
        found[inside] = self.seen[at]
        return found

    def recall_aligned(self, name: str, ids: Array, blank: Array, now: int) -> Array:
        """(n, window, ...) series of these senders, one entry a round, the last round's at the end; NaN in rounds without them."""
        found, seen = self.recall(name, ids, blank), self.recall_seen(ids, now - 1)
        for i in np.flatnonzero(seen < now - 1):
            away = min(int(now - 1 - seen[i]), found.shape[1])
            found[i] = np.concatenate([found[i, away:], np.full_like(found[i, :away], np.nan)])
        return found

    def after(self, ids: Array, round: int, values: Mapping[str, Array], most: int) -> Senders:
        """The same after a round in which these senders were seen, with their entries as they are now.

        Those not seen for longest are forgotten first, and among those last seen in one round the largest ids, so that `most` stay.
        """
        stay = ~np.isin(self.nodes, ids)
        nodes = np.concatenate([self.nodes[stay], ids])
        seen = np.concatenate([self.seen[stay], np.full(len(ids), round, np.int64)])
        kept = np.sort(np.lexsort((nodes, -seen))[:most])
        kept = kept[np.argsort(nodes[kept])]
        joined = {name: np.concatenate([self.known[name][stay], value]) if len(self.nodes) else value for name, value in values.items()}
        return Senders(nodes[kept], seen[kept], {name: value[kept] for name, value in joined.items()})
