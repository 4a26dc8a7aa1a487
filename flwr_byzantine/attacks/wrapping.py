"""An attack around another one."""

from __future__ import annotations

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, OwnAttack
from flwr_byzantine.errors import InvalidParameter


class WrappingAttack(OwnAttack):
    """An own-knowledge attack that uses another one, its field `attack`, and keeps that one's memory.

    Raises:
        InvalidParameter: `attack` poisons training data, which happens before there is an update.
    """

    attack: OwnAttack

    def __post_init__(self) -> None:
        """Check the fields; what is sent is finite where the inner attack's is."""
        super().__post_init__()
        if self.attack.poisons:
            raise InvalidParameter(f"{type(self).__name__}: attack must act on updates, got {self.attack!r}, which poisons training data")
        object.__setattr__(self, "finite", self.attack.finite)

    def remember(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """What the inner attack remembers."""
        return self.attack.remember(honest, f, context)
