"""Rules that draw, carry a history, move models or stand over another one: each against its paper's formula."""

from types import SimpleNamespace

import numpy as np
import pytest

from flwr_byzantine import rules
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.weighted import simplex
from tests.support import reference
from tests.support import reference_newer as newer


def test_fltrust_foolsgold_and_clipped_clustering_are_their_papers_formulas():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X, own = rng.normal(size=(9, 6)) + 1.0, rng.normal(size=6) + 1.0
        X[:2] = -3 * X[2]
        np.testing.assert_allclose(rules.FLTrust()(X, trusted=own), newer.fltrust(X, own), atol=1e-12)
        np.testing.assert_allclose(rules.ClippedClustering()(X), newer.clipped_clustering(X), atol=1e-12)
        Y = X[2:] * rng.uniform(0.5, 3, size=(7, 1))
        np.testing.assert_allclose(rules.FoolsGold()(Y), newer.foolsgold(Y, Y), atol=1e-12)


def test_histories_are_carried_by_the_state():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(7, 6)) + 1.0, 3 * rng.normal(size=(7, 6)) + 1.0
    rule = rules.FoolsGold()
    _, state = rule.step(X, rule.init(6))
    np.testing.assert_allclose(rule.step(Y, state)[0], newer.foolsgold(Y, X + Y), atol=1e-12)
    rule = rules.ClippedClustering()
    _, state = rule.step(X, rule.init(6))
    expected = newer.clipped_clustering(Y, [np.linalg.norm(x) for x in X])
    np.testing.assert_allclose(rule.step(Y, state)[0], expected, atol=1e-12)


def test_flame_clips_its_cluster_to_the_median_norm_and_adds_noise_of_the_stated_size():
    rng = np.random.default_rng(0)
    X = np.ones((9, 4000)) + 0.1 * rng.normal(size=(9, 4000))
    X *= np.linspace(0.5, 1.5, 9)[:, None]
    X[:3] *= -1
    plain = rules.FLAME(noise=0.0).aggregate(X)
    norms = np.linalg.norm(X, axis=1)
    members = list(plain.selected)
    assert set(members) <= set(range(3, 9))
    np.testing.assert_allclose(plain.value, reference.clip(X[members], np.median(norms)).mean(0))
    noise = rules.FLAME(noise=0.01)(X) - plain.value
    assert np.std(noise) == pytest.approx(0.01 * np.median(norms), rel=0.05)
    assert abs(noise.mean()) < 5 * np.std(noise) / np.sqrt(4000)


def test_signguard_keeps_norms_near_the_median_and_the_largest_cluster_of_signs():
    rng = np.random.default_rng(0)
    X = np.abs(rng.normal(size=(11, 2000))) * rng.choice([1, -1], p=[0.7, 0.3], size=(11, 2000))
    X[0] *= 4  # above 3 times the median norm
    X[1] *= 0.05  # below a tenth
    X[2:4] = -np.abs(X[2:4])  # signs unlike the others'
    out = rules.SignGuard().aggregate(X)
    assert out.selected == tuple(range(4, 11))
    np.testing.assert_allclose(out.value, reference.clip(X[4:], np.median(np.linalg.norm(X, axis=1))).mean(0))


def test_dnc_keeps_what_every_draw_keeps():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 50))
    X[:2] += 5
    assert set(rules.DnC(f=2).aggregate(X).selected) == set(range(2, 12))
    many = rules.DnC(f=2, niters=5, b=20).aggregate(X)
    assert set(many.selected) <= set(range(2, 12))
    assert len(rules.DnC(f=2, c=1.5).aggregate(X).selected) == 9
    np.testing.assert_allclose(many.value, X[list(many.selected)].mean(0))


@pytest.mark.parametrize("n", [5, 6, 11])
def test_bucketing_averages_disjoint_random_buckets_of_which_the_last_may_be_short(n):
    X = np.random.default_rng(0).normal(size=(n, 3))
    view = SimpleNamespace(n=n, rng=np.random.default_rng(4))
    M = rules.Bucketing(s=2).mix(view).matrix
    assert M.shape == (-(-n // 2), n)
    assert ((M > 0).sum(axis=0) == 1).all()
    sizes = (M > 0).sum(axis=1)
    assert sizes.tolist() == [2] * (n // 2) + [1] * (n % 2)
    np.testing.assert_allclose(M @ X * sizes[:, None], (M > 0) @ X)


@pytest.mark.parametrize("m", [None, 2])
def test_foundationfl_copies_the_row_that_is_farthest_from_the_nearer_extreme(m):
    for seed in range(20):
        X = np.random.default_rng(seed).normal(size=(9, 10))
        X[2] *= 5
        found = newer.foundation(X, m or 4)
        for base, naive in ((rules.TrimmedMean(f=2), reference.trimmed_mean), (rules.Median(f=2), reference.median)):
            np.testing.assert_allclose(rules.chain(rules.FoundationFL(m=m), base)(X), naive(found, 2), atol=1e-12)


def test_foundationfl_copies_colluders_at_both_extremes_which_is_why_it_is_no_guarantee():
    X = np.random.default_rng(0).normal(size=(11, 40))
    X[:2] = 1e6 * np.where(np.arange(40) % 2, 1.0, -1.0)
    assert np.linalg.norm(rules.parse("foundation-fl+trimmed-mean", f=2)(X)) > 1e5
    assert np.linalg.norm(rules.TrimmedMean(f=2)(X)) < 10


@pytest.mark.parametrize("lam", [0.5, 3.0, None])
def test_autogm_is_a_point_and_weights_neither_of_which_alone_can_be_bettered(lam):
    for seed in range(2):
        X = np.random.default_rng(seed).normal(size=(9, 5))
        X[:2] += 30
        value, scale = rules.AutoGM(lam=lam)(X), lam or 9.0
        naive = newer.auto_gm(X, scale)
        alpha, theirs = (simplex(np.linalg.norm(X - z, axis=1), scale) for z in (value, naive))
        best = newer.auto_gm_cost(X, value, alpha, scale)
        assert best == pytest.approx(newer.auto_gm_cost(X, naive, theirs, scale), rel=1e-3)
        rng = np.random.default_rng(seed)
        assert all(newer.auto_gm_cost(X, value + 0.1 * rng.normal(size=5), alpha, scale) >= best - 1e-9 for _ in range(50))
        assert all(newer.auto_gm_cost(X, value, rng.dirichlet(np.ones(9)), scale) >= best - 1e-9 for _ in range(50))


def test_autogm_with_a_large_lambda_is_the_geometric_median():
    X = np.random.default_rng(0).normal(size=(9, 5))
    np.testing.assert_allclose(rules.AutoGM(lam=1e9)(X), rules.GeometricMedian()(X), atol=1e-5)


def test_crfl_clips_the_model_more_widely_each_round_and_blurs_it():
    X, rule = 100 + np.random.default_rng(0).normal(size=(5, 4000)), rules.CRFL(radius=2.0, growth=0.5, noise=0.1)
    for number in (0, 3):
        value, plain = (each.step(X, rules.State(number))[0] for each in (rule, rules.CRFL(radius=2.0, growth=0.5, noise=0.0)))
        assert np.linalg.norm(plain) == pytest.approx(2.0 + 0.5 * (number + 1))
        assert np.std(value - plain) == pytest.approx(0.1, rel=0.1)
    small = np.full((5, 3), 0.01)
    np.testing.assert_allclose(rules.CRFL(noise=0.0)(small), small[0])


def test_models_are_clipped_and_moved_from_where_they_were_broadcast():
    """With an origin: CRFL clips origin plus aggregate, SLSGD and RLR act on the deltas, signSGD adds signs."""
    rng = np.random.default_rng(1)
    origin, deltas = rng.normal(size=12), rng.normal(size=(7, 12))
    updates = Updates([Block([row[part] for row in origin + deltas], origin[part]) for part in (slice(0, 5), slice(5, 12))])
    found = {rule: np.concatenate(run(rule, updates).blocks) for rule in (rules.CRFL(noise=0.0), *map(lambda cls: cls(f=1), MOVING))}
    model = origin + deltas.mean(axis=0)
    expected = [reference.clip([model], 2.1)[0], origin + 0.5 * reference.trimmed_mean(deltas, 1)]
    expected += [origin + newer.rlr(deltas, 2, deltas.mean(axis=0)), origin + newer.majority(deltas)]
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-12)


MOVING = (rules.SLSGD, rules.RLR, rules.SignSGD)


def test_gas_deals_the_coordinates_anew_each_round():
    X, rule = np.random.default_rng(0).normal(size=(9, 30)), rules.GAS(f=2, base=rules.Median(), p=4)
    for number in range(3):
        groups = np.array_split(np.random.default_rng([0, number]).permutation(30), 4)
        np.testing.assert_allclose(rule.step(X, rules.State(number))[0], newer.gas(X, 2, groups, reference.median))


@pytest.mark.parametrize("base", [rules.CenteredClipping(), rules.FLTrust(), rules.NNM(f=2), rules.Krum(f=1)], ids=str)
def test_a_rule_over_another_refuses_one_that_it_cannot_work_over(base):
    with pytest.raises(rules.InvalidParameter, match=r"^CTMA: base must (be a rule that aggregates by this round|have the same f)"):
        rules.CTMA(f=2, base=base)


def test_a_rule_over_another_is_parsed_with_it_in_brackets_or_as_an_option():
    expected = rules.GAS(f=2, base=rules.chain(rules.NNM(f=2), rules.Krum(f=2)), p=7)
    assert rules.parse("gas(nnm+krum)", f=2, p=7) == rules.parse("gas", f=2, p=7, base="nnm+krum") == expected
    assert rules.parse("arc+ctma(gas(median))", f=1).with_f(2) == rules.parse("ARC + CTMA(GAS(Median))", f=2)
    assert str(rules.parse("gas(nnm+krum)", f=2)) == "GAS(f=2, base=NNM(f=2) + Krum(f=2))"
    for text in ("krum(median)", "gas(krum", "gas(krumm)", "gas()"):
        with pytest.raises(rules.InvalidParameter, match=r"brackets are for the rule|unknown rule"):
            rules.parse(text, f=2)
