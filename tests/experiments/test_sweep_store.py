"""The results of a sweep on disk."""

import errno
import os

import pytest

from flwr_byzantine import InvalidParameter
from flwr_byzantine.experiments.sweep import Store
from tests.support.sweeps import line_of, result, write


def test_a_torn_last_line_is_ignored_and_cut_off_before_the_next(tmp_path):
    path = tmp_path / "r.jsonl"
    with Store(path) as store:
        store.append(result("a"))
    with path.open("a") as file:
        file.write('{"key": "b", "config"')
    assert list(Store(path).read()) == ["a"]
    with Store(path) as store:
        store.append(result("c"))
    assert path.read_text() == line_of(result("a")) + line_of(result("c"))


def test_a_whole_last_line_without_its_end_counts(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(line_of(result("a")).strip())
    assert list(Store(path).read()) == ["a"]
    with Store(path) as store:
        store.append(result("b"))
    assert list(Store(path).read()) == ["a", "b"]


def test_every_cut_of_a_file_can_be_gone_on_from(tmp_path):
    path, first, second = tmp_path / "r.jsonl", line_of(result("a")).encode(), line_of(result("b")).encode()
    whole = first + second
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with Store(path) as store:
            before = list(store.read())
            store.append(result("z"))
        assert list(Store(path).read()) == [*before, "z"]
        assert before == ["a", "b"][: (length >= len(first) - 1) + (length >= len(whole) - 1)]


def test_later_lines_replace_earlier_ones(tmp_path):
    with Store(tmp_path / "r.jsonl") as store:
        store.append(result("a", n=1))
        store.append(result("a", n=2))
    assert Store(tmp_path / "r.jsonl").read()["a"].config["n"] == 2


@pytest.mark.parametrize("foreign", ["hello", "[1]", '{"key": "b"}', '{"key": "b", "config": {}}', '{"config": 3}'])
def test_a_foreign_line_is_a_clear_error(tmp_path, foreign):
    path = write(tmp_path, f"{line_of(result('a'))}{foreign}\n{line_of(result('c'))}", "r.jsonl")
    with pytest.raises(InvalidParameter, match="line 2 is no result of a sweep"):
        Store(path).read()


def test_two_sweeps_do_not_write_to_one_file(tmp_path):
    with Store(tmp_path / "r.jsonl"), pytest.raises(InvalidParameter, match="another sweep is writing"), Store(tmp_path / "r.jsonl"):
        pass


def test_a_disk_that_becomes_full_leaves_the_lines_before(tmp_path, monkeypatch):
    room, write_all = len(line_of(result("a"))) + 10, os.write

    def write_some(file, data):
        left = room - os.fstat(file).st_size
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_all(file, data[:left])

    with Store(tmp_path / "r.jsonl") as store:
        monkeypatch.setattr(os, "write", write_some)
        store.append(result("a"))
        with pytest.raises(
            InvalidParameter, match=r"cannot write the result of a cell \(No space left on device\); those before it are kept"
        ):
            store.append(result("b"))
        monkeypatch.undo()
        assert store.path.read_text() == line_of(result("a"))
        store.append(result("c"))
    assert list(Store(tmp_path / "r.jsonl").read()) == ["a", "c"]


@pytest.mark.parametrize("name", ["", "..", "/", os.devnull])
def test_results_are_kept_in_a_file(tmp_path, name):
    with pytest.raises(InvalidParameter, match="results are kept in a file, and this is none"):
        Store(tmp_path / name)
