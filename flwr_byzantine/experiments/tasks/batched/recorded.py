"""Functions of tensors as lists of PyTorch's operations: what `torch.func` decides anew in each call is decided once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

OFTEN = 200  # calls with the same shapes after which recording, which takes as long as a hundred calls of a small model, pays

Function = Callable[..., Any]


class Recordings:
    """Functions that are called again and again with tensors of the same shapes, and are recorded then: the bits are the same.

    Each must do the same operations whenever shapes are the same; see `settled`. Threads may call at the same time.

    Example:
        >>> import torch
        >>> recordings = Recordings()
        >>> twice = recordings.of("twice", lambda x: {"y": 2 * x})
        >>> for _ in range(OFTEN):
        ...     made = twice(torch.ones(2))
        >>> recordings.make()
        >>> len(recordings.programs), twice(torch.ones(2))["y"].tolist()
        (1, [2.0, 2.0])
    """

    def __init__(self) -> None:
        self.programs: dict[Any, Function] = {}
        self._calls: Counter[Any] = Counter()
        self._wanted: dict[Any, tuple[Function, tuple[Any, ...]]] = {}

    def of(self, name: str, function: Function) -> Function:
        """The function, or what was recorded of one of the same name."""
        return partial(self._call, name, function)

    def _call(self, name: str, function: Function, *arguments: Any) -> Any:
        form = name, *map(_form, arguments)
        if form in self.programs:
            return self.programs[form](*arguments)
        self._calls[form] += 1
        if self._calls[form] >= OFTEN:
            self._wanted[form] = function, arguments
        return function(*arguments)

    def make(self) -> None:
        """Record what has been called often, in a moment in which no other thread calls: PyTorch changes its modules meanwhile."""
        for form, (function, arguments) in self._wanted.items():
            self.programs[form] = make_fx(lambda *same, function=function: function(*same))(*arguments)
        self._wanted.clear()


def _form(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(map(_form, value.values()))
    return value.shape, value.stride()


def settled(net: nn.Module) -> bool:
    """Whether all of the net's parts are PyTorch's own, which do the same in each call; code of somebody's may count calls.

    Example:
        >>> settled(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
        True
    """
    return all(type(part).__module__.startswith("torch.nn.modules.") for part in net.modules())
