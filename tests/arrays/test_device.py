"""Tensors on a device: every rule gives what it gives on arrays. Where there is no GPU, CPU tensors take the same path."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from flwr_byzantine import errors, rules
from flwr_byzantine.arrays import device as tensors
from flwr_byzantine.arrays import updates
from flwr_byzantine.arrays.device import TensorUpdates
from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.arrays.window import Window
from flwr_byzantine.arrays.wrap import wrap
from tests.support.devices import CUDA, through_torch

N, D, F = 13, 3001, 2


def prepared(name, monkeypatch):
    """Name a device whose tensors go through torch, in chunks of one tile."""
    monkeypatch.setattr(tensors, "BUDGET", 1)
    if name != "cuda":
        through_torch(monkeypatch, without_float64="without" in name)
    return name.split()[0]


@pytest.fixture(params=["cpu", "cpu without float64", CUDA])
def device(request, monkeypatch):
    return prepared(request.param, monkeypatch)


@pytest.fixture(params=["cpu", CUDA])
def exact_device(request, monkeypatch):
    """A device that has float64."""
    return prepared(request.param, monkeypatch)


def instances():
    for cls in rules.available():
        rule = cls(f=F) if "f" in cls.__dataclass_fields__ else cls()
        if isinstance(rule, rules.PreAggregation):
            yield rules.chain(rule, rules.TrimmedMean(f=F))
            yield rules.chain(rule, rules.Krum(f=F))
            yield rules.chain(rule, rules.GeometricMedian(f=F))
        else:
            yield rule
    yield rules.MultiKrum(f=F, m=3, iterated=True)
    yield rules.chain(rules.ARC(f=F), rules.NNM(f=F), rules.MeaMed(f=F))


every_rule = pytest.mark.parametrize("rule", list(instances()), ids=str)


def data(n=N, d=D, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)


def trusted(rule, X):
    trusts = any("trusted" in stage.anchors for stage in rule.stages())
    return {"trusted": np.median(X.astype(np.float64), axis=0) + 0.1} if trusts else {}


def host(tensor):
    return tensor.cpu().double().numpy()


@every_rule
def test_every_rule_agrees_with_the_cpu_path(rule, device):
    X = data()
    X[3] *= 50
    keywords = trusted(rule, X)
    expected = rule.aggregate(X, **keywords)
    given = torch.from_numpy(X.copy()).to(device)
    for form in (given, list(given)):
        out = rule.aggregate(form, **keywords)
        assert (out.value.dtype, out.value.device.type, tuple(out.value.shape)) == (torch.float32, device, (D,))
        assert out.selected == expected.selected
        np.testing.assert_allclose(host(out.value), expected.value, rtol=2e-6, atol=2e-6)
        for mine, other in ((out.weights, expected.weights), (out.influence, expected.influence)):
            if other is not None:
                np.testing.assert_allclose(mine, other, atol=1e-6)
        if expected.scores is not None:
            np.testing.assert_allclose(out.scores, expected.scores, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(given.cpu().numpy(), X)  # the input is unchanged


@every_rule
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64], ids=str)
def test_dtype_is_kept_and_rounding_is_the_only_difference(rule, dtype, exact_device):
    tensor = (30 * torch.from_numpy(data(d=1100))).to(dtype)
    X = tensor.double().numpy()
    keywords = trusted(rule, X)
    out = rule(tensor.to(exact_device), **keywords)
    assert (out.dtype, out.device.type) == (dtype, exact_device)
    expected = rule(X, **keywords)
    step = {torch.float16: 2**-11, torch.bfloat16: 2**-8, torch.float64: 1e-12, torch.int64: 0.0}[dtype]
    slack = 0.5 if dtype == torch.int64 else 1e-6
    noise = 5.0 if isinstance(rule, rules.FLAME | rules.CRFL) else 0.0  # added to a result that was rounded
    times = 2 if noise or isinstance(rule, rules.SLSGD) else 1  # which is halved and rounded again
    assert (np.abs(host(out) - expected) <= 1.001 * times * (step * (np.abs(expected) + noise) + slack)).all()


@every_rule
def test_rows_that_are_not_finite_are_left_out(rule, device):
    X = data(n=15)
    X[4, 7], X[9, -1] = np.nan, np.inf
    keywords = trusted(rule, np.delete(X, [4, 9], axis=0))
    tensor = torch.from_numpy(X).to(device)
    if rule.f < 2:
        with pytest.raises(errors.MalformedUpdate, match="row 4 \\(of 2 such\\) is not finite"):
            rule(tensor, **keywords)
        return
    np.testing.assert_allclose(host(rule(tensor, **keywords)), rule(X, **keywords), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("rule", [rules.CenteredClipping(), rules.FoolsGold(), rules.ClippedClustering(), rules.FLAME(f=F)], ids=str)
def test_state_carries_from_round_to_round(rule, device):
    state, other = None, None
    for seed in range(3):
        X = data(seed=seed)
        value, state = rule.step(torch.from_numpy(X).to(device), state if state is not None else rule.init(D))
        expected, other = rule.step(X, other if other is not None else rule.init(D))
        np.testing.assert_allclose(host(value), expected, rtol=2e-6, atol=2e-6)
        for name, array in other.arrays.items():
            np.testing.assert_allclose(state.arrays[name], array, rtol=1e-5, atol=1e-5)


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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda to: torch.zeros(3, device=to), r"must be an \(n, d\) array, got shape \(3,\)"),
        (lambda to: [torch.zeros(3, device=to), torch.zeros(4, device=to)], r"shape \(3,\) in row 0 and \(4,\) in row 1"),
        (lambda to: torch.zeros((3, 2), dtype=torch.bool, device=to), "got dtype torch.bool in row 0"),
        (lambda to: torch.zeros((3, 2), dtype=torch.complex64, device=to), "got dtype torch.complex64 in row 0"),
    ],
)
def test_malformed_tensors_are_refused_as_arrays_are(given, message, device):
    with pytest.raises(errors.MalformedUpdate, match=message):
        rules.Krum(f=0)(given(device))


@pytest.mark.parametrize("rule", [rules.NNM(f=F), rules.ARC(f=F), rules.Clipping(radius=0.5), rules.Bucketing(s=3)], ids=str)
def test_a_pre_aggregation_alone_gives_the_rows_of_the_cpu_path(rule, device):
    X = data()
    mixed = rule.transform(torch.from_numpy(X).to(device))
    assert (mixed.dtype, mixed.device.type) == (torch.float32, device)
    np.testing.assert_allclose(host(mixed), rule.transform(X), rtol=2e-6, atol=2e-6)


def test_small_and_strange_inputs(device):
    one = torch.ones((1, 4), device=device)
    assert rules.Median()(one).tolist() == [1.0] * 4
    assert rules.Median()(torch.zeros((3, 0), device=device)).shape == (0,)
    assert rules.Mean()(torch.arange(8.0, device=device).reshape(4, 2).T).tolist() == [3 / 6, 5 / 2, 9 / 2, 13 / 2]
    mixed = [torch.ones(2, dtype=torch.float16, device=device), torch.full((2,), 3.0, device=device)]
    assert rules.Mean()(mixed).dtype == torch.float16
    assert rules.Mean()([row.requires_grad_() for row in mixed]).tolist() == [2.0, 2.0]


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


def test_torch_is_loaded_only_where_a_tensor_is_given():
    code = "import sys, numpy, flwr_byzantine.rules as r; r.Krum(f=0)(numpy.eye(3)); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
