"""One writer at a time: a lock beside a file, which the operating system frees when its holder dies, however it dies."""

from __future__ import annotations

import errno
import os
import platform
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from logging import WARNING
from pathlib import Path
from typing import Any

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower.words import printable

Log = Callable[[int, str], None]
PATIENCE = 30.0  # seconds to wait for a writer that may be dying: a ServerApp outlives its SuperLink by some seconds
POLL = 0.2
TAKEN = (errno.EAGAIN, errno.EACCES)
UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # file systems that lock nothing

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, 1 << 30, os.SEEK_SET)  # a byte that nobody reads: there, a locked one cannot be read
        locking: Any = msvcrt
        locking.locking(handle, locking.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)

    def _unlock(handle: int) -> None:
        """Nothing: closing the file does it."""
else:

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)  # in forks too, which have the open file in common with this process


class Lock:
    """The right to write a file, held by one run on this machine or on a shared folder.

    Args:
        target: the file; the lock is `<name>.lock` beside it, gone after the run, and worth nothing after a kill.
        log: takes a level and a text.

    Attributes:
        idle: its run may be over, which nobody would have told (a legacy run has no end that a strategy sees): another run of
            this process may take the lock over, and this one may not write any more.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lock = Lock(Path(folder) / "run.npz", lambda level, text: None)
        ...     lock.acquire()
        ...     lock.held
        ...     lock.release()
        True
    """

    def __init__(self, target: Path, log: Log) -> None:
        self.target, self.log = target, log
        self.path = target.with_name(f"{target.name}.lock")
        self.idle = False
        self.release: Callable[[], object] = lambda: None

    @property
    def held(self) -> bool:
        """Whether this run may write."""
        return getattr(self.release, "alive", False)

    def acquire(self, patience: float | None = None) -> None:
        """Take the lock, waiting for a writer that is about to end.

        Args:
            patience: seconds to wait; PATIENCE by default.

        Raises:
            InvalidParameter: another run goes on writing the file, or none can lock it; one sentence says which.
        """
        other = _HELD.get(self.path)
        if other is not None and other.idle:
            other.release()
        patience = PATIENCE if patience is None else patience
        deadline, waiting = time.monotonic() + patience, False
        while not self._try():
            if time.monotonic() >= deadline:
                raise InvalidParameter(f"strategy: {self._holder()} writes {str(self.target)!r}; wait for its end, or give another path")
            if not waiting:
                self.log(WARNING, f"waiting up to {patience:g} s for {self._holder()}, which writes {self.target}")
            waiting = True
            time.sleep(POLL)

    def _try(self) -> bool:
        handle = self._open()
        with ExitStack() as unless_mine:
            unless_mine.callback(os.close, handle)
            if not self._locked(handle):
                return False
            with suppress(OSError):  # a full disk: what is in the file is for people only
                os.ftruncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())
            unless_mine.pop_all()
        self.release = weakref.finalize(self, _release, handle, self.path, os.getpid())
        _HELD[self.path] = self
        return True

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError as error:
            raise InvalidParameter(f"strategy: {str(self.target)!r} cannot be locked ({error}); give a path in a folder of yours") from None

    def _locked(self, handle: int) -> bool:
        """Whether the lock is this run's now, and of the file that others will find."""
        try:
            _lock(handle)
        except OSError as error:
            if error.errno in UNKNOWN:
                self.log(WARNING, f"{self.target} lies where nothing can be locked: see to it yourself that no other run writes it")
                return True
            if error.errno in TAKEN:
                return False
            raise
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(handle), os.stat(self.path))
        return False  # its last holder has just removed it

    def _holder(self) -> str:
        with suppress(OSError):
            return printable(self.path.read_text(errors="replace") or "another process", 100)
        return "another process"


_HELD: weakref.WeakValueDictionary[Path, Lock] = weakref.WeakValueDictionary()  # by this process


def _release(handle: int, path: Path, owner: int) -> None:
    """Give a lock back; in a fork of its holder, only let go of it."""
    if os.getpid() == owner:
        with suppress(OSError):  # Windows removes no file that is open
            path.unlink()
        with suppress(OSError):
            _unlock(handle)
    os.close(handle)
