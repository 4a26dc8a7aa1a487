"""Every command writes to a pipe that knows few letters, without a warning."""

import os
import subprocess
import sys

import pytest

COMMANDS = ["--help", "rules", "rules nnm+krum", "attacks alie --json", "plan --clients 100 --malicious 10", "cite κ", "sweep none.toml"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("line", COMMANDS)
def test_a_pipe_that_knows_few_letters_gets_escapes_and_no_warning(line, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-m", "flwr_byzantine", *line.split()], capture_output=True, env=environment, check=False)
    shown = (done.stdout + done.stderr).decode(encoding)
    assert (done.returncode, done.stderr == b"") in [(0, True), (2, False)], shown
    assert "Traceback" not in shown
    assert "\x1b" not in shown
