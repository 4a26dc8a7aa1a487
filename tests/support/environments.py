"""New Python environments, made by pip or by uv, which see nothing of this checkout until it is installed."""

import os
import subprocess
import sys

CLEAN = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(*command, cwd=None):
    """Run a command to its end, which must be a good one; its standard output."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=CLEAN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def uv(*arguments):
    """Run uv, which Flower brings."""
    return run(sys.executable, "-m", "uv", "--no-progress", *arguments)


class Pip:
    """An environment made by venv and pip; this environment's pip is used, without which it is made faster."""

    def __init__(self, folder):
        self.python = folder / "bin" / "python"
        run(sys.executable, "-m", "venv", "--without-pip", folder)

    def install(self, *arguments):
        run(sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet", "--no-compile", *arguments)


class Uv:
    """An environment made by uv."""

    def __init__(self, folder):
        self.python = folder / "bin" / "python"
        uv("venv", "--quiet", "--python", sys.executable, folder)

    def install(self, *arguments):
        uv("pip", "install", "--quiet", "--python", self.python, *arguments)
