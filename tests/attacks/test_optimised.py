"""Attacks that search along a line or by halving: against naive searches, and where they find nothing."""

import numpy as np
import pytest

from flwr_byzantine import attacks, rules
from flwr_byzantine.attacks import AttackContext
from flwr_byzantine.attacks.attackers import Attacker
from flwr_byzantine.attacks.base import Attack
from flwr_byzantine.attacks.line_search import line_search
from tests.support.optimised import RULES, D, F, H, damage, problem


def test_line_search_finds_the_highest_of_many_edges_within_its_evaluations():
    calls = []

    def teeth(x):  # grows in proportion to x up to each edge, where it falls; the last tooth is narrow, and the highest
        calls.append(x)
        return next((height * x / edge for edge, height in ((0.5, 3.0), (1.3, 5.0), (4.1, 6.0), (4.6, 7.0)) if x < edge), 1.0)

    found = line_search(teeth, 0.0, 0.03, 30.0, evals=100)
    assert len(calls) <= 101
    assert teeth(found) >= 0.99 * 7.0
    assert min(calls) >= 0
    assert line_search(lambda x: -x, 0.0, 0.03, 30.0) == 0.0
    assert line_search(lambda x: min(x, 1e5), 0.0, 0.03, 30.0) >= 0.99e5  # it goes on beyond the ladder


def test_rounding_does_not_choose_among_equal_damages_and_does_not_cross_an_edge():
    def rounded(seed):
        return lambda t: min(t, 5.0) * (1 + 1e-13 * np.random.default_rng([seed, int(t * 1e6)]).normal())

    assert len({line_search(rounded(seed), 0.0, 0.05, 30.0) for seed in range(20)}) == 1
    for edge in np.linspace(2, 9, 200):
        assert 0.998 <= line_search(lambda t, edge=edge: t if t < edge else 1.0, 0.0, 0.05, 30.0) / edge <= 1 - 9e-5


SEARCHING = [
    attacks.OptimalALIE(),
    attacks.OptimalIPM(),
    attacks.AGRTailored(direction="unit"),
    attacks.AGRTailored(direction="sign"),
]


def on_the_ray(attack, X, x):
    """What the attack would send with strength x, in units of the honest spread."""
    mean, spread = X.mean(axis=0), np.sqrt(((X - X.mean(axis=0)) ** 2).sum(axis=1).mean())
    p = {"OptimalALIE": -X.std(axis=0), "OptimalIPM": -mean}.get(type(attack).__name__)
    p = p if p is not None else -mean if attack.direction == "unit" else -np.sign(mean)
    ahead = np.linalg.norm(mean) / spread if isinstance(attack, attacks.OptimalIPM) else 0.0
    return np.tile(mean + (ahead + x) * spread / np.linalg.norm(p) * p, (F, 1))


@pytest.mark.parametrize("attack", SEARCHING, ids=str)
@pytest.mark.parametrize("name", RULES)
def test_attacks_that_search_do_98_percent_of_the_damage_of_a_dense_search(name, attack):
    X, rule = problem(len(name) % 3), RULES[name]
    dense = max(damage(rule, X, on_the_ray(attack, X, x)) for x in [0.0, *np.geomspace(0.05, 20, 150)])
    assert damage(rule, X, attack(X, F, rule=rule)) >= 0.98 * dense


@pytest.mark.parametrize("attack", SEARCHING, ids=str)
@pytest.mark.parametrize("name", ["Krum", "median", "NNM + trimmed mean", "NNM + Krum"])
def test_order_scale_and_precision_do_not_change_what_a_search_chooses(name, attack):
    for kind in (0, 1):  # in 2, rows that NNM mixes have equal scores, and Krum takes the first of them
        X, rule = problem(kind), RULES[name]
        sent = attack(X, F, rule=rule)
        np.testing.assert_allclose(attack(X[::-1], F, rule=rule), sent, rtol=1e-9)
        np.testing.assert_allclose(attack(X * 1024, F, rule=rule) / 1024, sent, rtol=1e-9)
        rough = X.astype(np.float32)
        np.testing.assert_allclose(attack(rough, F, rule=rule), attack(rough.astype(float), F, rule=rule), rtol=1e-5)
        np.testing.assert_allclose(attack(rough, F, rule=rule), sent, rtol=1e-3, atol=1e-3)
        assert damage(rule, X, sent.astype(np.float32)) == pytest.approx(damage(rule, X, sent), rel=1e-3)  # not beyond an edge


def test_a_translation_does_not_change_what_is_chosen_along_the_deviation():
    for name in ("Krum", "median", "NNM + trimmed mean"):
        X, shift = problem(0), 50.0
        sent = attacks.OptimalALIE()(X, F, rule=RULES[name])
        np.testing.assert_allclose(attacks.OptimalALIE()(X + shift, F, rule=RULES[name]) - shift, sent, atol=1e-9)


def naive_krum(rows, f):
    scores = [sum(sorted(((a - b) ** 2).sum() for j, b in enumerate(rows) if j != i)[: len(rows) - f - 2]) for i, a in enumerate(rows)]
    return int(np.argmin(scores))


@pytest.mark.parametrize("f", [2, 3, 4])
@pytest.mark.parametrize("centre", [0.0, 0.05])
def test_fang_krum_is_the_largest_halving_of_the_papers_bound_that_krum_takes(f, centre):
    X = np.random.default_rng(f).normal(centre, 1.0, (H, 40))
    n, sign = H + f, np.sign(X.mean(axis=0))
    near = min(sum(sorted(np.linalg.norm(a - b) for j, b in enumerate(X) if j != i)[: n - f - 2]) for i, a in enumerate(X))
    lam = near / ((n - 2 * f - 1) * np.sqrt(40)) + max(np.linalg.norm(x) for x in X) / np.sqrt(40)
    while naive_krum([*X, *np.tile(-lam * sign, (f, 1))], f) < H and lam >= 1e-5:
        lam /= 2
    B = attacks.FangKrum()(X, f)
    np.testing.assert_allclose(B, np.tile(-lam * sign, (f, 1)))
    np.testing.assert_allclose(rules.Krum(f=f)(np.concatenate([X, B])), B[0])


def test_fang_krum_gives_up_at_the_floor():
    X = np.random.default_rng(0).normal(100.0, 1.0, (H, 40))  # the origin is far from all
    B = attacks.FangKrum(floor=1e-3)(X, F)
    assert 0 < np.abs(B).max() < 1e-3


def test_flanders_fang_krum_starts_in_all_rounds_from_the_first_model_that_an_honest_client_sent():
    attack, model = attacks.FangKrum(form="flanders"), np.random.default_rng(7).normal(size=D)
    first = problem(0) + model
    attacker = Attacker(attack, seed=0)
    sent = [
        attacker.vectors(first + 3.0 * k - (model + 3.0 * k), F, AttackContext(k + 1, broadcast=model + 3.0 * k)) + model + 3.0 * k
        for k in range(3)
    ]
    for lam, stayed in ((None, sent[0]), (attack.floor, sent[1]), (attack.floor, sent[2])):
        apart = (first[0] - stayed) * np.sign(first[0])  # λ in each coordinate
        np.testing.assert_allclose(apart, np.broadcast_to(apart[0, 0], apart.shape), rtol=1e-6, atol=1e-12)
        assert apart[0, 0] > 1e-3 if lam is None else 0 < apart[0, 0] < lam  # the model has left, and Krum takes nothing near the first


def test_flanders_fang_krum_of_a_majority_sends_its_first_lambda_which_is_of_squared_distances():
    X, n, f = problem(3)[:4], 12, 8
    first = X[0]
    scores = [sum(sorted(((x - y) ** 2).sum() for y in X)[1:3]) for x in X]
    lam = (min(scores) / ((n - 2) * (f - 1)) + max(((x - first) ** 2).sum() for x in X)) / 2
    np.testing.assert_allclose(attacks.FangKrum(form="flanders")(X, f), np.tile(first - lam * np.sign(first), (f, 1)))
    np.testing.assert_allclose(attacks.FangKrum(form="flanders")(100 * X, f)[0], 100 * first - 999 * np.sign(first))


def test_fang_trimmed_mean_lies_in_the_papers_intervals_on_the_side_against_the_mean():
    X = problem(2)
    for j, sent in enumerate(attacks.FangTrimmedMean(b=3.0)(X, 200).T):
        low, high = X[:, j].min(), X[:, j].max()
        if X[:, j].mean() > 0:
            edges = (low / 3, low) if low > 0 else (3 * low, low)
        else:
            edges = (high, 3 * high) if high > 0 else (high, high / 3)
        assert (edges[0] <= sent).all()
        assert (sent <= edges[1]).all()
        assert np.ptp(sent) > 0.9 * (edges[1] - edges[0])  # uniform over it
    mean, std = X.mean(axis=0), X.std(axis=0)
    z = (attacks.FangTrimmedMean(form="partial")(X, 200) - mean) / std
    assert (np.sign(z) == -np.sign(mean)).all()
    assert np.abs(z).min() == pytest.approx(3, abs=0.01)
    assert np.abs(z).max() == pytest.approx(4, abs=0.01)


def test_attacks_that_know_the_rule_need_it():
    assert {cls.__name__ for cls in attacks.available() if cls.knowledge == "rule"} == {
        "AGRTailored",
        "Adaptive",
        "OneCoordinate",
        "OptimalALIE",
        "OptimalIPM",
    }
    assert issubclass(attacks.Adaptive, Attack)
