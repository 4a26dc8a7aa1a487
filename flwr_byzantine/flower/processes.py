"""Processes started by this one: they end when it ends, and where one dies the error says why."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from flwr_byzantine.errors import ByzantineError, InvalidParameter


def end_with_parent() -> None:
    """In a child: leave the terminal's Ctrl-C to the parent, and end when it does, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)


def cause(code: int | None) -> str:
    """Why a process ended, by its exit code.

    Example:
        >>> cause(-9), cause(3)
        ('killed by SIGKILL', 'exit status 3')
    """
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"


class ForkedWorker:
    """A fork of this process that applies a function to the values it is sent.

    The fork has everything that is in this process's memory; only values and results are sent between them.

    Args:
        function: takes one value; an exception in it ends the fork.
        name: for error messages.

    Raises:
        InvalidParameter: the system cannot fork.

    Example:
        >>> fork = ForkedWorker(lambda x: x + 1, "the adder")
        >>> fork.begin([1, 2])
        >>> fork.results()
        [2, 3]
        >>> fork.stop()
    """

    def __init__(self, function: Callable[[Any], Any], name: str) -> None:
        if "fork" not in multiprocessing.get_all_start_methods():
            raise InvalidParameter(f"{name}: processes are forked, which this system cannot do; use processes=1")
        self.name, context = name, multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(function, theirs), daemon=True)
        with warnings.catch_warnings():  # of threads, which the child does not have: those of `arrays.parallel` are started anew
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        theirs.close()

    def begin(self, values: list[Any]) -> None:
        """Send values; `results` must be called before the next ones."""
        try:
            self.pipe.send(values)
        except OSError:
            raise self._ended() from None

    def results(self) -> list[Any]:
        """Wait for the results, in the order of the values.

        Raises:
            ByzantineError: the process ended.
        """
        try:
            found: list[Any] = self.pipe.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        return found

    def _ended(self) -> ByzantineError:
        self.process.join()
        return ByzantineError(f"{self.name} ended ({cause(self.process.exitcode)}), and what it knew is lost; start again")

    def stop(self) -> None:
        """End the process, whatever it is at."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


def _serve(function: Callable[[Any], Any], pipe: Connection) -> None:
    end_with_parent()
    while True:
        pipe.send([function(value) for value in pipe.recv()])
