"""What several tests of sweeps share."""

import pytest

from flwr_byzantine.experiments.sweep import read, run
from tests.support.sweeps import TINY, write


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The nine cells by one process, and the file."""
    folder = tmp_path_factory.mktemp("tiny")
    sweep = read(write(folder, TINY))
    summary = run(sweep, folder / "one.jsonl", processes=1)
    return sweep, summary, folder / "one.jsonl"
