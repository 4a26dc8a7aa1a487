"""What makes a wrapper descend: the arguments of its descent, and when a new one takes effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.strategy.base import RobustWrapper
from flwr_byzantine.strategy.steps import Descent

OPTIMISERS = ("eta", "server_learning_rate")  # attributes of Flower's strategies that make a step of their own of the aggregate
DESCENT = ("step_size", "momentum", "normalized", "refresh", "refresh_seed")  # a descent's arguments, as strategies call them


class Descends(RobustWrapper):
    """Mixin: replies are gradients at the broadcast model, and the model moves against their aggregate."""

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            """Set an attribute; a new argument of the descent holds from the next round on, and the velocity stays."""
            before = self.__dict__.get("descent")
            if before is not None and name in DESCENT:
                made = Descent(*(value if own == name else getattr(self, own) for own in DESCENT))
                made.velocity = before.velocity
                self.descent = self.core.step = made
            super().__setattr__(name, value)

    def _server_step(self) -> Descent:
        """The descent, made once: its velocity lasts over the rounds.

        Raises:
            InvalidParameter: clients are to find the last aggregate in the model's step, and an optimiser would make that step.
        """
        self.descent = Descent(*(getattr(self, name) for name in DESCENT))
        if self.descent.refresh is not None and any(hasattr(self.strategy, name) for name in OPTIMISERS):
            raise InvalidParameter(f"ByzantineSGD: refresh needs strategy={self.default.__name__}(), got {type(self.strategy).__name__}")
        return self.descent
