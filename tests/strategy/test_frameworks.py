"""What is trained of real models of Keras, Flax, Haiku and PEFT: each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["keras", "flax", "haiku", "peft"])
def test_what_is_trained_of_a_real_model(framework):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.frameworks", framework]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if f"No module named '{framework}'" in done.stderr:
        pytest.skip(f"needs {framework}, of the extra `quickstarts`")
    assert done.returncode == 0, done.stderr[-3000:]
