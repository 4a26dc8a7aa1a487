"""Byzantine-resilient SGD, the part that both Flower APIs share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flwr_byzantine.descent import Descent
from flwr_byzantine.kernels import Array
from flwr_byzantine.strategy.checkpoint import Snapshot
from flwr_byzantine.strategy.inspect import Template


class Descending:
    """Mixin for `Robust`: replies are gradients at the broadcast model, and the model moves by `Descent`."""

    def __init__(self, rule: Any, step_size: Any, momentum: float = 0.0, strategy: Any = None, **policy: Any) -> None:
        super().__init__(rule, strategy, **policy)  # type: ignore[call-arg]
        self.descent = Descent(step_size, momentum)
        self._model: list[Array] = []

    def _template_of(self, payloads: Mapping[str, bytes]) -> Template:
        """Replies look like the model, but are vectors of their own, not points near it."""
        template = Template.of(payloads)
        self._model = [origin for origin in template.origins if origin is not None]
        template.origins = [None] * len(template.names)
        return template

    def _next(self, server_round: int, blocks: list[Array]) -> list[Array]:
        return self.descent.step(server_round - 1, self._model, blocks)

    def _add_to(self, snapshot: Snapshot) -> None:
        super()._add_to(snapshot)  # type: ignore[misc]
        snapshot.arrays |= {f"velocity/{k}": block for k, block in enumerate(self.descent.velocity or [])}

    def _restore(self, snapshot: Snapshot) -> None:
        super()._restore(snapshot)  # type: ignore[misc]
        self.descent.velocity = list(snapshot.group("velocity").values()) or None
