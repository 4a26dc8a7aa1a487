"""Data sets of one's own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from flwr_byzantine import InvalidParameter
from flwr_byzantine.declare.own import resolve
from flwr_byzantine.experiments.sweep import read
from flwr_byzantine.experiments.tasks import Task, data
from tests.support.sweeps import STRICT, write

RNG = np.random.default_rng(0)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a module in the current folder, which is a new one; the test gives its lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])

    def make(name, *lines):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text("\n".join(["import numpy as np", *lines]))
        return tmp_path

    return make


RGB = ["def load(rows=12):", "    x = np.linspace(0, 1, rows * 3 * 6 * 8).reshape(rows, 3, 6, 8)", "    y = np.arange(rows) % 3"]


def test_a_function_of_ones_own_gives_images_of_any_shape_and_takes_options(own):
    own("wide", *RGB, "    return x, y, x[:6], y[:6]")
    found = data.load(Task(dataset="wide:load", dataset_options={"rows": 9}))
    assert (found.shape, found.classes, found.vocabulary, found.groups) == ((3, 6, 8), 3, 0, None)
    assert (found.train_x.shape, found.train_x.dtype, len(found.test_y)) == ((9, 144), torch.float32, 6)


def test_bytes_are_pixels_integers_are_tokens_and_a_fifth_value_says_whose_they_are(own):
    own("bytes", "def load():", "    x = np.full((4, 2, 3), 255, np.uint8)", "    return x, [0, 1, 0, 1], x, [0, 1, 0, 1]")
    found = data.load(Task(dataset="bytes:load"))
    assert (found.shape, found.train_x.tolist()[0]) == ((1, 2, 3), [1.0] * 6)
    own("grad", "import torch", "def load():", "    x = torch.ones(4, 2, 2, requires_grad=True)", "    return x, [0, 1] * 2, x, [0, 1] * 2")
    assert data.load(Task(dataset="grad:load")).train_x.tolist() == [[1.0] * 4] * 4
    own("words", "def load():", "    x = np.arange(12).reshape(4, 3)", "    return x, [0, 1, 0, 1], x, [0, 1, 0, 1], list('baab')")
    found = data.load(Task(dataset="words:load"))
    assert (found.shape, found.vocabulary, found.train_x.dtype) == ((3,), 12, torch.int64)
    assert found.groups.tolist() == [1, 0, 0, 1]


def test_whose_an_example_is_is_still_known_when_some_are_held_back(own):
    own(
        "owned",
        "def load():",
        "    x = np.arange(80.0).reshape(40, 2) // 20",
        "    return x, np.arange(40) % 2, x, np.arange(40) % 2, x[:, 0]",
    )
    found = data.load(Task(dataset="owned:load", validation=0.5))
    assert found.groups.tolist() == found.train_x[:, 0].tolist()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "has no 'load'; define it there"),
        (["def laod(): pass"], "has no 'load'; did you mean 'laod'?"),
        (["load = 3"], "load must be a function, got int"),
        (["1 / 0"], "cannot import 'wrong' (ZeroDivisionError: division by zero)"),
        (["import no_such_module"], "cannot import 'wrong' (ModuleNotFoundError: No module named 'no_such_module')"),
        (["def load(): raise SystemExit(3)"], "raised SystemExit: 3"),
        (["def load(): return 1 / 0"], "raised ZeroDivisionError: division by zero"),
        (["def load(): raise ValueError('first\\nsecond')"], "raised ValueError: first second"),
        (["def load(size): pass"], "raised TypeError: load() missing 1 required positional argument: 'size'"),
        (["def load(): return 1, 2"], "must return train_x, train_y, test_x, test_y (and groups, if any), got 2 values"),
        (["def load(): pass"], "must return train_x, train_y, test_x, test_y (and groups, if any), got NoneType"),
        (
            ["x = np.ones((4, 3))", "def load(): return x, [0, 1], x, [0, 1]"],
            "an integer label >= 0 for each, got 4 examples and labels of int64 and shape (2,)",
        ),
        (["x = np.ones((2, 3))", "def load(): return x, [0.5, 1], x, [0, 1]"], "labels of float64 and shape (2,)"),
        (["x = np.ones((2, 3))", "def load(): return x, [0, -1], x, [0, 1]"], "labels of int64 and shape (2,), the least of them -1"),
        (["x = np.ones((2, 3))", "def load(): return x, [0, 0], x, [0, 0]"], "labels must be 0 .. classes - 1, got 0 .. 0"),
        (["x = np.ones((2, 3))", "def load(): return x, [0, 1], x[:, :2], [0, 1]"], "examples of train and test must be alike"),
        (["x = np.ones((2, 3))", "def load(): return x, [0, 1], x, [0, 1], [1]"], "groups must be a vector of 2"),
        (["x = np.ones((2, 3))", "def load(): return x, [0, 1], x, [0, 1], [None, 'a']"], "groups must be 2 names or numbers"),
        (["x = np.ones((2, 3))", "def load(): return x, [0, 1], x, [0, 1], [[1, 2], [3]]"], "groups must be 2 names or numbers"),
        (["x = np.full((2, 3), 1e39)", "def load(): return x, [0, 1], x, [0, 1]"], "must be finite as float32"),
        (["x = np.ones((0, 3))", "def load(): return x, [], x, []"], "examples"),
        (["x = np.full((2, 3), np.nan)", "def load(): return x, [0, 1], x, [0, 1]"], "must be finite"),
        (["x = np.full((2, 3), -1)", "def load(): return x, [0, 1], x, [0, 1]"], "tokens >= 0"),
        (["def load(): return [[1], [2, 3]], [0, 1], [[1]], [0]"], "train needs arrays or tensors, got list (setting an array element"),
        (["x = np.array(['a', 'b'])", "def load(): return x, [0, 1], x, [0, 1]"], "examples must be images (rows, channels, height"),
        (["x = np.ones((2, 0))", "def load(): return x, [0, 1], x, [0, 1]"], "examples must be images (rows, channels, height"),
    ],
)
def test_every_mistake_is_one_sentence_before_anything_runs(own, lines, said):
    folder = own("wrong", *lines)
    with pytest.raises(InvalidParameter) as error:
        read(write(folder, "[task]\ndataset = 'wrong:load'\nmodel = 'softmax'\n"))
    assert said in str(error.value)
    assert "dataset 'wrong:load'" in str(error.value)
    assert "\n" not in str(error.value)


def test_lists_are_lists_and_tables_are_no_options(own):
    own("listed", "def load(sizes):", "    assert sizes == [3, [4]]", "    x = np.ones((4, 2))", "    return x, [0, 1] * 2, x, [0, 1] * 2")
    assert data.load(Task(dataset="listed:load", dataset_options={"sizes": [3, [4]]})).shape == (2,)
    with pytest.raises(InvalidParameter, match=r"option sizes must be a value or a list, got the table \{'a': 1\}"):
        Task(dataset="listed:load", dataset_options={"sizes": [{"a": 1}]})


@pytest.mark.parametrize("name", ["no-colon", "a:b:c", ".:load", "a..b:load", "a b:c", ":load", "wide:", 3])
def test_a_name_of_another_form_is_refused(name):
    with pytest.raises(InvalidParameter, match=r"must be 'module:function', got"):
        resolve(name, "dataset")


def test_attacks_are_tried_on_ones_own_data_before_anything_runs(own):
    folder = own(
        "wide",
        *RGB,
        "    return x, y, x[:6], y[:6]",
        "def rows():",
        "    x = np.ones((6, 9))",
        "    return x, [0, 1, 2] * 2, x, [0, 1, 2] * 2",
    )
    text = "[task]\ndataset = 'wide:load'\nmodel = 'softmax'\nnum-clients = 3\nnum-malicious = 1\npartition = 'iid'\nattack = {}\n"
    assert read(write(folder, text.format("{name = 'backdoor', target = 2, patch = 6}"))).cells
    for task, attack, said in (
        (text, "{name = 'backdoor', patch = 7}", "a patch of side 7 at bottom-right does not fit images of 6 x 8"),
        (text, "{name = 'backdoor', target = 5}", "target must be an integer >= 0 and < 3, got 5"),
        (
            text.replace("load", "rows"),
            "'backdoor'",
            "puts a patch on images, and an example here is a row of 9 values; take an attack on labels",
        ),
    ):
        with pytest.raises(InvalidParameter) as error:
            read(write(folder, task.format(attack)))
        assert said in str(error.value)


@pytest.mark.slow
def test_workers_of_a_sweep_find_ones_own_data(own):
    folder = own("wide", *RGB, "    return x, y, x[:6], y[:6]")
    write(
        folder,
        "[sweep]\nrounds = 1\n[task]\ndataset = 'wide:load'\nmodel = 'softmax'\nnum-clients = 2\npartition = 'iid'\n[grid]\nseed = [0, 1]",
    )
    command = [sys.executable, "-m", "flwr_byzantine", "sweep", "s.toml", "--processes", "2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**STRICT, "PYTHONPATH": str(Path(__file__).parents[2])})
    assert "2 cells finished, 0 failed" in done.stdout, done.stdout + done.stderr
