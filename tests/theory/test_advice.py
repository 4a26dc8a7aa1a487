"""`flwr-byzantine plan`: advice, and clear answers to impossible demands."""

import json

import pytest
from typer.testing import CliRunner

from flwr_byzantine import InvalidParameter, rules, theory
from flwr_byzantine.cli import app
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


def test_mistakes():
    with pytest.raises(InvalidParameter, match="unknown rule 'x'"):
        advise(10, 1, None, 1, 0.1, "x")
    with pytest.raises(InvalidParameter, match="num_malicious must be an integer >= 0 and <= 10, got 11"):
        advise(10, 11, None, 1, 0.1)
    with pytest.raises(InvalidParameter, match="noise must be a number > 0"):
        advise(10, 1, None, 1, 0.1, noise=-1.0)
