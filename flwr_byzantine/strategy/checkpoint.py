"""Nothing is lost: model, round, states and reports in one file, replaced atomically after each round."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter


@dataclass
class Snapshot:
    """A run after a round.

    Attributes:
        server_round: the last round that ended.
        arrays: everything that is an array, by name: the model, the rule's state, optimisers'.
        facts: everything else, as JSON.
    """

    server_round: int
    arrays: dict[str, Array] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def group(self, prefix: str) -> dict[str, Array]:
        """The arrays below `prefix`/, in the order in which they were saved."""
        return {name.removeprefix(f"{prefix}/"): value for name, value in self.arrays.items() if name.startswith(f"{prefix}/")}


def save(path: str | Path, snapshot: Snapshot) -> None:
    """Write to a file beside, sync it, and put it in the place of the old one: a crash leaves the old one or the new one."""
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    names = list(snapshot.arrays)
    meta = json.dumps({"server_round": snapshot.server_round, "names": names, "facts": snapshot.facts})
    with beside.open("wb") as file:
        np.savez(file, allow_pickle=False, meta=np.array(meta), **{f"a{k}": snapshot.arrays[name] for k, name in enumerate(names)})
        file.flush()
        os.fsync(file.fileno())
    beside.replace(target)
    _sync_folder(target.absolute().parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def load(path: str | Path) -> Snapshot | None:
    """What was saved, or None where there is no file.

    Raises:
        InvalidParameter: a file that is no checkpoint.
    """
    if not Path(path).exists():
        return None
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as data:
            meta = json.loads(str(data["meta"]))
            arrays = {name: data[f"a{k}"] for k, name in enumerate(meta["names"])}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InvalidParameter(f"strategy: checkpoint {str(path)!r} is no checkpoint of this package ({error}); move it away") from None
    return Snapshot(int(meta["server_round"]), arrays, meta["facts"])


def arrays_of(owner: object, prefix: str) -> dict[str, Array]:
    """The arrays that an object holds in its attributes, alone, in lists, dicts or ArrayRecords: an optimiser's state."""
    found: dict[str, Array] = {}
    for name, value in vars(owner).items():
        for kind, items in _items(value):
            found.update({f"{prefix}/{name}/{kind}/{key}": np.asarray(item) for key, item in items.items()})
    return found


def _items(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """How arrays are held in `value`, and which; nothing where it holds anything else."""
    if isinstance(value, ArrayRecord):
        yield "record", {name: array.numpy() for name, array in value.items()}
    elif isinstance(value, dict) and value and all(map(_is_array, value.values())):
        yield "dict", value
    elif isinstance(value, list) and value and all(map(_is_array, value)):
        yield "list", {str(k): item for k, item in enumerate(value)}
    elif isinstance(value, np.ndarray) and _is_array(value):
        yield "array", {"": value}


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) and value.dtype != object


def restore_arrays(owner: object, saved: Mapping[str, Array]) -> None:
    """Give back what `arrays_of` took (names without its prefix)."""
    parts: dict[tuple[str, str], dict[str, Array]] = {}
    for path, value in saved.items():
        name, kind, key = path.split("/", 2)
        parts.setdefault((name, kind), {})[key] = value
    for (name, kind), items in parts.items():
        setattr(owner, name, _AS[kind](items))


_AS: dict[str, Callable[[dict[str, Array]], Any]] = {
    "record": lambda items: ArrayRecord({name: FlowerArray(value) for name, value in items.items()}),
    "dict": dict,
    "list": lambda items: list(items.values()),
    "array": lambda items: items[""],
}
