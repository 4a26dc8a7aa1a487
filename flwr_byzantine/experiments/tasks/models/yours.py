"""A model of one's own: what "module:function" returns, tried out."""

from __future__ import annotations

import copy

import torch
from torch import nn

from flwr_byzantine.declare.own import called
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks.data import Data


def own(name: str, data: Data) -> nn.Module:
    """The model that the function returns, from (rows, values) to (rows, classes).

    The function is called with the shape of an example, the number of classes and, where examples are tokens, how many different
    ones there are. It returns a module of float32 parameters, from (rows, *shape) to (rows, classes) scores.

    Raises:
        InvalidParameter: there is no such function, it raised, or it returned something else.
    """
    extra = (data.vocabulary,) if data.vocabulary else ()
    net = called(name, "model", data.shape, data.classes, *extra)
    if not isinstance(net, nn.Module):
        raise InvalidParameter(f"model {name!r} must return a torch.nn.Module, got {type(net).__name__}")
    kinds = {str(value.dtype) for value in net.parameters() if value.requires_grad}
    if kinds != {"torch.float32"}:
        raise InvalidParameter(f"model {name!r} must have float32 parameters to train, got {', '.join(sorted(kinds)) or 'none'}")
    whole = nn.Sequential(nn.Unflatten(1, data.shape), net) if len(data.shape) > 1 else net
    for rows in (2, 3):  # whichever number of rows
        _check(name, _scores(name, whole, data.train_x[:rows], data.shape), min(rows, len(data.train_x)), data.classes)
    _try_gradient(name, whole, data)
    return whole


def _scores(name: str, net: nn.Module, x: torch.Tensor, shape: tuple[int, ...]) -> object:
    """What the net says of a few examples; lazy parameters get their shapes by that."""
    try:
        with torch.no_grad():
            return net.eval()(x)
    except Exception as error:
        shown = f"{len(x)} examples of {' x '.join(map(str, shape))}"
        raise InvalidParameter(f"model {name!r} cannot read {shown}: {type(error).__name__}: {error}") from error


def _check(name: str, scores: object, rows: int, classes: int) -> None:
    if not isinstance(scores, torch.Tensor) or scores.shape != (rows, classes):
        got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise InvalidParameter(f"model {name!r} must give (rows, {classes}) scores, one a class, got {got} for {rows} rows")
    if not scores.isfinite().all():
        raise InvalidParameter(f"model {name!r} must give finite scores at first, got {scores[~scores.isfinite()][0].item()}")


def _try_gradient(name: str, net: nn.Module, data: Data) -> None:
    """One gradient of a copy in training mode."""
    try:
        trial = copy.deepcopy(net).train()
        loss = nn.functional.cross_entropy(trial(data.train_x[:2]), data.train_y[:2])
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    except Exception as error:
        raise InvalidParameter(f"model {name!r} cannot be trained: {type(error).__name__}: {error}") from error
