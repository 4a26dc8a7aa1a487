"""One writer at a time: between processes, within one, after a kill, and where the system or the folder knows no locks."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flwr_byzantine import InvalidParameter
from flwr_byzantine.strategy import lock
from flwr_byzantine.strategy.lock import Lock

HOLDER = """
import sys, time
from pathlib import Path
from flwr_byzantine.strategy.lock import Lock
held = Lock(Path(sys.argv[1]), print)
held.acquire()
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""
LACKS = {
    "fcntl": "import sys; sys.modules['fcntl'] = None\n",
    "flock": "import fcntl, errno\ndef flock(*_): raise OSError(errno.ENOSYS, 'no flock')\nfcntl.flock = flock\n",
}


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds the lock for some seconds."""
    started = []

    def begin(seconds, lack=None):
        process = subprocess.Popen(
            [sys.executable, "-c", LACKS.get(lack, "") + HOLDER, str(tmp_path / "run"), str(seconds)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_process_waits_is_refused_by_name_and_gets_the_lock_of_a_killed_one(tmp_path, holder):
    process, said = holder(60), []
    second = Lock(tmp_path / "run", lambda *line: said.append(line[1]))
    with pytest.raises(InvalidParameter, match=rf"process {process.pid} on \S+ writes '.*run'; wait for its end, or give another path"):
        second.acquire(0.3)
    assert [text for text in said if text.startswith(f"waiting up to 0.3 s for process {process.pid}")] == said
    assert len(said) == 1
    assert not second.held
    process.kill()
    second.acquire(20)  # which a dying process needs no more of
    assert second.held
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_the_patience_outlasts_a_server_that_is_about_to_end(tmp_path, holder):
    assert lock.PATIENCE >= 30
    holder(1.0)
    second = Lock(tmp_path / "run", print)
    second.acquire(20)
    assert second.held
    second.release()


def test_in_one_process_an_idle_holder_makes_room_and_a_running_one_does_not(tmp_path):
    first, second = Lock(tmp_path / "run", print), Lock(tmp_path / "run", print)
    first.acquire()
    with pytest.raises(InvalidParameter, match="writes"):
        second.acquire(0.1)
    assert first.held
    first.idle = True
    second.acquire(0)
    assert (first.held, second.held) == (False, True)
    del second
    third = Lock(tmp_path / "run", print)
    third.acquire(1)
    third.release()


def test_a_lock_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "run.lock").mkdir()
    with pytest.raises(InvalidParameter, match="cannot be locked"):
        Lock(tmp_path / "run", print).acquire()
    (tmp_path / "other.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(InvalidParameter, match="cannot be locked"):
        Lock(tmp_path / "other", print).acquire()
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("lack", LACKS)
def test_where_no_lock_is_known_a_marker_does_it(lack, tmp_path, holder):
    """Systems without fcntl, and network folders where the call is missing."""
    process = holder(60, lack)
    command = [sys.executable, "-c", LACKS[lack] + HOLDER.replace("acquire()", "acquire(0.3)"), str(tmp_path / "run"), "0"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"process {process.pid} on" in refused.stderr.splitlines()[-1]
    assert "writes" in refused.stderr.splitlines()[-1]
    process.kill()
    process.wait()
    later = subprocess.run([*command[:2], command[2].replace("0.3", "20"), *command[3:]], capture_output=True, text=True, check=False)
    assert later.stdout.splitlines()[-1] == "held", later.stderr
    assert list(tmp_path.iterdir()) == []


def test_where_locking_is_refused_the_log_says_so(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    said = []
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(lock.UNKNOWN[0], "no locks")))
    held = Lock(tmp_path / "run", lambda *line: said.append(line[1]))
    held.acquire()
    assert held.held
    assert "nothing can be locked" in said[0]
    held.release()


def test_no_module_of_the_package_needs_what_only_some_systems_have():
    """Outside `hasattr` or `try`, where a system without it takes another way."""
    package, only = Path(lock.__file__).parents[1], r"^\s*(?:import|from) (?:fcntl|resource|termios|pwd|grp|msvcrt|winreg)\b"
    found = [path.name for path in package.rglob("*.py") if re.search(only, path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert found == []


def test_a_full_disk_costs_the_holders_name_and_not_the_lock(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    held = Lock(tmp_path / "run", print)
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        held.acquire(0.0)
    assert held.held
    with pytest.raises(InvalidParameter, match="another process writes"):
        Lock(tmp_path / "run", print).acquire(0.0)
    held.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["_locked", "write"])
def test_whatever_ends_the_taking_of_a_lock_leaves_none_behind(place, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(*((Lock, place) if place == "_locked" else (os, place)), interrupted)
        with pytest.raises(KeyboardInterrupt):
            Lock(tmp_path / "run", print).acquire(0.0)
    after = Lock(tmp_path / "run", print)
    after.acquire(0.0)
    after.release()
