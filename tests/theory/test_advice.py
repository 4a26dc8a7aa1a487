"""`flwr-byzantine plan`: advice, and clear answers to impossible demands."""

import json
import math
from dataclasses import FrozenInstanceError

import pytest
from typer.testing import CliRunner

from flwr_byzantine import InvalidParameter, rules, theory
from flwr_byzantine.experiments.cli import app
from flwr_byzantine.theory.advice import advise


def run(*arguments):
    return CliRunner().invoke(app, ["plan", *arguments])


def test_advice_is_what_theory_says():
    result = run("--clients", "100", "--malicious", "10", "--sample", "0.3", "--rounds", "50", "--rule", "krum", "--noise", "1.0", "--json")
    assert result.exit_code == 0
    found = json.loads(result.output)
    f = theory.smallest_f(100, 10, 30, 50, 0.01)
    assert found["sampling"]["f"] == f
    assert found["kappa"] == rules.Krum(f=f).kappa(30)
    assert found["krum_noise_ratio"] == pytest.approx(1 / theory.krum_eta(30, f))
    needed = theory.required_batch_size(rules.Krum(f=f), 30, f, 1, 1.0, 1.0, margin=1e-9)
    assert found["batch_factor"] == needed


def test_table_and_smallest_sample():
    result = run("--clients", "100", "--malicious", "10")
    assert result.exit_code == 0
    assert "declare f" in result.output


def test_impossible_is_said_with_what_would_be_possible():
    result = run("--clients", "20", "--malicious", "9", "--sample", "10", "--rule", "bulyan")
    assert result.exit_code == 1
    assert "withstands f = 1 at most" in " ".join(result.output.replace("│", " ").split())


def test_mistakes_get_one_clear_sentence():
    with pytest.raises(InvalidParameter, match="unknown rule 'x'"):
        advise(10, 1, None, 1, 0.1, "x")
    with pytest.raises(InvalidParameter, match="num_malicious must be an integer >= 0 and <= 10, got 11"):
        advise(10, 11, None, 1, 0.1)
    with pytest.raises(InvalidParameter, match="noise must be a number > 0"):
        advise(10, 1, None, 1, 0.1, noise=-1.0)


def lines(*arguments, **options):
    return {what: value for what, value, _ in advise(*arguments, **options).rows()}


def test_the_lines_of_advice_say_what_theory_says():
    f = theory.smallest_f(100, 10, 30, 50, 0.01)
    kappa = rules.Krum(f=f).kappa(30)
    ratio, by_eta = 1 / math.sqrt(kappa * (1 - 1 / (30 - f))), 1 / theory.krum_eta(30, f)
    found = advise(100, 10, 30, 50, 0.01, "krum", noise=2.0)
    assert (found.kappa, found.noise_ratio, found.krum_noise_ratio) == pytest.approx((kappa, ratio, by_eta))
    assert (found.batch_factor, found.krum_batch_factor) == tuple(math.floor((2.0 / limit) ** 2) + 1 for limit in (ratio, by_eta))
    assert [what for what, _, _ in found.rows()] == [
        "rule",
        "declare f",
        "sample size",
        "silent nodes",
        "failure",
        "κ",
        "smallest κ",
        "NNM",
        *["√d σ/‖g‖ below"] * 2,
        "batch size, κ certificate",
        "batch size, η certificate",
    ]
    assert [value for _, value, _ in found.rows()] == values(found, f, kappa, ratio, by_eta)


def values(found, f, kappa, ratio, by_eta):
    """What those lines say of Krum in a sample of 30."""
    return [
        f"Krum(f={f})",
        str(f),
        "30",
        str(30 - (2 * f + 3) + 1),
        f"{theory.failure_probability(100, 10, 30, f, 50):.2g}",
        f"{kappa:.3g}",
        f"{theory.kappa_lower_bound(30, f):.3g}",
        f"{kappa:.3g} → {rules.chain(rules.NNM(f=f), rules.Krum(f=f)).kappa(30):.3g}",
        f"{ratio:.3g}",
        f"{by_eta:.3g}",
        f"× {found.batch_factor}",
        f"× {found.krum_batch_factor}",
    ]


def test_advice_without_noise_without_kappa_and_without_any_error():
    assert lines(100, 10, 30, 50, 0.01, "nnm+trimmed-mean")["batch size"] == "× (today / limit)²"
    unknown = lines(100, 10, 40, 1, 0.2, "cge", noise=1.0)
    assert unknown["κ"] == "none known"
    assert len(unknown) == 7
    exact = advise(10, 0, 5, 1, 0.1, "trimmed-mean", noise=3.0)
    assert (exact.kappa, exact.noise_ratio, exact.batch_factor, exact.krum_noise_ratio) == (0.0, math.inf, 1, None)
    impossible = advise(20, 9, 10, 1, 0.001, "krum", noise=1.0)
    assert (impossible.kappa, impossible.noise_ratio, impossible.krum_noise_ratio, impossible.batch_factor) == (None,) * 4
    assert list(lines(20, 9, 10, 1, 0.001, "krum")) == ["rule", "declare f", "sample size", "silent nodes", "failure"]


def test_silent_nodes_are_counted_and_a_sample_that_bears_them_is_named():
    f = theory.plan_sampling(100, 10, None, 50, 0.01, rules.Krum(f=0)).f
    found = advise(100, 10, 2 * f + 3, 50, 0.01, "krum")
    assert (found.silent, found.sampling.f) == (1, f)
    bears, one_less = (theory.plan_sampling(100, 10, size, 50, 0.01, rules.Krum(f=0)) for size in (found.silence, found.silence - 1))
    assert bears.sample_size >= 3 * bears.f + 3
    assert one_less.sample_size < 3 * one_less.f + 3
    assert "so many that answer with errors or not at all stop a round" in dict((row[0], row[2]) for row in found.rows())["silent nodes"]
    assert f"a sample of {found.silence} bears f of them" in found.rows()[3][2]
    assert advise(100, 45, None, 50, 0.01, "krum").rows()[3][2].endswith("no sample bears f of them")
    enough = advise(100, 10, found.silence, 50, 0.01, "krum")
    assert enough.silent == enough.sampling.sample_size - enough.sampling.min_n + 1 > enough.sampling.f
    assert enough.rows()[3][2].endswith("honest or not")
    assert advise(20, 9, 10, 1, 0.001, "krum").silent == 0


def test_the_batch_is_the_least_that_brings_the_noise_below_the_limit():
    for noise in (0.01, 0.5, 1.0, 7.0):
        found = advise(100, 10, 30, 50, 0.01, "krum", noise=noise)
        for b, limit in ((found.batch_factor, found.noise_ratio), (found.krum_batch_factor, found.krum_noise_ratio)):
            assert noise / math.sqrt(b) < limit
            assert b == 1 or noise / math.sqrt(b - 1) >= limit
    with pytest.raises(InvalidParameter, match="noise must be a number > 0, got 0"):
        advise(10, 1, None, 1, 0.1, noise=0)


def test_advice_is_frozen_and_becomes_plain_data():
    found = advise(100, 10, 30, 50, 0.01, "krum")
    with pytest.raises(FrozenInstanceError):
        found.kappa = 0.0
    assert found.to_dict()["sampling"]["sample_size"] == 30
