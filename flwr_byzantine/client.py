"""What an honest client of `ByzantineSGD` does: it computes a stochastic gradient of a PyTorch loss and sends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from flwr_byzantine.arrays.typing import Array as NDArray
from flwr_byzantine.declare.extras import needed_by
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower.codec import pack, unpack
from flwr_byzantine.flower.records import FULL, LAST_STEP, OF_ROUND, SEND
from flwr_byzantine.strategy.metrics import NOISE_KEY
from flwr_byzantine.theory import momentum_variance_factor

with needed_by(__name__):
    import torch

AVERAGED = "averaged"
_OPTIONS = {
    "momentum": Constraint(float, ge=0, lt=1),
    "momentum_form": Constraint(str, choices=(AVERAGED, "sum")),
    "reduction": Constraint(str, choices=("mean", "sum")),
}
STATE_KEY = "flwr-byzantine.momentum"
MODEL_KEY = "flwr-byzantine.last-model"
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
    full: Iterable[Any] | None = None,
    told: Mapping[str, Any] | None = None,
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
        full: all of the client's data as batches of one size, for Byz-VR-MARINA; needed where the server asks for that.
        told: the message's config, which says what a round of Byz-VR-MARINA wants. Its state is the last broadcast model, in the
            context; a client that was not asked in the round before, or has lost it, answers with its full gradient.

    Raises:
        InvalidParameter: no batch, momentum without a context; or what the server asks for cannot be: no `full`, no context, momentum.

    Source: worker momentum: El-Mhamdi, Guerraoui, Rouault, ICLR 2021. Byz-VR-MARINA: Gorbunov, Horváth, Richtárik, Gidel, ICLR 2023.

    Example:
        >>> net = torch.nn.Linear(2, 1, bias=False)
        >>> found = gradient(net, lambda net, x: net(x).sum(), [torch.ones(1, 2), 3 * torch.ones(1, 2)])
        >>> found.arrays["weight"].tolist(), found.noise
        ([[2.0, 2.0]], 2.0)
    """
    for name, given in (("momentum", momentum), ("momentum_form", momentum_form), ("reduction", reduction)):
        check("gradient", name, given, _OPTIONS[name])
    if told is not None and SEND in told:
        return _variance_reduced(model, loss, batches, context, momentum, reduction, full, told)
    rows, losses = _rows(model, loss, batches)
    noise, scale = _variance_of_mean(rows), len(rows) if reduction == "sum" else 1
    arrays = {name: scale * np.mean([row[name] for row in rows], axis=0, dtype=row_type(rows[0][name])) for name in rows[0]}
    fresh = 1 - momentum if momentum_form == AVERAGED else 1.0
    if momentum > 0:
        arrays = _with_momentum(context, arrays, momentum, fresh)
    factor = (scale * fresh / (1 - momentum)) ** 2 * momentum_variance_factor(momentum)
    shaped = {name: np.asarray(arrays[name], dtype=rows[0][name].dtype) for name in arrays}
    return Gradient(shaped, float(np.mean(losses)), None if noise is None else noise * factor)


def _variance_of_mean(rows: Sequence[Mapping[str, NDArray]]) -> float | None:
    """The estimated variance of the gradients' mean, summed over coordinates; None of one gradient."""
    stack = np.array([np.concatenate([array.ravel() for array in row.values()]) for row in rows])
    return float(stack.var(axis=0, ddof=1).sum()) / len(rows) if len(rows) > 1 else None


def _variance_reduced(
    model: torch.nn.Module,
    loss: Loss,
    batches: Iterable[Any],
    context: Context | None,
    momentum: float,
    reduction: str,
    full: Iterable[Any] | None,
    told: Mapping[str, Any],
) -> Gradient:
    """What Byz-VR-MARINA asks of a client: ∇f(x), or g + G(x) - G(y) with y the last model and g the last aggregate, (y - x) / γ."""
    if context is None or full is None or momentum:
        missing = "momentum=0" if momentum else "context= and full=, all of the client's data,"
        raise InvalidParameter(f"gradient: the server runs Byz-VR-MARINA (refresh=), which needs {missing} at every client")
    now, number = {name: value.cpu().numpy().copy() for name, value in model.state_dict().items()}, int(told[OF_ROUND])
    last, there = _last_model(context, number), list(batches)
    _keep_model(context, number, now)
    if told[SEND] == FULL or last is None:
        return gradient(model, loss, full, reduction=reduction)
    here = gradient(model, loss, there, reduction=reduction)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in last.items()})
    before = gradient(model, loss, there, reduction=reduction).arrays
    model.load_state_dict({name: torch.from_numpy(value) for name, value in now.items()})
    rate = float(told[LAST_STEP])
    change = {name: (np.asarray(last[name], np.float64) - now[name]) / rate + here.arrays[name] - before[name] for name in now}
    return Gradient({name: value.astype(here.arrays[name].dtype) for name, value in change.items()}, here.loss, None)


def _last_model(context: Context, number: int) -> dict[str, NDArray] | None:
    """The model of the round before this one, where the client was asked then and has kept it."""
    kept, of_round = context.state.array_records.get(MODEL_KEY), context.state.config_records.get(MODEL_KEY + OF_ROUND)
    if kept is None or of_round is None or of_round["round"] != number - 1:
        return None
    return {name: unpack(array.data).copy() for name, array in kept.items()}


def _keep_model(context: Context, number: int, model: Mapping[str, NDArray]) -> None:
    context.state[MODEL_KEY] = pack(dict(model))
    context.state[MODEL_KEY + OF_ROUND] = ConfigRecord({"round": number})


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
    full: Iterable[Any] | None = None,
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
        full: as for `gradient`.

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
    told = next((config for config in message.content.config_records.values() if SEND in config), None)
    options: dict[str, Any] = {"momentum": momentum, "momentum_form": momentum_form, "reduction": reduction, "full": full, "told": told}
    found = gradient(model, loss, batches, context=context, **options)
    noise = {} if found.noise is None else {NOISE_KEY: found.noise}
    record = MetricRecord({"num-examples": 1, "loss": found.loss, **noise, **(metrics or {})})
    arrays = ArrayRecord({name: Array(value) for name, value in found.arrays.items()})
    return Message(content=RecordDict({"arrays": arrays, "metrics": record}), reply_to=message)
