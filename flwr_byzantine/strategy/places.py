"""Files and folders that a strategy is given: absolute, and tried before the first round."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from flwr_byzantine.errors import InvalidParameter

PROBE = b"\0" * 4096  # a full disk takes an empty file


def file_place(name: str, value: str | Path) -> str | Path:
    """The absolute path of a file that can be written.

    Args:
        name: of the argument, for messages.
        value: what was given for it; its type stays.

    Raises:
        InvalidParameter: no path, no folder that can be written to, or something that is no file.
    """
    place = _absolute(name, value, "a file")
    if not Path(place).parent.is_dir():
        raise InvalidParameter(f"strategy: {name} must lie in a folder that exists, got {str(value)!r} in {os.getcwd()!r}")
    if os.path.lexists(place) and not Path(place).is_file():
        raise InvalidParameter(f"strategy: {name} must be a file, got {str(place)!r}, which is none")
    _probe(name, Path(os.path.realpath(place)))
    return place


def folder_place(name: str, value: str | Path) -> str | Path:
    """The absolute path of a folder that can be written to; as `file_place`."""
    if not isinstance(value, str | Path) or not Path(value).is_dir():
        raise InvalidParameter(f"strategy: {name} must be a folder that exists and can be written to, got {str(value)!r}")
    _probe(name, Path(value) / "any")
    return _absolute(name, value, "a folder")


def _absolute(name: str, value: str | Path, what: str) -> str | Path:
    if not isinstance(value, str | Path) or "\0" in str(value):
        raise InvalidParameter(f"strategy: {name} must be the path of {what} or None, got {value!r}")
    return type(value)(os.path.abspath(value))


def _probe(name: str, file: Path) -> None:
    """Write to the file's folder, and open the file where it exists; nothing of either stays."""
    try:
        with tempfile.TemporaryFile(dir=file.parent) as probe:
            probe.write(PROBE)
            probe.flush()
        if file.exists():
            os.close(os.open(file, os.O_WRONLY))
    except OSError as error:
        raise InvalidParameter(f"strategy: {name} must be where it can be written to, got {str(file)!r}: {error.strerror}") from None
