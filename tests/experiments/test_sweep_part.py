"""`sweep --part K/N`: parts that are run apart, and their files joined."""

import pytest
from typer.testing import CliRunner

from flwr_byzantine import InvalidParameter
from flwr_byzantine.experiments.cli import app
from flwr_byzantine.experiments.sweep import read
from flwr_byzantine.experiments.sweep.config import part_of
from tests.support.sweeps import TINY, results, write


@pytest.mark.parametrize("count", [1, 2, 4, 9, 20])
def test_parts_are_about_equal_and_together_the_whole(tmp_path, count):
    whole = read(write(tmp_path, TINY))
    parts = [part_of(whole, f"{k}/{count}").cells for k in range(1, count + 1)]
    assert sorted(cell.key for part in parts for cell in part) == sorted(cell.key for cell in whole.cells)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("part", ["", "3", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1.0/2", "1 / 2", "١/٢"])
def test_what_is_no_part_is_one_sentence(tmp_path, part):
    with pytest.raises(InvalidParameter, match="--part must be K/N, with K from 1 to N, such as 2/8, got"):
        part_of(read(write(tmp_path, TINY)), part)


def test_files_of_parts_are_joined_by_putting_one_after_the_other(tiny, tmp_path):
    sweep, _, one = tiny
    texts = one.read_bytes().splitlines(keepends=True)
    keys = [{cell.key for cell in part_of(sweep, f"{k}/2").cells} for k in (1, 2)]
    for k, mine in enumerate(keys, 1):
        (tmp_path / f"{k}.jsonl").write_bytes(b"".join(text for text in texts if any(key.encode() in text for key in mine)))
        done = CliRunner().invoke(app, ["sweep", str(sweep.file), "--part", f"{k}/2", "--results", str(tmp_path / f"{k}.jsonl")])
        assert "0 cells finished, 0 failed" in done.output
    joined = tmp_path / "joined.jsonl"
    joined.write_bytes((tmp_path / "1.jsonl").read_bytes() + (tmp_path / "2.jsonl").read_bytes())
    assert results(joined) == results(one)
