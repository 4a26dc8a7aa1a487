"""Passes over tensors on a device: the bits of windows, exact distances, order, memory, and how often the host waits."""

import numpy as np
import pytest
import torch

from flwr_byzantine import rules
from flwr_byzantine.arrays import device as tensors
from flwr_byzantine.arrays import updates
from flwr_byzantine.arrays.device import TensorUpdates
from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.arrays.window import Window
from flwr_byzantine.arrays.wrap import wrap
from tests.support.devices import through_torch
from tests.support.on_device import F, N, data, prepared

WINDOWS = {
    "median": Window(6, 7),
    "trimmed": Window(3, 10),
    "around the median": Window(6, 7, 10),
    "around the trimmed mean": Window(3, 10, 10),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_give_the_bits_of_the_cpu_path(name, exact_device):
    X = data()
    X[0, :5] = X[-1, :5]  # ties
    X[0, 5], X[0, 6] = np.finfo(np.float32).max, -np.finfo(np.float32).max
    expected = Updates([updates.Block(list(X))]).windows(WINDOWS[name])[0]
    found = TensorUpdates(list(torch.from_numpy(X).to(exact_device))).windows(WINDOWS[name])[0]
    np.testing.assert_array_equal(found.cpu().numpy(), expected)


@pytest.mark.parametrize("ratio", [0.0, 30.0, 1e3, 1e5])
def test_distances_are_right_to_1e_6_far_from_the_origin(ratio, device):
    X = data(6) + np.float32(ratio)
    exact = X.astype(np.float64)
    expected = ((exact[:, None] - exact[None]) ** 2).sum(axis=2)
    found = sq_distances(TensorUpdates(list(torch.from_numpy(X).to(device))).gram(centred=True))
    off = ~np.eye(6, dtype=bool)
    assert np.abs(found[off] / expected[off] - 1).max() < 1e-6


def test_distances_within_a_second_cluster_are_right_too(device):
    """Colluders close to each other and far from everybody."""
    X = data(12)
    X[9:] = 50 * data(1, seed=7) + 1e-2 * data(3, seed=8)
    exact = X.astype(np.float64)
    expected = ((exact[:, None] - exact[None]) ** 2).sum(axis=2)
    found = sq_distances(TensorUpdates(list(torch.from_numpy(X).to(device))).gram(centred=True))
    off = ~np.eye(12, dtype=bool)
    assert np.abs(found[off] / expected[off] - 1).max() < 1e-6


@pytest.mark.parametrize("value", [3.4e38, -1e30])
def test_a_row_at_the_float32_maximum_leaves_the_others_alone(value, device):
    X = data(9)
    X[7] = value
    out = rules.MultiKrum(f=2).aggregate(torch.from_numpy(X).to(device))
    assert np.isfinite(out.scores).all()
    assert 7 not in out.selected
    assert torch.isfinite(out.value).all()


def test_float64_values_whose_squares_overflow_are_cut(exact_device):
    X = data(9, dtype=np.float64)
    X[7] = 1e300
    out = rules.MultiKrum(f=2).aggregate(torch.from_numpy(X).to(exact_device))
    assert out.selected == rules.MultiKrum(f=2).aggregate(X).selected
    assert 7 not in out.selected
    assert np.isfinite(out.scores).all()


def test_the_order_of_the_rows_changes_no_bit(exact_device):
    X = data()
    X[:, ::5] = 0.0  # the coordinates that are compared first are equal
    order = np.random.default_rng(1).permutation(N)
    for rule in (rules.Krum(f=F), rules.GeometricMedian(f=F), rules.chain(rules.Clipping(F), rules.TrimmedMean(f=F))):
        values = [rule(torch.from_numpy(rows).to(exact_device)).cpu().numpy() for rows in (X, X[order])]
        np.testing.assert_array_equal(*values)


def test_rows_are_ordered_by_their_values_as_arrays_are(exact_device):
    X = np.zeros((5, 3000), np.float32)
    X[:, 2001] = [3, 1, 2, 1, 0]  # a coordinate that no sample sees
    found = TensorUpdates(list(torch.from_numpy(X).to(exact_device))).order()
    assert found.tolist() == wrap(X)[0].order().tolist() == [4, 1, 3, 2, 0]


def test_only_tensors_of_one_device_go_through_torch(monkeypatch):
    X = torch.from_numpy(data())
    assert type(wrap(X)[0]) is Updates
    through_torch(monkeypatch)
    assert type(wrap(X)[0]) is TensorUpdates
    assert type(wrap([X[0], X[1].numpy()])[0]) is Updates
    assert type(wrap(X.numpy())[0]) is Updates


def test_extra_memory_is_a_chunk_whatever_d(monkeypatch):
    """No pass gathers more values at a time than the budget allows."""
    seen, gather = [], TensorUpdates._gather
    monkeypatch.setattr(TensorUpdates, "_gather", lambda self, part, dtype: seen.append(gather(self, part, dtype)) or seen[-1])
    monkeypatch.setattr(tensors, "BUDGET", 1 << 20)
    through_torch(monkeypatch)
    rules.chain(rules.NNM(f=F), rules.Phocas(f=F))(torch.zeros((N, 50_000)))
    assert len(seen) > 10
    assert max(block.nbytes for block in seen) <= 1 << 20


@pytest.mark.parametrize("rule", [rules.MultiKrum(f=F), rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F)), rules.CGE(f=F)], ids=str)
def test_the_host_waits_as_often_whatever_the_rows_and_the_chunks(rule, monkeypatch):
    """A device that is waited for after each chunk, or once a row, has nothing to do in between."""
    prepared("cpu", monkeypatch)
    waits, counts = [], []
    for name in ("cpu", "__bool__"):
        method = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, method=method: waits.append(1) or method(self))
    for n, d in ((7, 900), (14, 9000)):
        waits.clear()
        rule(torch.from_numpy(data(n, d)))
        counts.append(len(waits))
    assert counts[0] == counts[1]
