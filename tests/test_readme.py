"""The README's examples run, its commands are the ones CI uses, and it is short."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from flwr_byzantine import attacks, rules
from flwr_byzantine.experiments.audit import BATTERY

README = (Path(__file__).parents[1] / "README.md").read_text()
ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("flwr-byzantine ")
]


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example_runs(number, tmp_path):
    done = subprocess.run([sys.executable, "-c", EXAMPLES[number]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[1] != "demo"])
def test_command_runs(command, tmp_path):
    (tmp_path / "simulations").symlink_to(ROOT / "simulations")
    done = subprocess.run(
        [sys.executable, "-m", *command.replace("flwr-byzantine", "flwr_byzantine", 1).split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_one_line_commands_make_and_use_their_own_environment():
    for mark in ("demo-command", "test-command"):
        block = re.search(rf"<!-- {mark} -->\n```bash\n(.*?)```", README, re.DOTALL).group(1)
        assert len(block.strip().splitlines()) == 1
        assert block.startswith("python3 -m venv .venv && .venv/bin/")


def test_what_it_counts_is_there():
    counts = {"rules": len(rules.available()), "attacks": len(attacks.available()), "kinds of hostile reply": len(BATTERY)}
    assert {what: int(re.search(rf"(\d+) {what}", README)[1]) for what in counts} == counts


def test_it_is_short():
    """What is more is on a page of docs/."""
    assert len(README.split()) <= 1500
