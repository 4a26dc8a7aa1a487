"""Results on disk: JSON lines, each written whole and at once, that survive a kill at any moment."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flwr_byzantine.errors import InvalidParameter

Record = dict[str, Any]


class Store:
    """A results file; as a context manager, the only one that writes to it.

    Args:
        path: of the JSON-lines file; made on entry where it is not there.

    Raises:
        InvalidParameter: another sweep is writing to the file, or a line in it is no result.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "results.jsonl")
        >>> with Store(path) as store:
        ...     store.append({"key": "a", "status": "ok"})
        >>> Store(path).read()
        {'a': {'key': 'a', 'status': 'ok'}}
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1

    def __enter__(self) -> Self:
        """Lock the file and mend its last line."""
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise InvalidParameter(f"{self.path}: cannot write results here ({error.strerror}); name another file by --results") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise InvalidParameter(
                f"{self.path}: another sweep is writing to this file; wait for it, or name another by --results"
            ) from None
        self._mend()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Unlock."""
        os.close(self._file)

    def read(self) -> dict[str, Record]:
        """Key -> record; of several lines with one key the last counts, a torn last line does not."""
        if not self.path.exists():
            return {}
        *lines, rest = self.path.read_bytes().split(b"\n")
        found = [self._decode(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        tail = _parse(rest)
        return {record["key"]: record for record in [*found, *([] if tail is None else [tail])]}

    def append(self, record: Record) -> None:
        """One line, on the disk when this returns."""
        line = json.dumps(record, allow_nan=False) + "\n"
        os.write(self._file, line.encode())
        os.fsync(self._file)

    def _mend(self) -> None:
        """End a last line that is whole; cut off one that is torn."""
        content = self.path.read_bytes()
        rest = content[content.rfind(b"\n") + 1 :]
        if rest and _parse(rest) is None:
            os.truncate(self._file, len(content) - len(rest))
        elif rest:
            os.write(self._file, b"\n")

    def _decode(self, number: int, line: bytes) -> Record:
        record = _parse(line)
        if record is None:
            raise InvalidParameter(f"{self.path}: line {number} is no result of a sweep; mend it, or name another file by --results")
        return record


def _parse(line: bytes) -> Record | None:
    """A line that is an object with a key."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "key" in record else None
