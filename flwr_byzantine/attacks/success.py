"""How well an attack on data succeeds: its success rate on test examples."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from flwr_byzantine.arrays.conversion import as_numpy
from flwr_byzantine.attacks.base import Attack
from flwr_byzantine.attacks.data import DataAttack
from flwr_byzantine.errors import InvalidParameter


def attack_success_rate(model: Any, attack: Attack, x: Any, y: Any, num_classes: int) -> float:
    """Share of the attack's test examples, in [0, 1], that the model classifies as the attacker wants.

    Args:
        model: a torch module, or a function, from (k, ...) examples to (k, num_classes) scores or (k,) labels. A module
            is evaluated without gradients, in evaluation mode, on all examples at once; its mode is the same afterwards.
        attack: a data attack: a backdoor, or `LabelFlip`.
        x: (n, ...) clean test examples.
        y: (n,) their labels.
        num_classes: number of classes.

    Returns:
        The share; NaN where there are no such examples, as always for `DynamicLabelFlip`, which wants no particular label.

    Raises:
        InvalidParameter: the attack is not one on data.

    Source: Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020 ("backdoor accuracy").

    Example:
        >>> from flwr_byzantine import attacks
        >>> x, y = np.zeros((3, 4)), np.array([0, 1, 2])
        >>> attack_success_rate(lambda x: np.zeros(len(x), int), attacks.Backdoor(target=0, patch=1), x, y, 3)
        1.0
    """
    if not isinstance(attack, DataAttack):
        raise InvalidParameter(f"attack_success_rate needs an attack on data, e.g. attacks.Backdoor(), got {attack!r}")
    shown, wanted = attack.triggered(x, y, num_classes)
    if not len(shown):
        return float("nan")
    answers = as_numpy(predictor(model)(shown))
    labels = answers.argmax(axis=-1) if answers.ndim == 2 else answers
    return float(np.mean(labels == as_numpy(wanted)))


def predictor(model: Any) -> Callable[[Any], Any]:
    """The model as a function from examples to scores.

    A torch module is called in evaluation mode and without gradients, with examples brought to the device and dtype of its
    parameters (not tokens, which an embedding looks up); anything else is returned as it is.

    Example:
        >>> predictor(len)([1, 2])
        2
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        scores: Callable[[Any], Any] = model
        return scores

    reads_tokens = any(isinstance(part, torch.nn.Embedding) for part in model.modules())

    def predict(x: Any) -> Any:
        first = next(model.parameters(), None)
        given = x if first is None else torch.as_tensor(x).to(first.device, None if reads_tokens else first.dtype)
        training = model.training
        try:
            with torch.no_grad():
                return model.eval()(given)
        finally:
            model.train(training)

    return predict
