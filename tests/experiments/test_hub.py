"""Hugging Face's data sets: from a folder that `datasets` reads, from its cache, and from a Hub that is not there, or slow."""

import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from datasets.packaged_modules.parquet.parquet import Parquet

from flwr_byzantine import InvalidParameter
from flwr_byzantine.experiments.sweep import read
from flwr_byzantine.experiments.tasks import Task, data
from flwr_byzantine.experiments.tasks.partitions import partitions
from tests.support.sweeps import write

RNG = np.random.default_rng(0)


@pytest.fixture
def hub(tmp_path):
    """A folder with parquet files of images and labels, as Hugging Face's hub has them; the test may change the columns."""

    def make(change=lambda columns: columns, image=None, label=None, splits=("train", "test")):
        pictures = [RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(6)]
        for split in splits:
            columns = change({"image": pictures, "label": [0, 1, 2, 0, 1, 2], "writer": list("aabbcc")})
            features = datasets.Features({name: datasets.Value("string") for name in columns})
            for name in columns:
                if name in ("image", "second"):
                    features[name] = image or datasets.Image()
                elif name in ("label", "fine"):
                    features[name] = label or datasets.ClassLabel(num_classes=4)
            datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
        return pictures, f"hf:{tmp_path}"

    return make


def test_a_hugging_face_set_is_read_with_its_columns_found(hub):
    pictures, name = hub()
    found = data.load(Task(dataset=name))
    assert (found.shape, found.classes, found.train_y.tolist()) == ((3, 6, 8), 4, [0, 1, 2, 0, 1, 2])
    assert torch.equal(found.train_x[0], torch.from_numpy(pictures[0]).float().div(255).permute(2, 0, 1).flatten())


def test_columns_and_splits_can_be_named_and_a_column_can_say_whose_an_example_is(hub):
    _, name = hub(lambda columns: {**columns, "second": columns["image"], "fine": [1] * 6}, splits=("train", "valid"))
    options = {"image": "second", "label": "fine", "test": "train", "group": "writer"}
    found = data.load(Task(dataset=name, dataset_options=options))
    assert (found.train_y.tolist(), found.groups.tolist()) == ([1] * 6, [0, 0, 1, 1, 2, 2])
    parts = partitions(Task(dataset=name, dataset_options=options, partition="natural-id", num_clients=3))
    assert sorted(sorted(part) for part in parts) == [[0, 1], [2, 3], [4, 5]]


def test_grey_pictures_and_plain_numbers_are_read_too(hub):
    _, name = hub(lambda columns: {**columns, "image": [picture[..., 0] for picture in columns["image"]]}, label=datasets.Value("int64"))
    found = data.load(Task(dataset=name))
    assert (found.shape, found.classes) == ((1, 6, 8), 3)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda columns: columns, {"image": "imgae"}, "unknown image column of 'hf:"),
        (lambda columns: columns, {"group": "owner"}, "unknown group column of 'hf:"),
        (lambda columns: columns, {"test": "tset"}, "no test split could be read: ValueError: The given split: 'tset' is not present"),
        (lambda columns: columns, {"imgae": "image"}, "did you mean 'image'? choose one of: group, image, label, subset, test, train"),
        (lambda columns: {**columns, "second": columns["image"]}, {}, "which column is the image? one of image, second; write {name = "),
        (
            lambda columns: {"label": columns["label"], "text": list("abcdef")},
            {},
            "which column is the image? none of its columns (label, text)",
        ),
        (lambda columns: {**columns, "image": [np.zeros((n, 3, 3), np.uint8) for n in range(1, 7)]}, {}, "must have one size, got 6"),
    ],
)
def test_what_is_wrong_with_a_hugging_face_set_is_one_sentence(hub, change, options, said):
    _, name = hub(change)
    with pytest.raises(InvalidParameter) as error:
        data.load(Task(dataset=name, dataset_options=options))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_hugging_face_set_that_cannot_be_had_is_one_sentence_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        InvalidParameter, match=r"dataset 'hf:nobody/nothing': no train split could be read: \w+: .*; check the name, or fetch"
    ):
        read(write(tmp_path, "[task]\ndataset = 'hf:nobody/nothing'\n"))


@pytest.fixture
def endpoint(monkeypatch, tmp_path):
    """Put another address in the Hub's place, and a cache of the test's own; nothing may wait to try again."""

    def put(address):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waited {seconds} s"))

    return put


def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_without_a_network_a_set_that_is_not_in_the_cache_is_one_sentence_after_one_look(endpoint, tmp_path, capfd):
    address = f"http://127.0.0.1:{closed_port()}"
    endpoint(address)
    said = rf"'hf:nobody/nothing': no train split could be read: it is not in the cache, and {address} cannot be reached \(C.*; check"
    with pytest.raises(InvalidParameter, match=said):
        read(write(tmp_path, "[task]\ndataset = 'hf:nobody/nothing'\n"))
    assert capfd.readouterr() == ("", "")
    assert datasets.config.HF_HUB_OFFLINE is False


def test_without_a_network_a_set_that_is_in_the_cache_is_read(endpoint, hub, tmp_path, capfd):
    endpoint(f"http://127.0.0.1:{closed_port()}")
    pictures, _ = hub()
    files = {split: str(tmp_path / f"{split}-00000-of-00001.parquet") for split in ("train", "test")}
    names = {"dataset_name": "cached", "repo_id": "nobody/cached", "config_name": "default", "hash": "0"}
    cached = Parquet(cache_dir=str(tmp_path / "cache"), **names, data_files=files)
    cached.download_and_prepare()
    version = Path(cached.cache_dir).parent.parent
    version.rename(version.with_name("default"))  # as it is called where files are the Hub's
    capfd.readouterr()
    assert len(data.load(Task(dataset="hf:nobody/cached")).train_y) == len(pictures)
    with pytest.raises(InvalidParameter, match=r"Couldn't find cache for nobody/cached for config 'other'.*, and http.* cannot"):
        data.load(Task(dataset="hf:nobody/cached", dataset_options={"subset": "other"}))
    assert capfd.readouterr() == ("", "")


class SlowHub(BaseHTTPRequestHandler):
    """Has no data set, and takes its time to say at first that there is a Hub."""

    def do_HEAD(self):
        if self.path == "/":
            self.server.asked.wait(60)
        self.server.asked.set()
        with suppress(OSError):  # nobody may wait any more
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

    def log_message(self, *args):
        pass


def test_a_slow_hub_is_asked_for_the_set_all_the_same(endpoint, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    with ThreadingHTTPServer(("127.0.0.1", 0), SlowHub) as server:
        server.asked = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint(f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(InvalidParameter, match=r"DatasetNotFoundError: Dataset 'nobody/slow' doesn't exist on the Hub"):
            data.load(Task(dataset="hf:nobody/slow"))
        server.shutdown()


def test_a_file_that_is_no_data_set_is_one_sentence_with_its_reason(tmp_path, capfd):
    (tmp_path / "train.parquet").write_text("no parquet")
    with pytest.raises(InvalidParameter, match=r"no train split could be read: ArrowInvalid: "):
        data.load(Task(dataset=f"hf:{tmp_path}"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["./nothere", "/nowhere/at/all", "../nothere"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(name, tmp_path):
    with pytest.raises(InvalidParameter, match=f"dataset 'hf:{name}': there is no such folder; 'hf:owner/name' is a set of"):
        read(write(tmp_path, f"[task]\ndataset = 'hf:{name}'\n"))
