"""`plan`: κ against the size of the sample, and the sample that it advises."""

import json
import math
import os
import subprocess
import sys

import pytest
from scipy.stats import hypergeom
from typer.testing import CliRunner

from flwr_byzantine import InvalidParameter, rules, theory
from flwr_byzantine.experiments.cli import app
from flwr_byzantine.rules.parsing import parse
from flwr_byzantine.theory.advice import advise
from flwr_byzantine.theory.curve import Point, cheapest, curve, shown, smallest_kappa


def run(*arguments):
    return CliRunner().invoke(app, ["plan", *arguments])


def test_a_hundred_nodes_with_ten_bad_ones_get_advice_that_one_would_follow():
    result = run("--clients", "100", "--malicious", "10", "--json")
    found = json.loads(result.output)
    assert result.exit_code == 0
    assert found["kappa"] <= 3
    assert (found["sampling"]["sample_size"], found["sampling"]["f"]) == (60, 10)
    command = [sys.executable, "-m", "flwr_byzantine", "plan", "--clients", "100", "--malicious", "10"]
    shown = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "250"}, check=True).stdout
    words = " ".join(shown.split())
    assert " 11 0 5 20 × 3.1 " in words
    assert "of TrimmedMean(f=10): no rule can have less at this n and f" in shown
    assert " 0.25 → 1 " in words


@pytest.mark.parametrize("name", ["trimmed-mean", "nnm+median", "krum", "bulyan"])
def test_the_curve_is_that_of_a_search_over_all_samples_and_counts(name):
    rounds, epsilon, single = 50, 0.02, 1 - (1 - 0.02) ** (1 / 50)
    points = {point.sample_size: point for point in curve(60, 6, 5, rounds, epsilon, parse(name, 0))}
    for size in range(1, 61):
        f, absent = (next(k for k in range(61) if hypergeom.sf(k, 60, marked, size) <= single) for marked in (6, 5))
        rule, n = parse(name, f), size - absent
        assert (size in points) == (n >= rule.min_n() and f >= 1)
        if size in points:
            point, kappa = points[size], rule.kappa(n)
            assert (point.f, point.silent, point.replies, point.kappa) == (f, absent, n, kappa)
            tau = kappa * (1 - 1 / (n - f)) + 1 / (n - f)
            assert point.cost == pytest.approx(size * max(1, tau))
            assert max(1, tau) == pytest.approx(theory.second_moment_constant(rule, n, f) / 2)


def test_the_advice_is_the_cheapest_sample_or_the_smallest_that_has_the_kappa():
    points = curve(100, 10, 0, 100, 0.01, parse("krum", 0))
    best = advise(100, 10, None, 100, 0.01, "krum").sampling.sample_size
    assert best == min(points, key=lambda point: point.cost).sample_size
    for limit in (20.0, 8.0, 4.0):
        first = advise(100, 10, None, 100, 0.01, "krum", max_kappa=limit)
        assert first.kappa <= limit
        assert all(point.kappa > limit for point in points if point.sample_size < first.sampling.sample_size)
    refused = advise(100, 10, None, 100, 0.01, "krum", max_kappa=1.0)
    assert not refused.sampling.feasible
    assert refused.sampling.reason.endswith("the smallest is 3.51, with a sample of 100; take another rule")
    assert run("--clients", "100", "--malicious", "10", "--rule", "krum", "--max-kappa", "1").exit_code == 1
    assert cheapest([]) is None


def test_silent_nodes_lower_n_and_leave_f():
    still, loud = (advise(100, 10, 40, 100, 0.01, "median", silent=silent) for silent in (0.2, 0))
    assert still.sampling.f == loud.sampling.f
    assert still.absent == next(k for k in range(41) if theory.failure_probability(100, 20, 40, k, 100) <= 0.01)
    assert still.kappa == rules.Median(f=loud.sampling.f).kappa(40 - still.absent) > loud.kappa
    assert advise(100, 10, 40, 100, 0.01, "median", silent=20) == still
    none = advise(100, 10, 30, 100, 0.01, silent=60)
    assert none.sampling.reason == "too few are left of a sample of 30 when the silent nodes do not answer"
    for wrong, message in ((-1, "must be a count, or a share below 1"), (2.5, "must be a count"), (95, "silent must be an integer >= 0")):
        with pytest.raises(InvalidParameter, match=message):
            advise(100, 10, 30, 100, 0.01, silent=wrong)
    with pytest.raises(InvalidParameter, match="max_kappa must be a number > 0, got 0"):
        advise(100, 10, None, 100, 0.01, max_kappa=0.0)


def test_what_a_rule_refuses_is_no_plan():
    subsets = advise(100, 10, 30, 100, 0.01, "smea")  # C(30, 8) are too many
    assert not subsets.sampling.feasible
    assert "for which SMEA(f=8) takes too long; a sample of 30 withstands f = 4 at most" in subsets.sampling.reason
    assert all(parse("smea", point.f).takes(point.f, point.replies) for point in curve(100, 10, 0, 100, 0.01, parse("smea", 0), at=30))
    assert advise(1000, 100, None, 100, 0.01, "mda").sampling.f <= 30  # larger samples need an f that MDA refuses


@pytest.mark.parametrize("name", ["cge", "bucketing+median", "centered-clipping"])
def test_a_rule_without_kappa_meets_no_limit_and_silence_is_not_blamed(name):
    for sample in (None, 60):
        found = advise(100, 10, sample, 100, 0.01, name, max_kappa=3.0)
        assert found.sampling.reason == "no κ of 3 or less: none is known for this rule; take another"


@pytest.mark.parametrize("arguments", [("10", "--rule", "cge"), ("0", "--rule", "trimmed-mean", "--noise", "1")])
def test_json_has_null_for_what_is_infinite(arguments):
    def refused(name):
        raise AssertionError(f"{name} is no JSON")

    json.loads(run("--clients", "100", "--malicious", *arguments, "--json").output, parse_constant=refused)


def test_no_rule_has_a_smaller_guarantee_than_the_one_named():
    for n, f in ((5, 1), (11, 3), (21, 8), (100, 20), (300, 70)):
        rule, kappa = smallest_kappa(n, f)
        assert (str(rule), kappa) == (f"TrimmedMean(f={f})", theory.kappa_lower_bound(n, f))
        for name in ("krum", "multi-krum", "median", "mea-med", "nnm+trimmed-mean", "arc+trimmed-mean", "arc+median", "caf"):
            other = parse(name, f).kappa(n)
            assert other is None or other >= kappa


def test_large_federations_are_looked_at_in_steps_and_few_points_are_shown():
    points = curve(20_000, 2000, 0, 100, 0.01, parse("nnm+trimmed-mean", 0))
    assert len(points) < 500
    assert points[-1].sample_size == 20_000
    few = shown(points, points[7])
    assert points[7] in few
    assert few[-1] == points[-1]
    assert len(few) < 30
    assert [point.sample_size for point in shown([Point(9, 0, 1, None, math.inf)], None)] == [9]
