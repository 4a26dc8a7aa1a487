"""The scripts for Slurm: their syntax, their commands, and what they do where stand-ins play Slurm on this machine."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pytest
import typer
from ray.scripts.scripts import start

from flwr_byzantine.experiments.cli import app
from tests.support.sweeps import ROOT, TINY, write

SCRIPTS = {path.name: path for path in (ROOT / "docs" / "slurm").glob("*.sh")}
STAND_INS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": "echo one; sleep 0.2; echo two",  # a reader that leaves after the first name would end the script
    "hostname": "echo 127.0.0.1",
    "flwr-byzantine": f'exec {sys.executable} -m flwr_byzantine "$@"',
}


def options(command):
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_syntax_is_bashs(name):
    assert subprocess.run(["bash", "-n", SCRIPTS[name]], capture_output=True, text=True, check=False).stderr == ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_option_of_a_command_is_one(name):
    text = SCRIPTS[name].read_text().replace("\\\n", " ")
    commands = {"flwr-byzantine sweep": typer.main.get_command(app).commands["sweep"], "ray start": start}
    for command, known in commands.items():
        for line in re.findall(rf"^(?!#).*\b{command} (.+?)(?: &| #.*)?$", text, re.MULTILINE):
            assert set(re.findall(r"(?<!\S)--[\w-]+", line)) <= options(known)
    assert isinstance(start, click.Command)
    assert "flwr-byzantine sweep" in text


@pytest.fixture
def slurm(tmp_path):
    """Runs a script with stand-ins for Slurm's commands, and variables."""
    (tmp_path / "bin").mkdir()
    for name, text in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    folder = tempfile.mkdtemp(dir="/tmp")  # paths of sockets are short
    paths = {"PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    ray = {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", "SLURM_CPUS_PER_TASK": "1"}

    def run(name, *arguments, **variables):
        command = ["bash", SCRIPTS[name], *map(str, arguments)]
        environment = os.environ | paths | ray | variables
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)

    yield run
    shutil.rmtree(folder, ignore_errors=True)


def test_a_job_of_an_array_has_its_part_and_its_file(slurm, tmp_path):
    (tmp_path / "bin" / "flwr-byzantine").write_text('#!/bin/bash\necho "$*"\n')
    done = slurm("array.sh", "configs/my-sweep.toml", SLURM_ARRAY_TASK_ID="3")
    assert done.stdout.strip() == "sweep configs/my-sweep.toml --part 3/8 --processes 1 --results my-sweep-part-3.jsonl"


@pytest.mark.slow
def test_a_job_of_two_nodes_is_a_cluster_and_leaves_nothing(slurm, tmp_path):
    path = write(tmp_path, TINY, "my-sweep.toml")
    variables = {"SLURM_JOB_NODELIST": "[one-two]", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": str(os.getpid())}
    done = slurm("ray.sh", path, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 cells finished, 0 failed" in done.stdout
    listing = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert f":{20000 + os.getpid() % 10000}" not in listing
