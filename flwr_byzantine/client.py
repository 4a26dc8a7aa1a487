"""What an honest client of `ByzantineSGD` does: it computes a stochastic gradient of a PyTorch loss and sends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict

from flwr_byzantine.arrays.typing import Array as NDArray
from flwr_byzantine.declare.extras import needed_by
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower.codec import pack, unpack
from flwr_byzantine.strategy.metrics import NOISE_KEY
from flwr_byzantine.theory import momentum_variance_factor

with needed_by(__name__):
    import torch

AVERAGED = "averaged"
STATE_KEY = "flwr-byzantine.momentum"
Loss = Callable[[torch.nn.Module, Any], torch.Tensor]


@dataclass(frozen=True)
class Gradient:
    """A client's gradient, and what came with it.

    Attributes:
        arrays: name -> array like the model's state_dict; buffers and frozen parameters get zeros, so that they stay as broadcast.
        loss: mean over the batches.
        noise: estimate of E‖G - E G‖² of `arrays` from the spread of the batches, None for a single one.
    """

    arrays: dict[str, NDArray]
    loss: float
    noise: float | None


def gradient(
    model: torch.nn.Module,
    loss: Loss,
    batches: Iterable[Any],
    *,
    context: Context | None = None,
    momentum: float = 0.0,
    momentum_form: str = AVERAGED,
    reduction: str = "mean",
) -> Gradient:
    """The stochastic gradient at the model as it is; the model's parameters are not changed.

    Args:
        model: holds the broadcast parameters.
        loss: function of model and batch, a scalar tensor.
        batches: one or a few; with two or more, the noise is estimated too, which `certificate=True` uses.
        context: the client's, which keeps the momentum between rounds; needed where `momentum` is above 0.
        momentum: β of worker momentum from m = 0, sent in place of G; in [0, 1).
        momentum_form: "averaged", m ← βm + (1 - β)G, or "sum", m ← βm + G as torch.optim.SGD, 1 / (1 - β) times as long.
        reduction: "mean" over the batches, or their "sum".

    Raises:
        InvalidParameter: no batch, or momentum without a context.

    Source: worker momentum: El-Mhamdi, Guerraoui, Rouault, ICLR 2021.

    Example:
        >>> net = torch.nn.Linear(2, 1, bias=False)
        >>> found = gradient(net, lambda net, x: net(x).sum(), [torch.ones(1, 2), 3 * torch.ones(1, 2)])
        >>> found.arrays["weight"].tolist(), found.noise
        ([[2.0, 2.0]], 2.0)
    """
    check("gradient", "momentum", momentum, Constraint(float, ge=0, lt=1))
    check("gradient", "momentum_form", momentum_form, Constraint(str, choices=(AVERAGED, "sum")))
    check("gradient", "reduction", reduction, Constraint(str, choices=("mean", "sum")))
    rows, losses = _rows(model, loss, batches)
    stack = np.array([np.concatenate([array.ravel() for array in row.values()]) for row in rows])
    noise = float(stack.var(axis=0, ddof=1).sum()) / len(rows) if len(rows) > 1 else None
    scale = len(rows) if reduction == "sum" else 1
    arrays = {name: scale * np.mean([row[name] for row in rows], axis=0, dtype=row_type(rows[0][name])) for name in rows[0]}
    fresh = 1 - momentum if momentum_form == AVERAGED else 1.0
    if momentum > 0:
        arrays = _with_momentum(context, arrays, momentum, fresh)
    factor = (scale * fresh / (1 - momentum)) ** 2 * momentum_variance_factor(momentum)
    shaped = {name: np.asarray(arrays[name], dtype=rows[0][name].dtype) for name in arrays}
    return Gradient(shaped, float(np.mean(losses)), None if noise is None else noise * factor)


def row_type(array: NDArray) -> Any:
    """The dtype in which gradients of this array's dtype are averaged: float32 or wider."""
    return np.float64 if array.dtype == np.float64 else np.float32


def _rows(model: torch.nn.Module, loss: Loss, batches: Iterable[Any]) -> tuple[list[dict[str, NDArray]], list[float]]:
    rows, losses = [], []
    for batch in batches:
        model.zero_grad(set_to_none=True)
        value = loss(model, batch)
        value.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        rows.append(_like_state(model))
        losses.append(value.item())
    model.zero_grad(set_to_none=True)
    if not rows:
        raise InvalidParameter("gradient needs at least one batch, got none")
    return rows, losses


def _like_state(model: torch.nn.Module) -> dict[str, NDArray]:
    """The gradients under the names of the state_dict, zeros where there is none."""
    gradients = {name: value.grad for name, value in model.named_parameters(remove_duplicate=False)}
    found = {name: (gradients.get(name), value) for name, value in model.state_dict().items()}
    return {name: (torch.zeros_like(value) if grad is None else grad).cpu().numpy() for name, (grad, value) in found.items()}


def _with_momentum(context: Context | None, arrays: Mapping[str, NDArray], beta: float, fresh: float) -> dict[str, NDArray]:
    """β times the momentum of the last round plus `fresh` times these gradients; kept in the context for the next round."""
    if context is None:
        raise InvalidParameter("gradient: momentum is kept in the client's context.state; pass context=")
    old = context.state.array_records.get(STATE_KEY)
    previous = {} if old is None else {name: unpack(array.data) for name, array in old.items()}
    mixed = {name: fresh * value + beta * previous.get(name, np.zeros_like(value)) for name, value in arrays.items()}
    context.state[STATE_KEY] = pack({name: np.asarray(value) for name, value in mixed.items()})
    return mixed


def gradient_reply(
    message: Message,
    context: Context,
    model: torch.nn.Module,
    loss: Loss,
    batches: Iterable[Any],
    *,
    momentum: float = 0.0,
    momentum_form: str = AVERAGED,
    reduction: str = "mean",
    metrics: Mapping[str, Any] | None = None,
) -> Message:
    """The whole `@app.train()` function of a client: loads the broadcast model, answers with the gradient there.

    Args:
        message: the training message of `ByzantineSGD`.
        context: the client's.
        model: any module with the broadcast model's state_dict.
        loss: as for `gradient`.
        batches: as for `gradient`.
        momentum: as for `gradient`.
        momentum_form: as for `gradient`.
        reduction: as for `gradient`.
        metrics: further metrics of the reply; "loss" is there already, and "num-examples" where it is not given is 1.

    Example:
        >>> from flwr.clientapp import ClientApp
        >>> app = ClientApp()
        >>> @app.train()
        ... def train(message, context):
        ...     net, x, y = torch.nn.Linear(8, 2), torch.zeros(4, 8), torch.zeros(4, dtype=torch.long)
        ...     cross_entropy = torch.nn.functional.cross_entropy
        ...     return gradient_reply(message, context, net, lambda net, batch: cross_entropy(net(batch), y), [x], momentum=0.9)
    """
    model.load_state_dict(next(iter(message.content.array_records.values())).to_torch_state_dict())
    found = gradient(model, loss, batches, context=context, momentum=momentum, momentum_form=momentum_form, reduction=reduction)
    noise = {} if found.noise is None else {NOISE_KEY: found.noise}
    record = MetricRecord({"num-examples": 1, "loss": found.loss, **noise, **(metrics or {})})
    arrays = ArrayRecord({name: Array(value) for name, value in found.arrays.items()})
    return Message(content=RecordDict({"arrays": arrays, "metrics": record}), reply_to=message)
