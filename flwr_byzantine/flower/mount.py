"""The one contract of all mounts of attacks: how an honest reply becomes an update, and a malicious update a reply.

A mount is where an attack meets a federation: the mod, the NumPyClient, the Grid. Each reads a `Broadcast`, takes
`Broadcast.update` of what the client would have sent, lets the attack act on it, and sends `Broadcast.reply`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from flwr.app import Message

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.flower.records import arrays_of, configs_of, round_in, round_of, wants_gradients


@dataclass(frozen=True, eq=False)
class Broadcast:
    """What the server sent to a client in a training round.

    Attributes:
        model: name -> array of the global model.
        gradients: whether the client is to answer with a gradient (`ByzantineSGD`) instead of a model. An update is then the
            gradient itself, in place of the difference of two models.
        round: the server round from 1, or None where the server does not tell it.

    Example:
        >>> old, new = {"w": np.array([1.0, 2.0])}, {"w": np.array([1.5, 2.0])}
        >>> Broadcast(old).update(new).tolist(), Broadcast(old, gradients=True).update(new).tolist()
        ([0.5, 0.0], [1.5, 2.0])
        >>> Broadcast(old).reply(new, np.array([-0.5, 1.0]))
        {'w': array([0.5, 3. ])}
    """

    model: Mapping[str, Array]
    gradients: bool = False
    round: int | None = None

    @classmethod
    def in_message(cls, message: Message) -> Broadcast:
        """What a training message brings, in either message format."""
        return cls(arrays_of(message), wants_gradients(configs_of(message)), round_of(message))

    @classmethod
    def in_call(cls, parameters: Iterable[Any], config: Mapping[str, Any]) -> Broadcast:
        """What `NumPyClient.fit(parameters, config)` is called with."""
        return cls(named(parameters), wants_gradients([config]), round_in([config]))

    def of(self, reply: Mapping[str, Array]) -> Broadcast:
        """What was sent of the arrays that a reply holds, where its client keeps the others to itself (`shared=`).

        Example:
            >>> list(Broadcast({"w": np.ones(2), "head": np.ones(3)}).of({"w": np.zeros(2)}).model)
            ['w']
        """
        if not reply or not reply.keys() < self.model.keys():
            return self
        return replace(self, model={name: value for name, value in self.model.items() if name in reply})

    @cached_property
    def vector(self) -> Array:
        """(d,) the model in the dtype that holds all its arrays; its negative where gradients are asked for: steps go against them."""
        flat = np.concatenate([value.ravel() for value in self.model.values()]) if self.model else np.zeros(0)
        if not self.gradients:
            return flat
        return -flat if flat.dtype.kind == "f" else -flat.astype(np.float64)

    @property
    def layout(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the model's arrays, in the order of `vector`."""
        return {name: value.shape for name, value in self.model.items()}

    def fits(self, reply: Mapping[str, Array]) -> bool:
        """Whether the reply has the model's arrays, of numbers and of the same sizes: only such replies are attacked.

        Empty or single ones may have grown, as PyTorch's quantisation observers do in their first batch; those stay as they are.
        """
        pairs = list(zip(self._in_order(reply), self.model.values(), strict=False))
        same = all((new.size == old.size or _grown(new, old)) and {new.dtype.kind, old.dtype.kind} <= set("fiub") for new, old in pairs)
        return same and len(reply) == len(self.model) and any(new.size for new, _ in pairs)

    def update(self, reply: Mapping[str, Array]) -> Array:
        """(d,) float64 what the reply says to the server: trained model minus broadcast model, or the gradient."""
        pairs = [(old if _grown(new, old) else new, origin) for new, old, origin in self._known(reply)]
        with np.errstate(over="ignore", invalid="ignore"):  # a model with infinite entries, such as a mask of -inf
            return np.concatenate([np.subtract(new.ravel(), origin, dtype=np.float64) for new, origin in pairs])

    def reply(self, honest: Mapping[str, Array], update: Array) -> dict[str, Array]:
        """The reply that says `update` to the server, with names, order, shapes and dtypes of the honest one.

        Integers are rounded to the nearest and NaN in them is 0; truth values are rounded, too.
        """
        sent = list[Array]()
        parts = np.split(update, np.cumsum([value.size for value in self.model.values()])[:-1])
        for (like, old, origin), part in zip(self._known(honest), parts, strict=True):
            with np.errstate(invalid="ignore"):
                moved = part if self.gradients else np.asarray(origin, np.float64) + part
                sent.append(like if _grown(like, old) else _cast(moved, like))
        by_name = dict(zip(self._names(honest), sent, strict=True))
        return {name: by_name[name] for name in honest}

    def _names(self, reply: Mapping[str, Array]) -> list[str]:
        """The reply's names in the model's order: by name, or by place where the names differ (the legacy format has none)."""
        return list(self.model if reply.keys() == self.model.keys() else reply)

    def _in_order(self, reply: Mapping[str, Array]) -> list[Array]:
        return [reply[name] for name in self._names(reply)]

    def _known(self, reply: Mapping[str, Array]) -> Iterator[tuple[Array, Array, Array | float]]:
        """Per array, the reply's, the model's, and the flat values that updates are differences to."""
        pairs = zip(self._in_order(reply), self.model.values(), strict=True)
        return ((new, old, 0.0 if self.gradients else old.ravel()) for new, old in pairs)


def named(arrays: Iterable[Any]) -> dict[str, Array]:
    """The arrays of a NumPyClient by place, under the names that Flower gives them.

    Example:
        >>> list(named([np.zeros(2), 1.0]))
        ['0', '1']
    """
    return {str(place): np.asarray(value) for place, value in enumerate(arrays)}


def _grown(new: Array, old: Array) -> bool:
    return new.size != old.size < 2 and max(new.ndim, old.ndim) < 2


def _cast(values: Array, like: Array) -> Array:
    """Flat values in dtype and shape of `like`."""
    if values.dtype == like.dtype:
        return values.reshape(like.shape)
    out = np.empty(like.size, like.dtype)
    if out.dtype.kind == "f":
        with np.errstate(over="ignore"):
            out[...] = values
    elif out.dtype.kind == "b":
        out[...] = np.nan_to_num(values) >= 0.5
    else:
        kernels.round_into(np.nan_to_num(values), out)
    return out.reshape(like.shape)
