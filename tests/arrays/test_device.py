"""Tensors on a device: every rule gives what it gives on arrays. Where there is no GPU, CPU tensors take the same path."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from flwr_byzantine import errors, rules
from tests.support.on_device import D, F, data, host


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


def trusted(rule, X):
    trusts = any("trusted" in stage.anchors for stage in rule.stages())
    return {"trusted": np.median(X.astype(np.float64), axis=0) + 0.1} if trusts else {}


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


def test_torch_is_loaded_only_where_a_tensor_is_given():
    code = "import sys, numpy, flwr_byzantine.rules as r; r.Krum(f=0)(numpy.eye(3)); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
