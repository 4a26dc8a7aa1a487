"""3DFed: a backdoor of several attackers that reads from the global model whether they were accepted, and adapts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext
from flwr_byzantine.attacks.pixel_backdoors import Backdoor
from flwr_byzantine.attacks.training import LocalTraining, TrainingAttack, joined
from flwr_byzantine.declare.params import param

REJECTED, CLIPPED, ACCEPTED, NOISY = range(4)  # what an attacker reads from its indicator
CLIP, MARK = 0.8, 3.0  # an indicator that says less than this share of its most was clipped; its size in average coordinates
NEURONS, STEPS, RATE = 8, 30, 0.1  # of the noise masks: output neurons that get one, steps of their optimisation, its step size


@dataclass(frozen=True)
class ThreeDFed(TrainingAttack, Backdoor):
    """3DFed: constrained backdoor training, indicators that tell who was accepted, noise masks that cancel, and decoys.

    **Training**: on clean data and poisoned copies, held to the length of the update that the client would honestly have. The paper
    adds the distance to the broadcast model to the loss and scales up what is too short; here the update is brought to
    that length after each of two local trainings.

    **Indicator**: attacker i puts a value, of the size of an average one, on the coordinate that is i-th quietest in the last global
    step. In the next round that coordinate of the global step, over the value, says: at most `threshold`, rejected; at most
    0.8 of the most that it has been, clipped; above 1 or below -threshold, the server adds noise, and tuning ends; else accepted.
    The paper takes coordinates of small update and small curvature; one that does not move in training is flat.

    **Noise masks**: on the weights of up to eight output neurons other than the target's, noise N_i with ΣN_i = 0 over the
    `colluders`, which lowers α Σ 1/energy + (1 - α)‖N_i‖, energy = Σ|weights of a neuron's update|. So each attacker's output
    layer looks different and busy, and the average is that without masks. A rejected attacker draws α anew from (alpha, 1).

    **Decoys**: the last `decoys` attackers, once rejected, send the last global step with one quiet coordinate far off, so that the
    others look like the majority; accepted, they attack again.

    The paper's attacker sees all of its clients. Here each acts by itself, on what all of them know: the last global step,
    `which`, and their numbers; so masks cancel while all are treated alike. There are masks and indicators from the second round on.

    Args:
        target: label that the model is to give to images with the trigger, at least 0.
        share: of the examples not of the target class that get a poisoned copy, in (0, 1].
        boost: factor on the trained update, above 0.
        mask_ratio: share of the coordinates, those that changed most in the last global step, that get zeros; in [0, 1).
        patch: side of the square in pixels, at least 1.
        position: "top-left", "top-right", "center", "bottom-left", "bottom-right", or (row, column) of its upper left pixel.
        value: of its pixels, in the units of the images: 1 for [0, 1], 255 for bytes.
        shape: (h, w) or (channels, h, w) of one image, needed for flat ones that are not square.
        colluders: number of attackers whose masks cancel, at least 1: those whose numbers, partition ids, differ modulo it.
        alpha: least α of the noise masks, in [0, 1).
        decoys: how many attackers may become decoys, at least 0.
        threshold: share of the indicator's value up to which it says rejected, in (0, 1).
        which: number of the group's shared randomness, at least 0.

    Source: Li, Ye, Hu, Li, Wang, Fang, Shi, IEEE S&P 2023.

    Example:
        >>> import numpy as np
        >>> context = AttackContext(round=2, previous=np.array([3.0, 0.0, -2.0, 1.0]))
        >>> bool(ThreeDFed(alpha=0.5).malicious_update(np.zeros(4), context)[1] > 1)  # its indicator, on the quietest coordinate
        True
    """

    colluders: int = param(4, ge=1)
    alpha: float = param(0.0, kind=float, ge=0, lt=1)
    decoys: int = param(1, ge=0)
    threshold: float = param(1e-3, kind=float, gt=0, lt=1)
    which: int = param(0, ge=0)
    reference: ClassVar[str] = "Li, Ye, Hu, Li, Wang, Fang, Shi, IEEE S&P 2023"

    def learn(self, local: LocalTraining) -> Array:
        """The backdoored update, as long as an honest one."""
        length = float(np.linalg.norm(local.train(local.start, local.clean)))
        update, data = local.start, joined(local.clean, local.malicious(self))
        for _ in range(2):
            trained = local.train(update, data)
            update = trained * (length / max(float(np.linalg.norm(trained)), np.finfo(float).tiny))
        return update

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """The trained update under its noise mask, or a decoy; with the indicator, once there is a global step."""
        sent, step = super().malicious_update(update, context), context.previous
        if step is None or len(step) != len(update):
            return sent
        notes, rank = self.next_memory(update[None], 1, context), context.attacker % self.colluders
        if notes["decoy"]:
            sent = step.copy()
            sent[_quiet(step, self.colluders + rank)] = np.linalg.norm(step)
        else:
            sent += self._mask(step, context, rank, float(notes["alpha"]))
        sent[int(notes["index"])] = notes["value"]
        return np.asarray(sent)

    def next_memory(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """Place and value of the indicator and the most that it has said; α; whether this is a decoy, whether the server is noisy."""
        step, past = context.previous, context.memory
        if step is None or len(step) != honest.shape[1]:
            return dict(past)
        told, rank = "value" in past, context.attacker % self.colluders
        said = step[int(past["index"])] / past["value"] if told else 0.0
        verdict = self.verdict(float(said), float(past["most"])) if told else ACCEPTED
        noisy = verdict == NOISY or bool(past.get("noisy", False))
        drawn = np.random.default_rng([self.which, context.round, 1]).uniform(self.alpha, 1.0)
        values = {
            "index": _quiet(step, rank),
            "value": MARK * float(np.sqrt(np.mean(step**2))) or 1.0,
            "most": max(said, past.get("most", 0.0)),
            "alpha": self.alpha if noisy else drawn if not told or verdict == REJECTED else past["alpha"],
            "decoy": not noisy and verdict in (REJECTED, CLIPPED) and rank >= self.colluders - self.decoys,
            "noisy": noisy,
        }
        return {name: np.asarray(value) for name, value in values.items()}

    def verdict(self, said: float, most: float) -> int:
        """What became of the attacker, from what its indicator says and the most that it has said.

        Example:
            >>> [ThreeDFed().verdict(said, most=0.1) for said in (0.0, 0.02, 0.1, 1.5)] == [REJECTED, CLIPPED, ACCEPTED, NOISY]
            True
        """
        if said > 1.01 or said < -self.threshold:
            return NOISY
        return REJECTED if said <= self.threshold else CLIPPED if said <= CLIP * most else ACCEPTED

    def _mask(self, step: Array, context: AttackContext, rank: int, alpha: float) -> Array:
        """(d,) this attacker's noise, on the output neurons' weights; zeros where the model's layout is not known."""
        mask, rng = np.zeros_like(step), np.random.default_rng([self.which, context.round])
        neurons = output_neurons(context.layout)
        others = [k for k in range(len(neurons)) if k != self.target]
        chosen = np.sort(rng.permutation(others)[:NEURONS]).astype(int)
        if len(chosen):
            places = neurons[chosen]
            mask[places] = noise_masks(step[places], self.colluders, alpha, rng)[rank]
        return mask


def _quiet(step: Array, rank: int) -> int:
    """The coordinate that moved least, or the one of that rank; of equals the first ones."""
    return int(np.argsort(np.abs(step), kind="stable")[rank % len(step)])


def output_neurons(layout: Mapping[str, tuple[int, ...]]) -> Array:
    """(neurons, inputs) places, in the flat model, of the weights of the last array of two axes or more.

    Example:
        >>> output_neurons({"hidden": (3, 2), "weight": (2, 3), "bias": (2,)}).tolist()
        [[6, 7, 8], [9, 10, 11]]
    """
    places, start = np.zeros((0, 0), dtype=np.int64), 0
    for shape in layout.values():
        size = math.prod(shape)
        if len(shape) > 1 and size:
            places = np.arange(start, start + size).reshape(shape[0], -1)
        start += size
    return places


def noise_masks(rows: Array, count: int, alpha: float, rng: np.random.Generator) -> Array:
    """(count, m, w) noise for the (m, w) weights of neurons, of sum zero, as large as they are on average to begin with.

    By projected gradient descent, in units of the average weight, on α Σ w / energy + (1 - α) ‖N‖, see `ThreeDFed`.
    The paper penalises the sum by a multiplier in place of the projection.

    Example:
        >>> masks = noise_masks(np.ones((2, 5)), 3, 0.5, np.random.default_rng(0))
        >>> masks.shape, bool(abs(masks.sum(axis=0)).max() < 1e-9)
        ((3, 2, 5), True)
    """
    size = float(np.sqrt(np.mean(rows**2)))
    if size == 0:
        return np.zeros((count, *rows.shape))
    noise = rng.normal(size=(count, *rows.shape))
    for step in range(STEPS + 1):
        noise -= noise.mean(axis=0)
        if step < STEPS:
            noise -= RATE * _slope(rows / size, noise, alpha)
    return size * noise


def _slope(rows: Array, noise: Array, alpha: float) -> Array:
    """The gradient of the noise masks' loss."""
    moved, tiny = rows + noise, np.finfo(float).tiny
    energy = np.maximum(np.abs(moved).sum(axis=-1, keepdims=True), 1.0)
    length = np.sqrt((noise**2).sum(axis=(-2, -1), keepdims=True))
    return np.asarray((1 - alpha) * noise / np.maximum(length, tiny) - alpha * rows.shape[-1] * np.sign(moved) / energy**2)
