"""The results file on disk: each line is written whole and at once, so that a kill at any moment loses no finished cell."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import Timeout

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.results import Result, parse, read
from flwr_byzantine.strategy.lock import file_lock, free


class Store:
    """A results file; as a context manager, the only one that writes to it.

    Args:
        path: of the JSON-lines file; made on entry where it is not there.

    Raises:
        InvalidParameter: the path is that of something else than a file, another sweep is writing to it, or a line in it is no result.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "results.jsonl")
        >>> with Store(path) as store:
        ...     store.append(Result({"strategy": "krum"}, key="a"))
        >>> Store(path).read()["a"].ok
        True
    """

    def __init__(self, path: Path) -> None:
        if os.path.exists(path) and not os.path.isfile(path):  # pathlib's raise where a folder is closed
            raise InvalidParameter(f"{path}: results are kept in a file, and this is none; name one by --results")
        self.path = path
        self._file = -1
        self._beside = path.with_name(f"{path.name}.lock")
        self._lock = file_lock(self._beside)

    def __enter__(self) -> Self:
        """Lock the file and mend its last line."""
        try:
            self._lock.acquire(blocking=False)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
        except Timeout:
            wrong = f"{self.path}: another sweep is writing to this file; wait for it, or name another by --results"
            raise InvalidParameter(wrong) from None
        except OSError as error:
            free(self._lock, self._beside)
            raise InvalidParameter(f"{self.path}: cannot write results here ({error.strerror}); name another file by --results") from None
        self._mend()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Unlock."""
        os.close(self._file)
        free(self._lock, self._beside)

    def read(self) -> dict[str, Result]:
        """The results by key; none where there is no file yet. See `results.read`."""
        return {result.key: result for result in (read(self.path) if os.path.exists(self.path) else ())}

    def append(self, result: Result) -> None:
        """Write one line; it is on the disk when this returns.

        Raises:
            InvalidParameter: it cannot be written, as where the disk is full; the file is then as it was.
        """
        line = memoryview((json.dumps(result.to_json(), allow_nan=False) + "\n").encode())
        before = os.fstat(self._file).st_size
        try:
            while line:  # a disk that becomes full takes a part
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, before)
            wrong = f"{self.path}: cannot write the result of a cell ({error.strerror}); those before it are kept"
            raise InvalidParameter(f"{wrong}: make room, and run the same command again") from None

    def _mend(self) -> None:
        """End a last line that is whole; cut off one that is torn."""
        content = self.path.read_bytes()
        rest = content[content.rfind(b"\n") + 1 :]
        if rest and parse(rest) is None:
            os.ftruncate(self._file, len(content) - len(rest))
        elif rest:
            os.write(self._file, b"\n")
