"""A strategy that can be saved after each round and taken up again; both Flower APIs share it."""

from __future__ import annotations

from collections.abc import Mapping

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.strategy.checkpoint import Snapshot, arrays_of, load, restore_arrays, save
from flwr_byzantine.strategy.core import Core


class Durable:
    """Mixin for `Robust`: its core's state and the wrapped strategy's arrays, in and out of a checkpoint."""

    core: Core
    _offset = 0  # rounds done before this run, where it resumes another

    def _resumed(self) -> dict[str, Array] | None:
        """The model to go on from, with everything else restored, or None to begin anew."""
        policy = self.core.policy
        snapshot = load(policy.checkpoint) if policy.resume and policy.checkpoint is not None else None
        if snapshot is None:
            return None
        self._offset = snapshot.server_round
        self._restore(snapshot)
        self.core.log(f"resumed after round {self._offset} from {policy.checkpoint}")
        return snapshot.group("model")

    def _save(self, server_round: int, model: Mapping[str, Array]) -> None:
        """Write the checkpoint, where one is wanted."""
        path = self.core.policy.checkpoint
        if path is not None:
            snapshot = Snapshot(server_round, {f"model/{name}": value for name, value in model.items()})
            self._add_to(snapshot)
            save(path, snapshot)

    def _add_to(self, snapshot: Snapshot) -> None:
        self.core.save(snapshot)
        snapshot.arrays |= arrays_of(self._inner(), "inner")

    def _restore(self, snapshot: Snapshot) -> None:
        self.core.restore(snapshot)
        restore_arrays(self._inner(), snapshot.group("inner"))

    def _inner(self) -> object:
        """The wrapped strategy."""
        found: object = vars(self)["strategy"]
        return found
