"""Rules that have no κ: all honest rows are equal, and the answer is another row, as docs/theory.md lists them."""

import re
from pathlib import Path

import numpy as np
import pytest

from flwr_byzantine import rules

DOCUMENT = (Path(__file__).parents[2] / "docs" / "theory.md").read_text(encoding="utf-8").split("## Rules without a κ")[1]
CLIPPED = rules.chain(rules.Clipping(), rules.Median(f=1))
NONE = {  # rule: rows, the honest ones first, and the answer
    rules.Mean(): ([0, 0, 0, 4], 1),
    rules.CGE(f=1): ([1, 1, -0.5], 0.25),
    rules.CenteredClipping(f=1): ([0, 0, 90], 10 / 3),
    rules.DnC(f=2): ([0, 0, 0, 10, 90], 10 / 3),
    rules.SignGuard(f=1): ([1, 1, 1, 0.5], 0.875),
    rules.FLAME(f=1, noise=0.0): ([1, 1, 1, 0.5], 0.875),
    rules.LASA(f=1): ([1, 1, 1, 0.5], 0.875),
    rules.ClippedClustering(f=1): ([1, 1, 1, 0.5], 5 / 6),
    rules.RLR(f=1): ([1, 1, 1, 0.5], 0.875),
    rules.CRFL(f=1, noise=0.0): ([1, 1, 1, 0.5], 0.875),
    rules.SLSGD(f=1): ([1, 1, 1, 0.5], 0.5),
    rules.SignSGD(f=1): ([2, 2, 2, 2], 1),
    CLIPPED: ([9, 9, 9], 2),
}


@pytest.mark.parametrize("rule", NONE, ids=str)
def test_equal_honest_rows_and_another_answer(rule):
    rows, answer = NONE[rule]
    assert set(rows[: len(rows) - max(rule.f, 1)]) == {rows[0]} != {answer}
    assert rule(np.array(rows, float)[:, None]) == pytest.approx(answer)
    assert rule.kappa(len(rows)) is None or rule.f == 0


@pytest.mark.parametrize("rule", [rules.AutoGM(f=1), rules.FedRDF(f=1), rules.GAS(f=1)], ids=str)
@pytest.mark.parametrize("byzantine", [-50.0, 0.5, 1.0, 1e6])
def test_of_those_without_a_known_bound_equal_honest_rows_are_the_answer(rule, byzantine):
    assert rule(np.array([1.0, 1, 1, 1, byzantine])[:, None]) == pytest.approx(1)
    assert rule.kappa(5) is None


def test_dnc_does_not_see_what_it_does_not_draw():
    rule = rules.DnC(f=1, b=1)
    answers = [rule(np.array([[0.0, 0.0], [0.0, 0.0], row])) for row in ([-90.0, 0.0], [0.0, -90.0])]
    assert max(np.abs(answer).max() for answer in answers) == 45
    assert rule.kappa(3) is None


def test_monna_follows_the_row_that_it_trusts():
    rule = rules.MoNNA(f=1)
    assert rule(np.array([[9.0], [0.0], [0.0]])) == pytest.approx(4.5)
    assert rule.kappa(3) is None


@pytest.mark.parametrize(("n", "f"), [(5, 1), (7, 2), (11, 3)])
def test_monna_with_an_honest_trusted_row(n, f):
    rng = np.random.default_rng(n)
    for _ in range(200):
        X = rng.integers(-2, 3, size=(n, 1)) * rng.choice([1.0, 1.0, 5.0], size=(n, 1))
        honest = X[: n - f]
        assert (rules.MoNNA(f=f)(X) - honest.mean()) ** 2 <= 4 * f * honest.var() + 1e-9


def test_foolsgold_takes_honest_rows_that_agree_for_sybils():
    X = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    assert rules.FoolsGold(f=1)(X).tolist() == [0.0, 1.0]
    assert not rules.FoolsGold(f=1).robust
    assert rules.FoolsGold(f=1).kappa(4) is None


def test_fltrusts_answer_is_as_long_as_its_trusted_row():
    assert rules.FLTrust(f=1)(np.full((4, 1), 2.0), trusted=np.array([1.0])) == pytest.approx(1)
    assert rules.FLTrust(f=1).kappa(4) is None


def test_the_document_lists_the_rules_that_declare_none():
    listed = set(re.findall(r"`(\w+)", "".join(re.findall(r"^\|(.+?)\|", DOCUMENT, re.MULTILINE))))
    aggregations = [cls for cls in rules.available() if not issubclass(cls, rules.PreAggregation)]
    made = [cls(f=1) if "f" in cls.__dataclass_fields__ else cls() for cls in aggregations]
    assert listed == {type(rule).__name__ for rule in made if rule.kappa(99) is None} | {"Mean", "Clipping"}


@pytest.mark.parametrize(("n", "f"), [(5, 1), (7, 2), (11, 3)])
def test_centered_clipping_is_bounded_by_its_radius_in_place_of_the_variance(n, f):
    rng, rule = np.random.default_rng(n), rules.CenteredClipping(f=f, tau=1.0)
    X = np.vstack([rng.uniform(-0.1, 0.1, size=(n - f, 2)), 9 * rng.normal(size=(f, 2))])
    mean, state = X[: n - f].mean(axis=0), rule.init(2)
    error = float(np.linalg.norm(mean))
    for _ in range(50):
        value, state = rule.step(X, state)
        before, error = error, float(np.linalg.norm(value - mean))
        assert error <= f / n * (before + 1.0) + 1e-12
    assert error <= f / (n - f) + 1e-9
