"""The processes of one Flower home, whatever else of Flower runs on the machine, and ports that are free."""

import os
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path


def processes_of(home):
    """Processes that were started with this FLWR_HOME and have not ended."""
    mark, found = f"FLWR_HOME={home}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            running = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
            if running and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except (OSError, IndexError):
            continue
    return found


def command_of(pid):
    """The command line of a process, empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def resident(pid):
    """Bytes of memory that a process holds, 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def left_behind(home, patience):
    """Those that are still there after some seconds: the operating system takes a moment to end them."""
    deadline = time.monotonic() + patience
    while (found := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def end_all(home):
    """Stop them by pid, the hard way where they do not listen; true when none is left."""
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
        for pid in processes_of(home):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        if not left_behind(home, patience=8):
            return True
    return False


def free_ports(count):
    """So many ports of loopback that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def listening(port):
    """Whether somebody listens on this port of loopback."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
