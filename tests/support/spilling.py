"""Rules whose rounds are spilled to a file, and which files of this process are open."""

import os
from pathlib import Path

import pytest

from flwr_byzantine import rules

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads what is resident from /proc, which is Linux's")
RULES = [
    rules.Krum(f=2),
    rules.TrimmedMean(f=2),
    rules.chain(rules.NNM(f=2), rules.TrimmedMean(f=2)),
    rules.CenteredClipping(f=2),
    rules.Phocas(f=2),
    rules.FoolsGold(),
]


def open_files(folder):
    """The files of this process below a folder, those without a name too."""
    return [link for fd in os.listdir("/proc/self/fd") if (link := _link(fd)).startswith(str(folder))]


def _link(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
