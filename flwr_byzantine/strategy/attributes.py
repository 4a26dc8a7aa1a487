"""What Flower's and users' strategies keep in their attributes over the rounds: optimisers' moments, clipping norms, schedules."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import types
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from flwr.server.strategy import Strategy as LegacyStrategy
from flwr.serverapp.strategy import Strategy

from flwr_byzantine.strategy.plain import Arrays, Form, NotPlain, pack, unpack

CODE = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type, functools.partial, logging.Logger)
Found = tuple[str, object, str, Any]  # the attribute's path, its owner, its name, its value


class Attributes:
    """The attributes of a run's strategies that have changed since the run began.

    What they were made with is the program's to say, when it is started again too; what has changed since is the run's. Code
    counts as unchanging; whatever is neither code nor plain data cannot be saved, and is named.

    Args:
        roots: the strategies; those in their attributes follow.
        skip: names of attributes that do not count.

    Example:
        >>> from flwr.serverapp.strategy import FedAvg
        >>> strategy = FedAvg()
        >>> attributes = Attributes([strategy])
        >>> strategy.fraction_train = 0.5
        >>> attributes.changed()
        ({'0.fraction_train': 0.5}, {}, [])
    """

    def __init__(self, roots: Collection[object], skip: Collection[str] = ()) -> None:
        self.roots, self.skip = list({id(root): root for root in roots}.values()), set(skip)
        self.first = {path: _fingerprint(path, value) for path, _, _, value in self._found()}

    def changed(self) -> tuple[dict[str, Form], Arrays, list[str]]:
        """The changed ones as JSON by path, the arrays that it refers to, and what cannot be saved, e.g. "FedAdam.decay (Cosine)"."""
        forms: dict[str, Form] = {}
        arrays: Arrays = {}
        unsaved = []
        for path, owner, name, value in self._found():
            own: Arrays = {}
            try:
                form = pack(value, path, own)
            except NotPlain:
                unsaved.append(f"{type(owner).__name__}.{name} ({type(value).__name__})")
                continue
            if _digest(form, own) != self.first.get(path):
                forms[path] = form
                arrays.update(own)
        return forms, arrays, unsaved

    def restore(self, forms: Mapping[str, Form], arrays: Arrays) -> None:
        """Give back what `changed` gave, to strategies made by the same program; paths that are not there are left out."""
        known = dict(owners(self.roots))
        for path, form in forms.items():
            place, _, name = path.rpartition(".")
            if place in known:
                setattr(known[place], name, unpack(form, arrays))

    def _found(self) -> Iterator[Found]:
        for place, owner in owners(self.roots):
            for name, value in vars(owner).items():
                if name not in self.skip and not isinstance(value, (Strategy, LegacyStrategy, *CODE)) and not _ours(value):
                    yield f"{place}.{name}", owner, name, value


def _ours(value: object) -> bool:
    """Whether it is of a class of this package, which saves what it must itself."""
    return type(value).__module__.partition(".")[0] == __name__.partition(".")[0]


def owners(roots: Collection[object]) -> list[tuple[str, object]]:
    """The strategies with their places: numbers for the roots, then names of attributes."""
    found, seen = [(str(k), root) for k, root in enumerate(roots)], {id(root) for root in roots}
    for place, owner in found:  # which grows
        for name, value in vars(owner).items():
            if isinstance(value, Strategy | LegacyStrategy) and id(value) not in seen:
                seen.add(id(value))
                found.append((f"{place}.{name}", value))
    return found


def _fingerprint(path: str, value: object) -> str:
    """A digest of plain data; empty for anything else."""
    arrays: Arrays = {}
    try:
        return _digest(pack(value, path, arrays), arrays)
    except NotPlain:
        return ""


def _digest(form: Form, arrays: Arrays) -> str:
    found = hashlib.sha256(json.dumps(form).encode())
    for value in arrays.values():
        found.update(f"{value.dtype}{value.shape}".encode())
        found.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return found.hexdigest()
