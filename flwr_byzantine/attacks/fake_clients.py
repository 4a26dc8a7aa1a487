"""Attacks by clients that do not train: free riders, and clients that an attacker makes up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, OwnAttack, WrappingAttack
from flwr_byzantine.attacks.simple import SignFlip
from flwr_byzantine.declare.params import param


@dataclass(frozen=True)
class DisguisedFreeRider(OwnAttack):
    """Sends the last global step again, with noise that decreases over the rounds, so that it looks like training.

    In round k it sends w_k - w_{k-1} + N(0, (σ k^-γ)²); in its first round, where there is no step yet, only noise. It
    knows the broadcast models alone. A free rider that does not hide is `Zero`.

    Args:
        sigma: σ, standard deviation of the noise, at least 0; None takes that of the coordinates of the first global step
            that the attacker sees.
        gamma: γ, how fast the noise decreases, at least 0.
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

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """The last global step, and noise."""
        step = context.previous if self.delta and context.previous is not None else np.zeros_like(update)
        noise = context.rng.normal(0.0, 1.0, len(update))
        return np.asarray(step + self._sigma(context) * context.round**-self.gamma * noise)

    def next_memory(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """σ, from the first global step that was seen."""
        return {} if context.previous is None else {"sigma": np.array(self._sigma(context))}

    def _sigma(self, context: AttackContext) -> float:
        if self.sigma is not None:
            return self.sigma
        return float(context.memory.get("sigma", 0.0 if context.previous is None else context.previous.std()))


@dataclass(frozen=True)
class MPAF(OwnAttack):
    """Sends λ (w' - w): made-up clients drag the global model w towards one random base model w'.

    They know nothing but the broadcast model. The coordinates of w' are drawn independently from N(0, std²), and are the
    same for all these clients in all rounds. Where the broadcast model is not known, w = 0.

    Args:
        lam: λ, how much the step is scaled up, above 0; the paper's is 10⁶.
        std: standard deviation of the base model's coordinates, in the units of the model, above 0.
        which: number of the base model, at least 0: attackers with the same number pull towards the same one.

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

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """λ (w' - w)."""
        base = np.random.default_rng(self.which).normal(0.0, self.std, len(update))
        return np.asarray(self.lam * (base - (0.0 if context.broadcast is None else context.broadcast)))


@dataclass(frozen=True)
class Sybil(WrappingAttack):
    """Many identities of one attacker: all send what `attack` makes of one update, each with a little noise.

    On an `AdversarialGrid` all attackers start from the honest update of the first of them. A client that mounts this
    attack by itself sees its own update only; Sybils are then clients with the same data.

    Args:
        attack: what is done with the update; any own-knowledge attack that is not on data.
        noise: expected norm of each identity's Gaussian noise relative to the norm of what is sent, at least 0; it is meant
            to mislead defences that look for updates that are alike.

    Source: Fung, Yoon, Beschastnikh, RAID 2020.

    Example:
        >>> import numpy as np
        >>> Sybil()(np.array([[1.0, 2.0], [7.0, 7.0]]), 2).tolist()
        [[-1.0, -2.0], [-1.0, -2.0]]
    """

    attack: OwnAttack = param(SignFlip(), kind=OwnAttack)
    noise: float = param(0.0, kind=float, ge=0)
    shares_update: ClassVar[bool] = True
    reference: ClassVar[str] = "Fung, Yoon, Beschastnikh, RAID 2020"

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """What the inner attack sends, and noise."""
        sent = self.attack.malicious_update(update, context)
        scale = self.noise * np.linalg.norm(sent) / np.sqrt(len(sent))
        return np.asarray(sent + context.rng.normal(0.0, scale, len(sent))) if scale > 0 else sent
