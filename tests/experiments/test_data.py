"""Data sets: torchvision's in their formats, Hugging Face's, CPython's text, and one's own."""

import bz2
import gzip
import hashlib
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from flwr_byzantine import InvalidParameter
from flwr_byzantine.experiments.datasets import DATASETS
from flwr_byzantine.experiments.sweep import cell, read
from flwr_byzantine.experiments.tasks import Task, data
from flwr_byzantine.experiments.tasks.partition_options import PARTITIONS
from flwr_byzantine.experiments.tasks.partitions import partitions
from flwr_byzantine.experiments.tasks.sources import topics, vision
from tests.support.sweeps import ROOT, write

SHARED = Path(__file__).parents[3] / "shared" / "data"
RNG = np.random.default_rng(0)


def test_at_least_ten_data_sets_have_names_and_each_is_read_by_someone():
    assert len(DATASETS) >= 10
    assert DATASETS.keys() == vision.SETS.keys() | {"digits", "pydoc"}


@pytest.mark.parametrize(("name", "several"), [("emnist", "emnist-byclass, emnist-bymerge"), ("cifar", "cifar-10, cifar-100")])
def test_a_name_of_several_data_sets_lists_them(name, several):
    with pytest.raises(InvalidParameter, match=f"there are several of dataset '{name}'; choose one of: {several}"):
        Task(dataset=name)


def idx(path, values, kind):
    """A file in MNIST's format: 0, 0, the kind of number, how many dimensions, their sizes, the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, kind, values.ndim, *values.shape)
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(head + values.tobytes())


def mnist_like(root, name, rows=12):
    """Files of a set in MNIST's format, packed; returns images and labels by part as the clients should see them."""
    images = [RNG.integers(0, 256, (rows, 28, 28), dtype=np.uint8) for _ in range(2)]
    labels = [np.arange(rows, dtype=np.uint8) % DATASETS[name].classes + (name == "emnist-letters") for _ in range(2)]
    for file in vision.SETS[name].files:
        part = int(not Path(file).name.removeprefix("qmnist-").removeprefix(f"{name}-").startswith("train"))
        if "images" in file:
            idx(root / file, images[part], 8)
        elif name == "qmnist":
            columns = np.stack([labels[part], np.zeros(rows), np.arange(rows) // 4 + 100, *np.zeros((5, rows))], axis=1)
            idx(root / file, columns.astype(">i4"), 12)
        else:
            idx(root / file, labels[part], 8)
    return images, labels


def as_rows(images):
    return torch.from_numpy(images).float().div(255).reshape(len(images), -1)


@pytest.mark.parametrize("name", [name for name, source in vision.SETS.items() if "/raw/" in source.files[0]])
def test_sets_in_the_format_of_mnist_are_read_from_packed_files(name, tmp_path):
    (images, test_images), (labels, _) = mnist_like(tmp_path, name)
    found = data.load(Task(dataset=name, data_root=str(tmp_path)))
    assert (found.shape, found.classes) == (DATASETS[name].shape, DATASETS[name].classes)
    assert torch.equal(found.train_x, as_rows(images))
    assert torch.equal(found.test_x, as_rows(test_images))
    assert found.train_y.tolist() == [int(label) - (name == "emnist-letters") for label in labels]
    assert not [path for path in tmp_path.rglob("*ubyte")]
    assert (None if found.groups is None else found.groups.tolist()) == ([k // 4 for k in range(12)] if name == "qmnist" else None)


def cifar(folder, name):
    """Pickles in CIFAR's format: rows of 3072 bytes, red, green, blue; returns rows and labels of train and test."""
    many, key = (5, "labels") if name == "cifar-10" else (1, "fine_labels")
    files = list(vision.SETS[name].files)
    rows = [RNG.integers(0, 256, (4, 3072), dtype=np.uint8) for _ in range(many + 1)]
    labels = [[(3 * number + k) % 10 for k in range(4)] for number in range(many + 1)]
    for file, x, y in zip(files[: many + 1], rows, labels, strict=True):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(pickle.dumps({"data": x, key: y, "coarse_labels": [0] * 4}, protocol=2))
    (folder / files[-1]).write_bytes(pickle.dumps({"label_names": ["a"] * 10, "fine_label_names": ["a"] * 100}, protocol=2))
    return np.concatenate(rows[:many]), [label for part in labels[:many] for label in part], rows[many], labels[many]


def trust(monkeypatch, cls, folder):
    """Let torchvision's class expect the check sums of the files that this test made."""

    def summed(name):
        return hashlib.md5((folder / cls.base_folder / name).read_bytes()).hexdigest()

    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(cls, listed, [[name, summed(name)] for name, _ in getattr(cls, listed)])
    monkeypatch.setattr(cls, "meta", cls.meta | {"md5": summed(cls.meta["filename"])})


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["cifar-10", "cifar-100"])
def test_cifar_is_read_from_its_files_or_its_archive(name, packed, tmp_path, monkeypatch):
    source, root = vision.SETS[name], tmp_path / "root"
    x, y, test_x, test_y = cifar(tmp_path, name)
    trust(monkeypatch, getattr(torchvision.datasets, source.cls), tmp_path)
    if packed:
        root.mkdir()
        with tarfile.open(root / source.archive, "w:gz") as archive:
            archive.add(tmp_path / Path(source.files[0]).parent, arcname=str(Path(source.files[0]).parent))
    found = data.load(Task(dataset=name, data_root=str(root if packed else tmp_path)))
    assert (found.shape, found.classes) == ((3, 32, 32), DATASETS[name].classes)
    assert torch.equal(found.train_x, as_rows(x))
    assert torch.equal(found.test_x, as_rows(test_x))
    assert (found.train_y.tolist(), found.test_y.tolist()) == (y, test_y)


def test_a_cell_runs_on_images_of_three_channels(tmp_path, monkeypatch):
    cifar(tmp_path, "cifar-10")
    trust(monkeypatch, torchvision.datasets.CIFAR10, tmp_path)
    text = f"[task]\ndataset = 'cifar-10'\ndata-root = '{tmp_path}'\nnum-clients = 3\nnum-malicious = 1\npartition = 'iid'\nmodel = 'cnn'\n"
    sweep = read(write(tmp_path, text + "attack = 'backdoor'\nnormalize = 'standard'\nrounds = 1\nlocal-epochs = 1\nvalidation = 0.0\n"))
    found = cell.run(sweep.cells[0], sweep.data_root)
    assert found.ok, found.error
    assert len(found.curve("attack_success")) == 2


def test_svhn_is_read_from_its_mat_files_where_a_ten_is_a_zero(tmp_path, monkeypatch):
    from scipy.io import savemat

    images = RNG.integers(0, 256, (32, 32, 3, 5), dtype=np.uint8)
    for part in ("train", "test"):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": images, "y": np.array([[10], [1], [2], [3], [9]], np.uint8)})
    sums = {part: hashlib.md5((tmp_path / f"{part}_32x32.mat").read_bytes()).hexdigest() for part in ("train", "test")}
    lists = torchvision.datasets.SVHN.split_list
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", lists | {part: [*lists[part][:2], sums[part]] for part in sums})
    found = data.load(Task(dataset="svhn", data_root=str(tmp_path)))
    assert torch.equal(found.train_x, as_rows(np.ascontiguousarray(images.transpose(3, 2, 0, 1))))
    assert found.train_y.tolist() == [0, 1, 2, 3, 9]


def test_usps_is_read_from_its_text(tmp_path):
    line = " ".join(["3", *(f"{pixel + 1}:{pixel / 127.5 - 1:.4f}" for pixel in range(256))])
    for name in vision.SETS["usps"].files:
        (tmp_path / name).write_bytes(bz2.compress(f"{line}\n{line}\n".encode()))
    found = data.load(Task(dataset="usps", data_root=str(tmp_path)))
    assert (found.shape, found.train_y.tolist()) == ((1, 16, 16), [2, 2])
    assert (found.train_x[0] - torch.arange(256) / 255).abs().max() < 0.01


def test_files_that_are_not_torchvisions_are_one_sentence(tmp_path):
    cifar(tmp_path, "cifar-10")  # with check sums of their own
    with pytest.raises(
        InvalidParameter,
        match=r"^data-root: '.*' has no cifar-10 that torchvision can read \(RuntimeError: .*corrupted.*; remove .*CIFAR10\(",
    ):
        data.load(Task(dataset="cifar-10", data_root=str(tmp_path)))
    mnist_like(tmp_path, "mnist")
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(InvalidParameter, match=r"has no mnist that torchvision can read \(BadGzipFile"):
        data.load(Task(dataset="mnist", data_root=str(tmp_path)))


@pytest.mark.parametrize("name", vision.SETS)
def test_a_set_that_is_not_there_is_one_sentence_before_anything_runs(name, tmp_path):
    with pytest.raises(InvalidParameter) as error:
        read(write(tmp_path, f"[task]\ndataset = '{name}'\ndata-root = '{tmp_path}'"))
    said = str(error.value)
    assert f"data-root: '{tmp_path}' holds no {name} in torchvision's layout: {vision.SETS[name].files[0]}" in said
    assert f"torchvision.datasets.{vision.SETS[name].cls}('{tmp_path}', " in said
    assert "\n" not in said


def test_without_a_root_torchvision_downloads_and_says_why_it_cannot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(vision.ROOT_VARIABLE, raising=False)
    asked = []

    def unreachable(root, train, download):
        asked.append((root, download))
        raise OSError("no\nnetwork")

    monkeypatch.setattr(torchvision.datasets, "KMNIST", unreachable)
    with pytest.raises(InvalidParameter, match=r"'data' holds no kmnist .* \(OSError: no network\)$"):
        data.load(Task(dataset="kmnist"))
    assert asked == [("data", True)]


@pytest.mark.skipif(not (SHARED / "MNIST").exists(), reason="needs MNIST beside the checkout")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_sets_beside_the_checkout_are_read_by_the_environment_from_a_read_only_folder(name, monkeypatch):
    monkeypatch.setenv(vision.ROOT_VARIABLE, str(SHARED))
    found = data.load(Task(dataset=name, validation=0.1))
    assert (len(found.train_y), len(found.validation_y), len(found.test_y)) == (54_000, 6_000, 10_000)
    assert 0.99 < float(found.train_x.max()) <= 1.0
    assert not list(SHARED.rglob("*ubyte"))
    assert sum(map(len, partitions(Task(dataset=name, validation=0.1, partition="sorted", num_clients=50)))) == 54_000


def test_pydoc_predicts_the_next_character_and_never_tests_on_what_it_trained():
    found, text = data.load(Task(dataset="pydoc")), topics.CHARACTERS
    assert (found.shape, found.vocabulary, found.classes) == ((32,), 96, 96)
    assert found.train_x.dtype == torch.int64
    assert len(np.unique(found.groups)) > 50
    row = next(k for k in range(len(found.train_x) - 4) if found.groups[k] == found.groups[k + 4])
    assert found.train_x[row + 4, 0] == found.train_y[row], "the label of a window is the first of the window 32 further on"
    assert "assert" in "".join(text[token] for token in found.train_x[:4].flatten().tolist()), "the first topic"
    trained = {tuple(window) for window in torch.cat([found.train_x, found.train_y[:, None]], 1).tolist()}
    tested = [tuple(window) for window in torch.cat([found.test_x, found.test_y[:, None]], 1).tolist()]
    assert len(found.test_y) > 3_000
    assert not trained.intersection(tested)


def test_no_window_of_the_test_overlaps_with_one_of_training(monkeypatch):
    text = "".join(RNG.choice(list(topics.CHARACTERS), 3_000))
    monkeypatch.setattr("pydoc_data.topics.topics", {"one": text, "short": "too short"})
    raw = topics.read()

    def pieces(x, y):
        return {row[k : k + 5].tobytes() for row in np.column_stack([x, y]) for k in range(29)}

    assert raw.groups.tolist() == [0] * len(raw.train_y)
    assert len(raw.train_y) + len(raw.test_y) == len(range(0, 3_000 - 32, topics.STRIDE)) - topics.LENGTH // topics.STRIDE
    assert pieces(raw.train_x, raw.train_y).isdisjoint(pieces(raw.test_x, raw.test_y))


def test_the_page_on_sweeps_names_every_data_set_and_every_partition():
    page = (ROOT / "simulations" / "sweeps" / "README.md").read_text(encoding="utf-8")
    for name in (*DATASETS, *PARTITIONS):
        assert f'"{name}"' in page or (name.startswith("emnist-") and f'"{name.removeprefix("emnist")}"' in page), name
    assert len(DATASETS) == 16, "docs/experiments.md counts them"
