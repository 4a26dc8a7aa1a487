"""Nothing is lost: model, round, states and reports in one file, replaced atomically, whose checksum covers every byte."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower.codec import unpack
from flwr_byzantine.flower.words import printable

MARK = b"flwr-byzantine checkpoint 3, SHA-256 of all bytes before: "  # begins the archive's comment, which ends the file
DIGEST = 64  # hexadecimal digits, the last bytes of the file
FACTS = "facts.json"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, NotImplementedError, zipfile.BadZipFile)


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


def beside(target: Path) -> Path:
    """Where a file is written before it takes the place of `target`."""
    return target.with_name(f".{target.name}.tmp")


def save(path: str | Path, snapshot: Snapshot) -> None:
    """Write to a file beside, sync it, and put it in the place of the old one: a crash leaves the old one or the new one.

    The file is readable by its owner only, unless the old one was by others; whoever writes holds the lock of the path.
    """
    with replacing(Path(path)) as file:
        _write(file, snapshot)


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `target` at the end of the block, or leaves nothing where the block raises."""
    new = beside(target)
    new.unlink(missing_ok=True)  # of a writer that was killed
    try:
        with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o600), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, new)
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    _sync_folder(target.absolute().parent)


def _write(file: BinaryIO, snapshot: Snapshot) -> None:
    names = list(snapshot.arrays)
    facts = json.dumps({"server_round": snapshot.server_round, "names": names, "facts": snapshot.facts})
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(FACTS, facts)
        for k, name in enumerate(names):
            with archive.open(f"a{k}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, np.asarray(snapshot.arrays[name]), allow_pickle=False)
        archive.comment = MARK + b"0" * DIGEST
    size = file.seek(-DIGEST, os.SEEK_END)
    digest = _digest(file, size)
    file.seek(size)
    file.write(digest)


def _digest(file: BinaryIO, size: int) -> bytes:
    """The SHA-256 of the first `size` bytes."""
    found, left = hashlib.sha256(), size
    file.seek(0)
    while left > 0 and (chunk := file.read(min(left, 1 << 20))):
        found.update(chunk)
        left -= len(chunk)
    return found.hexdigest().encode()


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def load(path: str | Path) -> Snapshot | None:
    """What was saved, or None where there is no file. Nothing of the file is expanded before its checksum is right.

    Raises:
        InvalidParameter: no checkpoint, or a damaged one; one sentence says what is wrong with it.
    """
    target = Path(path).absolute()
    if not os.path.lexists(target):
        return None
    try:
        return contents(target)
    except UNREADABLE as error:
        why = printable(error)  # which may quote the file
        say = f"strategy: checkpoint {str(target)!r} is no checkpoint of this package ({why}); move it away, or give another checkpoint="
        raise InvalidParameter(say) from None


def contents(target: Path) -> Snapshot:
    """What is in a file that is there; raises one of `UNREADABLE` where it is not what was saved."""
    if not target.is_file():
        raise ValueError("it is no file")
    with target.open("rb") as file:
        return _read(file)


def _read(file: BinaryIO) -> Snapshot:
    size = file.seek(0, os.SEEK_END) - DIGEST
    file.seek(max(0, size - len(MARK)))
    if size <= len(MARK) or file.read(len(MARK)) != MARK:
        raise ValueError(
            "it is empty" if size == -DIGEST else "it does not end as files of this package do: cut short, or another kind of file"
        )
    if _digest(file, size) != file.read(DIGEST):
        raise ValueError("it is damaged: its bytes do not have its checksum")
    with zipfile.ZipFile(file) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("it is compressed")
        meta = json.loads(archive.read(FACTS))
        arrays = {name: np.array(unpack(archive.read(f"a{k}.npy"))) for k, name in enumerate(meta["names"])}
    return Snapshot(int(meta["server_round"]), arrays, dict(meta["facts"]))
