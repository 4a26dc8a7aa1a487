"""Attacks by clients that do not train: free riders, and fake clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, OwnAttack
from flwr_byzantine.attacks.own import SignFlip
from flwr_byzantine.attacks.wrapping import WrappingAttack
from flwr_byzantine.declare.params import param


@dataclass(frozen=True)
class DisguisedFreeRider(OwnAttack):
    """The last global step again, under decreasing noise, so that it looks like training; the plain free rider is `Zero`.

    Convention: w_k - w_{k-1} + N(0, (σ k^-γ)²) in round k; in the first round there is no step yet, only noise.

    Args:
        sigma: σ, standard deviation of the noise; None takes that of the coordinates of the first global step seen.
        gamma: γ, how fast the noise decreases.
        delta: whether the last step is sent (Lin et al.); without it the noise alone (Fraboni et al.).

    Source: Fraboni, Vidal, Lorenzi, AISTATS 2021; Lin, Du, Liu, arXiv 1911.12560, 2019.

    Example:
        >>> import numpy as np
        >>> step = AttackContext(round=2, previous=np.array([1.0, -1.0]))
        >>> DisguisedFreeRider(sigma=0.0).vectors(np.zeros((3, 2)), 1, step).tolist()
        [[1.0, -1.0]]
    """

    sigma: float | None = param(None, kind=float, ge=0, optional=True)
    gamma: float = param(1.0, kind=float, ge=0)
    delta: bool = param(True, kind=bool)
    reference: ClassVar[str] = "Fraboni, Vidal, Lorenzi, AISTATS 2021; Lin, Du, Liu, 2019 (arXiv 1911.12560)"

    def own(self, update: Array, context: AttackContext) -> Array:
        """The step and the noise."""
        step = context.previous if self.delta and context.previous is not None else np.zeros_like(update)
        noise = context.rng.normal(0.0, 1.0, len(update))
        return np.asarray(step + self._sigma(context) * context.round**-self.gamma * noise)

    def remember(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """The deviation of the first step."""
        return {} if context.previous is None else {"sigma": np.array(self._sigma(context))}

    def _sigma(self, context: AttackContext) -> float:
        if self.sigma is not None:
            return self.sigma
        return float(context.memory.get("sigma", 0.0 if context.previous is None else context.previous.std()))


@dataclass(frozen=True)
class MPAF(OwnAttack):
    """λ (w' - w): fake clients drag the global model w to one base model w', knowing nothing but the broadcast.

    Convention: w' has independent N(0, std²) coordinates, the same for all fake clients and rounds; where the broadcast is
    not known, w = 0.

    Args:
        lam: λ, how much the step is scaled up (the paper's 10⁶).
        std: standard deviation of the base model's coordinates, in the units of the model.
        which: which base model; attackers with the same number pull to the same one.

    Source: Cao, Gong, CVPR Workshops 2022.

    Example:
        >>> import numpy as np
        >>> near, far = (MPAF(lam=1.0).vectors(np.zeros((3, 2)), 1, AttackContext(broadcast=np.full(2, w))) for w in (0.0, 5.0))
        >>> (near - far).tolist()
        [[5.0, 5.0]]
    """

    lam: float = param(1e6, kind=float, gt=0)
    std: float = param(0.1, kind=float, gt=0)
    which: int = param(0, ge=0)
    reference: ClassVar[str] = "Cao, Gong, CVPR Workshops 2022"

    def own(self, update: Array, context: AttackContext) -> Array:
        """Towards the base model."""
        base = np.random.default_rng(self.which).normal(0.0, self.std, len(update))
        return np.asarray(self.lam * (base - (0.0 if context.broadcast is None else context.broadcast)))


@dataclass(frozen=True)
class Sybil(WrappingAttack):
    """Many identities of one attacker: all send what `attack` makes of the first one's update, a little noise apart.

    Convention: a Grid lets all attackers see the first one's update; a client that mounts it alone sends its own, so that
    Sybils are clients with the same data.

    Args:
        attack: what is done with the update.
        noise: norm of each identity's Gaussian noise relative to the update's, against defences that look for twins.

    Source: Fung, Yoon, Beschastnikh, RAID 2020.

    Example:
        >>> import numpy as np
        >>> Sybil()(np.array([[1.0, 2.0], [7.0, 7.0]]), 2).tolist()
        [[-1.0, -2.0], [-1.0, -2.0]]
    """

    attack: OwnAttack = param(SignFlip(), kind=OwnAttack)  # noqa: RUF009
    noise: float = param(0.0, kind=float, ge=0)
    pools: ClassVar[bool] = True
    reference: ClassVar[str] = "Fung, Yoon, Beschastnikh, RAID 2020"

    def own(self, update: Array, context: AttackContext) -> Array:
        """The same vector, and noise."""
        sent = self.attack.own(update, context)
        scale = self.noise * np.linalg.norm(sent) / np.sqrt(len(sent))
        return np.asarray(sent + context.rng.normal(0.0, scale, len(sent))) if scale > 0 else sent
