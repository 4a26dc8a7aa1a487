"""Where ByzFL 0.0.11 and code of EPFL's authors differ from us: a function for each such row of `rules/CONVENTIONS.md`."""

import numpy as np
import pytest

from flwr_byzantine import attacks, rules

X = np.arange(1.0, 10.0).reshape(3, 3)
MEAN, LOW = [4.0, 5.0, 6.0], [2.5, 3.5, 4.5]
BYZFL_MEDIAN = {"start": "origin", "nu": 0.1, "smoothing": "absolute", "max_iter": 3, "tol": 0.0}


def refuses(rule, rows):
    with pytest.raises(rules.TooFewUpdates, match="needs at least 5 updates, got 3"):
        rule(rows)


def byzfl_krum():
    refuses(rules.Krum(f=1), X)
    np.testing.assert_array_equal(rules.Krum(f=1, neighbors="n-f-1")(X), [1.0, 2.0, 3.0])


def byzfl_multikrum():
    refuses(rules.MultiKrum(f=1), X)
    np.testing.assert_allclose(rules.MultiKrum(f=1, neighbors="n-f-1")(X), LOW)


def byzfl_geometric_median():
    np.testing.assert_allclose(rules.GeometricMedian()(X), MEAN, rtol=1e-6)
    np.testing.assert_allclose(rules.GeometricMedian(**BYZFL_MEDIAN)(X), [3.78788764, 4.78788764, 5.78788764], rtol=1e-8)


def byzfl_centered_clipping():
    np.testing.assert_allclose(rules.CenteredClipping()(X), [3.34, 4.25, 5.15], atol=0.005)
    np.testing.assert_allclose(rules.CenteredClipping(tau=100.0)(X), MEAN)


def byzfl_centered_clipping_state():
    rule = rules.CenteredClipping()
    first, state = rule.step(X, rule.init(3))
    np.testing.assert_array_equal(rule(X), first)
    second = rule.step(X, state)[0]
    np.testing.assert_allclose(second, first + np.mean([(x - first) * min(1, 10 / np.linalg.norm(x - first)) for x in X], axis=0))


def byzfl_clipping_in_place():
    for part in (rules.Clipping(radius=2.0), rules.ARC(f=1)):
        rows = X.copy()
        rules.chain(part, rules.Mean())(rows)
        np.testing.assert_array_equal(rows, X)


def byzfl_bucketing():
    assert len(rules.Bucketing().transform(X)) == 2
    assert sorted(map(tuple, rules.Bucketing(s=1).transform(X))) == sorted(map(tuple, X))


def byzfl_bucketing_permutation():
    found = {tuple(map(tuple, rules.Bucketing(s=2, seed=seed).transform(X))) for seed in range(20)}
    assert found >= {((4.0, 5.0, 6.0), (4.0, 5.0, 6.0)), ((5.5, 6.5, 7.5), (1.0, 2.0, 3.0))}


def byzfl_caf_f0():
    np.testing.assert_allclose(rules.CAF(f=0)(X), MEAN)


def caf_by(rows, f, direction, still_in):
    """CAF with any top direction (of rows and weights); the threshold over all rows, or over those still in."""
    weights, best, answer = np.ones(len(rows)), np.inf, None
    while weights.sum() > len(rows) - 2 * f:
        mean = np.average(rows, axis=0, weights=weights)
        diffs = rows - mean
        way = direction(diffs, weights)
        top = np.linalg.norm(np.average(diffs * (diffs @ way)[:, None], axis=0, weights=weights))
        best, answer = (top, mean) if top < best else (best, answer)
        tau = (diffs @ way) ** 2
        weights = weights * np.clip(1 - tau / tau[weights > 0 if still_in else ...].max(), 0, None)
        weights[weights < 1e-12] = 0
    return answer


def byzfl_caf_power_step():
    rows = crowd() + np.eye(11, 6) * 5

    def exact(diffs, weights):
        return np.linalg.eigh((diffs * weights[:, None]).T @ diffs)[1][:, -1]

    def step_from(seed):
        def one_step(diffs, weights):
            start = np.random.default_rng(seed).normal(size=diffs.shape[1])
            way = np.average(diffs * (diffs @ start)[:, None], axis=0, weights=weights)
            return way / np.linalg.norm(way)

        return one_step

    np.testing.assert_allclose(rules.CAF(f=3)(rows), caf_by(rows, 3, exact, still_in=True), rtol=1e-9)
    np.testing.assert_array_equal(rules.CAF(f=3)(rows), rules.CAF(f=3)(rows))
    found = np.array([caf_by(rows, 3, step_from(seed), still_in=False) for seed in range(10)])
    assert np.ptp(found, axis=0).max() > 0.1


def byzfl_average():
    rows = np.array([[0.1], [0.2], [0.4]], np.float32)
    assert rules.Mean()(rows)[0] == np.float32(rows.astype(np.float64).mean()) == np.float32(0.23333333)
    assert rows.mean() == np.float32(0.23333335)
    np.testing.assert_array_equal(rules.Mean()(rows[::-1]), rules.Mean()(rows))


def byzfl_sign_flip():
    np.testing.assert_array_equal(attacks.SignFlip()(X, 1)[0], -X[0])
    np.testing.assert_allclose(attacks.IPM(epsilon=1.0)(X, 1)[0], [-4.0, -5.0, -6.0])


def byzfl_ipm():
    assert attacks.IPM().epsilon == 0.5
    np.testing.assert_allclose(attacks.IPM(epsilon=2.0)(X, 1)[0], [-8.0, -10.0, -12.0])


def byzfl_alie():
    np.testing.assert_allclose(attacks.ALIE(z=1.5)(X, 1)[0], X.mean(0) - 1.5 * X.std(0))
    np.testing.assert_allclose(attacks.ALIE(z=-1.5 * np.sqrt(3 / 2))(X, 1)[0], [8.5, 9.5, 10.5])


def byzfl_mimic():
    np.testing.assert_array_equal(attacks.Mimic(target=0)(crowd(), 1)[0], crowd()[0])
    assert any((attacks.Mimic()(crowd(seed), 1)[0] != crowd(seed)[0]).any() for seed in range(3))


CLIPPED = rules.chain(rules.Clipping(radius=2.0), rules.Mean())
SEARCHED = rules.chain(rules.NNM(f=1), rules.Clipping(radius=2.0), rules.TrimmedMean(f=1))  # of ByzFL's examples of its optimal attacks


def damage(sent):
    return np.linalg.norm(CLIPPED(np.vstack([X, sent])) - X.mean(axis=0))


def byzfl_optimal_ipm():
    theirs, ours = attacks.IPM(epsilon=0.687194767)(X, 1)[0], attacks.OptimalIPM()(X, 1, rule=CLIPPED)[0]
    np.testing.assert_allclose(theirs, [-2.74877907, -3.43597384, -4.1231686], rtol=1e-8)
    assert damage(ours) == pytest.approx(damage(theirs), rel=1e-3)
    assert damage(theirs) == pytest.approx(damage(10 * theirs))
    np.testing.assert_allclose(attacks.OptimalIPM(evals=20, search="byzfl")(X, 1, rule=SEARCHED)[0], theirs, rtol=1e-8)
    np.testing.assert_allclose(ours / X.mean(axis=0), -0.22, atol=0.02)


def byzfl_optimal_alie():
    theirs = attacks.ALIE(z=-2.97328372 * np.sqrt(3 / 2))(X, 1)[0]
    np.testing.assert_allclose(theirs, [12.91985116, 13.91985116, 14.91985116], rtol=1e-8)
    assert damage(attacks.OptimalALIE()(X, 1, rule=CLIPPED)[0]) > damage(theirs)
    searched = attacks.OptimalALIE(evals=20, search="byzfl", sign=1)(X, 1, rule=SEARCHED)[0]
    np.testing.assert_allclose(searched, theirs, rtol=1e-8)


def epfl_mimic():
    rows = crowd() + 20 * np.eye(11, 6) - 25 * np.roll(np.eye(11, 6), 4, axis=0)
    signed, z = attacks.Mimic(choice="epfl"), attacks.Mimic().next_memory(rows, 1, attacks.AttackContext())["direction"]
    np.testing.assert_array_equal(signed(rows, 1)[0], rows[np.argmax(rows @ z)])
    np.testing.assert_array_equal(attacks.Mimic()(rows, 1)[0], rows[np.argmax(np.abs(rows @ z))])


def epfl_aksel():
    rows = crowd()
    nearest = np.argsort(((rows - np.median(rows, axis=0)) ** 2).sum(axis=1))
    np.testing.assert_allclose(rules.Aksel(f=2, keep="mid")(rows), rows[nearest[:6]].mean(axis=0))
    np.testing.assert_allclose(rules.Aksel(f=2)(rows), rows[nearest[:9]].mean(axis=0))


def crowd(seed=0):
    return np.random.default_rng(seed).normal(size=(11, 6))
