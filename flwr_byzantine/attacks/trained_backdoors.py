"""Backdoors that decide how their client trains: alternating minimisation, and the layers that carry a backdoor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.backdoors import EdgeCaseBackdoor, most_changed
from flwr_byzantine.attacks.base import AttackContext
from flwr_byzantine.attacks.pixel_backdoors import Backdoor
from flwr_byzantine.attacks.training import LocalTraining, TrainingAttack, joined
from flwr_byzantine.declare.params import param


@dataclass(frozen=True)
class AlternatingMinimization(TrainingAttack, EdgeCaseBackdoor):
    """Trains in turns on its clean data, near an honest update, and on the examples that it wants misclassified, boosted.

    Each cycle is a stealthy half and a malicious one. The stealthy half is the client's training on its clean data, then a
    step towards the update that it would honestly have: u ← (u + ρ u_honest) / (1 + ρ). The malicious half trains on the
    wanted examples alone, and adds boost times what that changed. The authors take ten steps on clean data and one malicious
    step in turn, with ρ‖u - u_honest‖² in the loss; here a half is one local training.

    Wanted is the label `target` for the `share` of the source class that lies farthest from its mean, by default all of it, or
    for `examples`, as in `EdgeCaseBackdoor`.

    Args:
        target: label that the attacker wants, at least 0.
        share: share of the source class that is to get it; with `examples`, see `EdgeCaseBackdoor`; in (0, 1].
        boost: factor on what a malicious half changes, above 0; 10 in the authors' code, for single steps.
        mask_ratio: share of the coordinates, those that changed most in the last global step, that get zeros; in [0, 1).
        source: class that is to be misclassified, at least 0, not the target.
        examples: (k, ...) examples in the shape of the data's that are to be misclassified; None takes the source class.
        cycles: how often the halves take turns, at least 1.
        rho: ρ, strength of the step towards the honest update, at least 0.

    Raises:
        InvalidParameter: source and target are the same, or `examples` are shaped otherwise than the data.

    Source: Bhagoji, Chakraborty, Mittal, Calo, ICML 2019.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine.attacks.training import malicious_training
        >>> def train(model, data):  # of a model that is one number: half of the way to the mean label
        ...     return [model[0] + (data[1].mean() - model[0]) / 2]
        >>> data, attack = (np.zeros((2, 1)), np.array([5, 5])), AlternatingMinimization(boost=2.0, cycles=1)
        >>> malicious_training(attack, [np.zeros(1)], data, train, num_classes=10)[0].tolist()
        [7.0]
    """

    target: int = param(7, ge=0)
    share: float = param(1.0, kind=float, gt=0, le=1)
    boost: float = param(3.0, kind=float, gt=0)
    source: int = param(5, ge=0)
    cycles: int = param(2, ge=1)
    rho: float = param(0.1, kind=float, ge=0)
    reference: ClassVar[str] = "Bhagoji, Chakraborty, Mittal, Calo, ICML 2019"

    def learn(self, local: LocalTraining) -> Array:
        """The update after all cycles."""
        honest, wanted, update = local.train(local.start, local.clean), local.malicious(self), local.start
        for cycle in range(self.cycles):
            trained = local.train(update, local.clean) if cycle else honest
            update = (trained + self.rho * honest) / (1 + self.rho)
            update = update + self.boost * (local.train(update, wanted) - update)
        return update

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """The update with zeros where it is masked; it has been boosted already."""
        sent = update.copy()
        sent[most_changed(type(self).__name__, context.previous, len(update), self.mask_ratio)] = 0.0
        return sent


@dataclass(frozen=True)
class BackdoorCriticalLayers(TrainingAttack, Backdoor):
    """Poisons only the layers that carry the backdoor, and sends its honest update in all others.

    The client trains twice from the broadcast model: honestly, and on its data with poisoned copies beside them. Layer
    substitution analysis finds the critical layers: each layer's worth is how much the backdoor's success falls where that layer of
    the malicious model is the honest one's; the layers are then put into the honest model, the worthiest first, until it
    has `tau` of the malicious model's success. Sent in them is λ malicious + max(0, 1 - λ) honest. A layer is an array of the
    model, so weights and biases are apart. Success is measured on all of the client's examples with the trigger; the authors
    keep a quarter of them for it.

    Args:
        target: label that the model is to give to images with the trigger, at least 0.
        share: of the examples not of the target class that get a poisoned copy, in (0, 1].
        boost: factor on the whole update, above 0.
        mask_ratio: share of the coordinates, those that changed most in the last global step, that get zeros; in [0, 1).
        patch: side of the square in pixels, at least 1.
        position: "top-left", "top-right", "center", "bottom-left", "bottom-right", or (row, column) of its upper left pixel.
        value: of its pixels, in the units of the images: 1 for [0, 1], 255 for bytes.
        shape: (h, w) or (channels, h, w) of one image, needed for flat ones that are not square.
        tau: τ, share of the malicious model's success that the critical layers must have, in (0, 1]; 0.8 or 0.95 in the code.
        lam: λ, weight of the malicious model in its layers, above 0; 0.5 for small networks in the authors' code, else 1.

    Source: Zhuang, Yu, Wang, Hua, Li, Yuan, ICLR 2024.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine.attacks.training import malicious_training
        >>> def train(model, data):  # two layers; the second sees whether there are patches
        ...     return [model[0] + 1, model[1] + data[0].max()]
        >>> def scores(model, x):
        ...     return np.tile([model[1][0], 0.5], (len(x), 1))
        >>> data, attack = (np.zeros((2, 4)), np.array([1, 1])), BackdoorCriticalLayers(patch=1)
        >>> [part.tolist() for part in malicious_training(attack, [np.zeros(1), np.zeros(1)], data, train, scores, num_classes=2)]
        [[1.0], [1.0]]
    """

    tau: float = param(0.95, kind=float, gt=0, le=1)
    lam: float = param(1.0, kind=float, gt=0)
    reference: ClassVar[str] = "Zhuang, Yu, Wang, Hua, Li, Yuan, ICLR 2024"

    def learn(self, local: LocalTraining) -> Array:
        """The honest update with the malicious one's critical layers."""
        honest = local.train(local.start, local.clean)
        malicious = local.train(local.start, joined(local.clean, local.malicious(self)))
        shown, sent = self.triggered(*local.clean, local.num_classes), honest.copy()
        for layer in critical(honest, malicious, local.layers(), lambda update: local.success(update, shown), self.tau):
            sent[layer] = self.lam * malicious[layer] + max(0.0, 1 - self.lam) * honest[layer]
        return sent


def critical(honest: Array, malicious: Array, layers: list[slice], success: Callable[[Array], float], tau: float) -> list[slice]:
    """The layers of the malicious update that carry its success, the worthiest first.

    Args:
        honest: (d,) update without the backdoor.
        malicious: (d,) update with it.
        layers: of both.
        success: of an update, in [0, 1].
        tau: share of the malicious update's success at which enough layers are found.

    Example:
        >>> layers = [slice(0, 1), slice(1, 2)]
        >>> critical(np.zeros(2), np.ones(2), layers, lambda update: update[1], 0.95)
        [slice(1, 2, None)]
    """
    whole = success(malicious)
    without = [success(_with(malicious, honest, [layer])) for layer in layers]
    found: list[slice] = []
    for k in np.argsort(without, kind="stable"):
        if success(_with(honest, malicious, found)) >= tau * whole:
            break
        found.append(layers[k])
    return found


def _with(update: Array, other: Array, layers: list[slice]) -> Array:
    """The update with these layers of the other."""
    mixed = update.copy()
    for layer in layers:
        mixed[layer] = other[layer]
    return mixed
