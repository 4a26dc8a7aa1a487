"""Out of core: replies in a memory-mapped temporary file, for rounds that are larger than the machine's memory."""

from __future__ import annotations

import mmap
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter

EXTENT = 1 << 28  # bytes mapped at a time: the number of open maps stays small however many replies there are
LINE = 64  # arrays begin on a cache line
ADVICE = hasattr(mmap, "MADV_DONTNEED")  # POSIX; elsewhere the system decides alone what stays resident
PIECE = 1 << 16  # bytes written at a time: larger pages would make more resident than is read
EVERY = 4  # parts of a pass after which pages are handed back


class Spill:
    """Arrays in a temporary file, read through memory maps: the kernels work on them as on arrays in memory.

    The file has no name where the system allows that, and its space is free again once it is closed, or the process ends
    in whatever way, and its arrays are gone. `Updates(..., after_part=spill.after_part)` hands the pages that a pass has
    read back to the system (`madvise`), so that a pass over far more than the memory keeps little of it resident. The end
    of a `with` block closes the file.

    Args:
        directory: where the file lies: a disk's folder with room for all replies of a round (one in memory would save
            nothing); the system's folder for temporary files by default.

    Raises:
        InvalidParameter: the file cannot be written there, or the disk is full.

    Example:
        >>> with Spill() as spill:
        ...     spill.add([np.arange(3.0)])[0].tolist()
        [0.0, 1.0, 2.0]
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self.directory = tempfile.gettempdir() if directory is None else str(directory)
        try:
            self._file = tempfile.TemporaryFile(dir=self.directory, prefix="flwr-byzantine-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._failure(error) from None
        self._close = weakref.finalize(self, self._file.close)
        self._maps: list[mmap.mmap] = []
        self._end = self._room = 0  # of what is written, and of what is mapped
        self._parts = 0  # of passes since pages were handed back

    def add(self, arrays: Sequence[Array]) -> list[Array]:
        """Write one reply's flat arrays to the file; returns them as read-only views on it."""
        offsets = np.cumsum([0, *(-(-array.nbytes // LINE) * LINE for array in arrays)]).tolist()
        try:
            start = self._reserve(offsets[-1])
            for array, offset in zip(arrays, offsets[:-1], strict=True):
                self._write(array, start + offset)
        except OSError as error:
            raise self._failure(error) from None
        begin = start - (self._room - len(self._maps[-1])) if self._maps else 0
        return [
            np.frombuffer(self._maps[-1], array.dtype, array.size, begin + offset) if array.size else array
            for array, offset in zip(arrays, offsets[:-1], strict=True)
        ]

    def _reserve(self, size: int) -> int:
        """The offset of `size` free bytes in the last map; where that is full, in a new one. Holes in the file take no disk space."""
        if self._end + size > self._room:
            length = -(-max(size, EXTENT) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
            self._end, room = self._room, self._room + length
            self._file.truncate(room)
            self._maps.append(mmap.mmap(self._file.fileno(), length, access=mmap.ACCESS_READ, offset=self._end))
            self._room = room
            if ADVICE:
                self._maps[-1].madvise(mmap.MADV_SEQUENTIAL)
        start, self._end = self._end, self._end + size
        return start

    def _write(self, array: Array, offset: int) -> None:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        self._file.seek(offset)
        while data:
            data = data[self._file.write(data[:PIECE]) :]

    def _failure(self, error: OSError) -> InvalidParameter:
        reason = error.strerror or type(error).__name__
        return InvalidParameter(f"spill must be a folder with room for all replies of a round, got {self.directory!r}: {reason}")

    def trim(self) -> None:
        """Hand the pages that were read back to the system, which keeps what it has room for."""
        for part in list(self._maps):
            part.madvise(mmap.MADV_DONTNEED)

    def after_part(self) -> None:
        """Count a part of a pass over the arrays, and hand pages back every few parts: what `Updates` calls between parts."""
        if not ADVICE:
            return
        self._parts += 1
        if self._parts >= EVERY:
            self._parts = 0
            self.trim()

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; views on it stay good for as long as somebody holds them."""
        self._maps.clear()
        self._close()
