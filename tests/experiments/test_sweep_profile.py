"""`sweep --profile`: where the time of cells went."""

import re

import pytest
from typer.testing import CliRunner

from flwr_byzantine.experiments.cli import app
from flwr_byzantine.experiments.sweep import read
from flwr_byzantine.experiments.sweep.cell import run
from tests.support.sweeps import TINY, write

ALWAYS = {"clients", "strategy", "evaluation", "measures", "other"}


@pytest.mark.parametrize("engine", ["local", "batched"])
def test_each_engine_says_how_long_each_part_took_and_computes_the_same(tmp_path, engine):
    sweep = read(write(tmp_path, TINY.replace("[sweep]", f'[sweep]\nengine = "{engine}"')))
    cells = {(cell.config["strategy"], cell.config["attack"]): cell for cell in sweep.cells}
    for strategy, attack, more in (("fedavg", "none", set()), ("krum", "none", {"rule"}), ("krum", "alie", {"rule", "attack"})):
        found, plain = run(cells[strategy, attack], profile=True), run(cells[strategy, attack])
        assert set(found.profile) == ALWAYS | more
        assert sum(found.profile.values()) == pytest.approx(found.seconds, abs=0.05)
        assert found.history == plain.history
        assert "profile" not in plain.to_json()


def test_the_table_is_of_what_ran_now(tmp_path):
    text = TINY.replace("[sweep]", '[sweep]\nengine = "batched"').replace('["fedavg", "krum", "nnm+trimmed-mean"]', '["fedavg"]')
    command = ["sweep", str(write(tmp_path, text)), "--processes", "1", "--results", str(tmp_path / "r.jsonl"), "--profile"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "Where the time went: 6 rounds" in done.output
    rows = dict(re.findall(r"^(\w+) .*  ([\d.]+) %  ", done.output, re.MULTILINE))
    assert set(rows) == ALWAYS | {"attack", "gather", "gradients", "optimiser"}
    assert sum(map(float, rows.values())) == pytest.approx(100, abs=0.5)
    assert "Where" not in CliRunner().invoke(app, command).output
