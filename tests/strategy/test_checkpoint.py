"""The file of a run: whole or the one before, private, and refused in one sentence where it is not what was written."""

import os
import stat
import zipfile

import numpy as np
import pytest

from flwr_byzantine import InvalidParameter
from flwr_byzantine.strategy.checkpoint import Snapshot, load, save

ARRAYS = {
    "model/w": np.arange(6.0).reshape(2, 3),
    "model/b": np.array(2, np.int64),
    "rule/empty": np.zeros((0, 3), np.float32),
    "rule/mask": np.array([True, False]),
    "rule/columns": np.asfortranarray(np.eye(3)[:, :2]),
}


def refused(path, cause):
    with pytest.raises(InvalidParameter, match=f"is no checkpoint of this package .*{cause}.*; move it away, or give another") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_snapshot_is_read_as_it_was_written(tmp_path):
    save(tmp_path / "run.npz", Snapshot(3, ARRAYS, {"x": [1, None]}))
    found = load(tmp_path / "run.npz")
    assert (found.server_round, found.facts, list(found.arrays)) == (3, {"x": [1, None]}, list(ARRAYS))
    for name, value in ARRAYS.items():
        assert (found.arrays[name].dtype, found.arrays[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(found.arrays[name], value)
    found.group("model")["w"] += 1  # optimisers step in place
    assert np.load(tmp_path / "run.npz")["a0"].tolist() == ARRAYS["model/w"].tolist()
    assert load(tmp_path / "none.npz") is None


def test_a_flipped_bit_anywhere_and_a_cut_anywhere_are_found(tmp_path):
    path = tmp_path / "run.npz"
    save(path, Snapshot(3, {"model/w": np.arange(3.0)}))
    data = path.read_bytes()
    for k in range(len(data)):
        path.write_bytes(data[:k] + bytes([data[k] ^ 1 << k % 8]) + data[k + 1 :])
        refused(path, "")
        path.write_bytes(data[:k])
        refused(path, "it is empty" if k == 0 else "cut short")
    path.write_bytes(data + b"\0")
    refused(path, "does not end as files of this package do")
    path.write_bytes(data.replace(b"model", b"mocel", 1))
    refused(path, "it is damaged")


def test_foreign_files_are_refused_before_anything_of_them_is_expanded(tmp_path):
    path = tmp_path / "run.npz"
    np.savez(path, w=np.ones(3))
    refused(path, "does not end as files of this package do")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb, bomb.open("w.npy", "w") as member:
        for _ in range(64):
            member.write(bytes(1 << 20))
    refused(path, "does not end as files of this package do")
    with zipfile.ZipFile(path, "w") as torch_like:
        torch_like.writestr("archive/data.pkl", b"cos\nsystem\n(S'true'\ntR.")
    refused(path, "does not end as files of this package do")
    path.unlink()
    path.mkdir()
    refused(path, "it is no file")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "lost", "it is no file")


def test_a_write_that_fails_leaves_the_checkpoint_before_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    save(path, Snapshot(1, {"model/w": np.ones(3)}, {"x": [1]}))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(path, Snapshot(2, {"model/w": np.zeros(3)}))
    assert load(path).server_round == 1
    assert load(path).group("model")["w"].tolist() == [1, 1, 1]
    assert [item.name for item in tmp_path.iterdir()] == ["run.npz"]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a folder cannot be opened, and has other rights")
def test_a_checkpoint_and_its_folder_are_on_the_disk_before_the_run_goes_on(tmp_path, monkeypatch):
    synced, opened, fsync, openly = [], [], os.fsync, os.open
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(stat.S_ISDIR(os.fstat(handle).st_mode)) or fsync(handle))
    monkeypatch.setattr(os, "open", lambda path, flags, mode=0o777: opened.append((flags, mode)) or openly(path, flags, mode))
    save(tmp_path / "run", Snapshot(1, ARRAYS))
    assert synced == [False, True]
    flags, mode = opened[0]
    assert flags & os.O_EXCL
    assert mode == 0o600
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o600
    (tmp_path / "run").chmod(0o640)
    (tmp_path / ".run.tmp").symlink_to(tmp_path / "victim")  # as a killed writer, or an attacker, may leave it
    save(tmp_path / "run", Snapshot(2, ARRAYS))
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o640
    assert [item.name for item in tmp_path.iterdir()] == ["run"]
