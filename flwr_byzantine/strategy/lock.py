"""One writer at a time: a lock beside a file, which is free again when its holder dies, however it dies.

Locking itself is the library filelock's, which knows how it is done on each system, and on file systems that lock nothing.
"""

from __future__ import annotations

import errno
import os
import platform
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from logging import WARNING
from pathlib import Path
from typing import TYPE_CHECKING

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower.words import printable

if TYPE_CHECKING:
    from filelock import BaseFileLock

Log = Callable[[int, str], None]
PATIENCE = 30.0  # seconds to wait for a writer that may be dying: a ServerApp outlives its SuperLink by some seconds
POLL = 0.2
UNKNOWN = (errno.ENOLCK, errno.EOPNOTSUPP)  # file systems that refuse to lock; where the call is missing, filelock writes a marker


class Lock:
    """The right to write a file, held by one run on this machine or on a shared folder.

    Args:
        target: the file; the lock is `<name>.lock` beside it, and who holds it is in `<name>.holder`: both gone after the run, and
            worth nothing after a kill.
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
        self.path, self.words = (target.with_name(f"{target.name}.{end}") for end in ("lock", "holder"))
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
        lock = file_lock(self.path)
        with ExitStack() as unless_mine:
            unless_mine.callback(lock.release)
            if not self._locked(lock):
                return False
            with suppress(OSError):  # a full disk: what is in the file is for people only
                write_new(self.words, f"process {os.getpid()} on {platform.node()}")
            unless_mine.pop_all()
        self.release = weakref.finalize(self, _release, lock, self.path, self.words, os.getpid())
        _HELD[self.path] = self
        return True

    def _locked(self, lock: BaseFileLock) -> bool:
        """Whether the lock is this run's now."""
        from filelock import Timeout

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of a marker in place of a lock
                lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            if error.errno not in UNKNOWN:
                wrong = f"strategy: {str(self.target)!r} cannot be locked ({error}); give a path in a folder of yours"
                raise InvalidParameter(wrong) from None
            self.log(WARNING, f"{self.target} lies where nothing can be locked: see to it yourself that no other run writes it")
        return True

    def _holder(self) -> str:
        with suppress(OSError):
            return printable(self.words.read_text(errors="replace") or "another process", 100)
        return "another process"


def file_lock(path: Path) -> BaseFileLock:
    """A lock of the best kind that this system has, for all threads of this process together."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is no fcntl
        from filelock import FileLock
    return FileLock(path, mode=0o600, thread_local=False)


def free(lock: BaseFileLock, path: Path) -> None:
    """Remove the lock's file and give the lock back."""
    if not hasattr(lock, "pid"):  # which a marker has: filelock removes it itself
        with suppress(OSError):  # Windows removes no file that is open
            path.unlink()
    lock.release()


def write_new(path: Path, text: str) -> None:
    """Write a file in the place of whatever is there; a link is replaced, not followed."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


_HELD: weakref.WeakValueDictionary[Path, Lock] = weakref.WeakValueDictionary()  # by this process


def _release(lock: BaseFileLock, path: Path, words: Path, owner: int) -> None:
    """Give a lock back, and remove its files; in a fork of its holder, do nothing."""
    if os.getpid() != owner:
        return
    with suppress(OSError):
        words.unlink()
    free(lock, path)
