"""The file that rows are moved to: the same bits from it as from memory, passes that let go of it, and its end."""

import gc
import os
import subprocess
import sys
from itertools import chain

import numpy as np
import pytest

import flwr_byzantine as ours
from flwr_byzantine import InvalidParameter, legacy
from flwr_byzantine.arrays import compiled, spill
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.arrays.window import Window
from flwr_byzantine.rules.pipeline import run
from tests.support.spilling import RULES, needs_proc, open_files


def blocks(n=11, widths=(70_001, 0, 3, 1, 5000), dtype=np.float32):
    rng = np.random.default_rng(0)
    origins = [rng.normal(size=width).astype(dtype) for width in widths]
    return [Block([(origin + rng.normal(size=len(origin))).astype(dtype) for _ in range(n)], origin) for origin in origins]


def moved(updates, file):
    """The same updates with their rows in the file."""
    replies = [file.add([block.rows[i] for block in updates.blocks]) for i in range(updates.n)]
    layers = [Block([reply[k] for reply in replies], block.origin) for k, block in enumerate(updates.blocks)]
    return Updates(layers, updates.ids, file.after_part)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_the_same_bits_as_in_memory(rule, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "EXTENT", 1 << 20)  # many maps
    updates = Updates(blocks(dtype=dtype), ids=range(100, 111))
    expected = run(rule, updates)
    with Spill(tmp_path) as file:
        found = run(rule, moved(updates, file))
    for mine, other in zip(found.blocks, expected.blocks, strict=True):
        np.testing.assert_array_equal(mine, other)
        assert mine.dtype == dtype
    np.testing.assert_array_equal(found.influence, expected.influence)
    assert found.selected == expected.selected


PASSES = {
    "gram": lambda updates: updates.gram(centred=True),
    "sq_norms": lambda updates: updates.sq_norms(),
    "sq_distances_to": lambda updates: updates.sq_distances_to(3),
    "combine": lambda updates: updates.combine(np.full(updates.n, 1 / updates.n)),
    "windows": lambda updates: updates.windows(Window(3, 5)),
    "mixed windows": lambda updates: updates.windows(Window(0, 2), np.eye(updates.n)[:2]),
    "sample": lambda updates: updates.sample(),
    "at": lambda updates: updates.at(np.array([0, 70_002, 70_004])),
}


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("of", [lambda updates: updates, lambda updates: updates.take([5, 1, 7, 0, 2, 3, 4]).append([np.zeros(updates.d)])])
def test_every_pass_says_when_a_part_is_done(name, dtype, of):
    """That is where pages go back to the system; without it a pass would make the whole file resident."""
    calls = []
    PASSES[name](of(Updates(blocks(dtype=dtype), after_part=lambda: calls.append(1))))
    assert len(calls) >= 4


def test_views_are_read_only_arrays_that_the_compiled_kernels_read_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "EXTENT", 1 << 16)
    monkeypatch.setattr(compiled, "AVAILABLE", True)
    given = [[np.arange(k, k + 9000, dtype=np.float32), np.float64([k]), np.zeros(0, np.int8)] for k in range(7)]
    with Spill(tmp_path) as file:
        found = [file.add(reply) for reply in given]
        assert len(file._maps) > 2
        for mine, other in zip(chain(*found), chain(*given), strict=True):
            assert type(mine) is np.ndarray
            assert mine.dtype == other.dtype
            np.testing.assert_array_equal(mine, other)
        rows = [reply[0] for reply in found]
        assert compiled.supports(rows)
        assert not any(row.flags.writeable for row in rows)
        assert all(row.__array_interface__["data"][0] % 64 == 0 for row in rows)
        file.trim()  # hands back pages, not values
        np.testing.assert_array_equal(rows[3], given[3][0])


@needs_proc
def test_the_file_is_gone_when_it_is_closed_or_forgotten(tmp_path):
    with Spill(tmp_path) as file:
        view = file.add([np.arange(5)])[0]
        assert open_files(tmp_path)
    assert view.tolist() == [0, 1, 2, 3, 4]  # views outlive it
    del view
    gc.collect()
    assert not open_files(tmp_path)
    forgotten = Spill(tmp_path)
    forgotten.add([np.arange(5)])
    del forgotten
    gc.collect()
    assert not open_files(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_to_is_one_clear_sentence(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(
        InvalidParameter, match=r"spill must be a folder with room for all replies of a round, got '.*missing': No such file"
    ):
        Spill(missing)
    for value in (missing, 3, True):
        with pytest.raises(InvalidParameter, match="spill must be a folder that exists and can be written to, got"):
            ours.Krum(f=1, spill=value)
    with pytest.raises(InvalidParameter, match="spill must be a folder"):
        legacy.Krum(f=1, spill=str(missing))


FULL = """
import resource, sys
import numpy as np
from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.arrays import spill
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
spill.EXTENT = 1 << 19
with Spill(sys.argv[1]) as file:
    file.add([np.zeros(1000)])
    try:
        while True:
            file.add([np.zeros(20_000)])
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files, which is POSIX")
def test_a_full_disk_is_one_clear_sentence(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True)
    expected = f"InvalidParameter spill must be a folder with room for all replies of a round, got '{tmp_path}': File too large\n"
    assert done.stdout == expected
