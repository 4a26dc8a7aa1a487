"""Attacks that search: against naive searches, and the adaptive one against every other, rule by rule."""

import numpy as np
import pytest

from flwr_byzantine import attacks, rules
from flwr_byzantine.attacks import AttackContext
from flwr_byzantine.attacks.ascent import climb
from flwr_byzantine.attacks.attackers import Attacker
from flwr_byzantine.attacks.base import Attack
from flwr_byzantine.attacks.simulated_rule import SimulatedRule, line_search

F, H, D = 3, 10, 60
RULES = {
    "Krum": rules.Krum(f=F),
    "Multi-Krum": rules.MultiKrum(f=F),
    "median": rules.Median(f=F),
    "trimmed mean": rules.TrimmedMean(f=F),
    "geometric median": rules.GeometricMedian(f=F),
    "centered clipping": rules.CenteredClipping(f=F, tau=5.0),
    "NNM + trimmed mean": rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F)),
    "NNM + Krum": rules.chain(rules.NNM(f=F), rules.Krum(f=F)),
    "NNM + geometric median": rules.chain(rules.NNM(f=F), rules.GeometricMedian(f=F)),
}
FIXED = [cls for cls in attacks.available() if cls is not attacks.Adaptive and cls.finite]


def problem(kind, d=D):
    """Alike; in two camps; of very different lengths."""
    rng = np.random.default_rng(kind)
    X = rng.normal(0.3, 1.0, (H, d))
    if kind == 1:
        X += 2 * rng.normal(size=(2, d))[np.arange(H) % 2]
    return X * rng.lognormal(0, 1, (H, 1)) if kind == 2 else X


def damage(rule, X, bad):
    with np.errstate(over="ignore"):
        return float(np.linalg.norm(rule(np.concatenate([X, bad])) - X.mean(axis=0)))


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("name", RULES)
def test_adaptive_does_at_least_the_damage_of_the_best_fixed_attack(name, kind):
    X, rule = problem(kind), RULES[name]
    best = max(damage(rule, X, cls()(X, F, rule=rule)) for cls in FIXED)
    worst = damage(rule, X, attacks.Adaptive()(X, F, rule=rule))
    assert worst >= best * (1 - 1e-9)
    if name not in ("centered clipping", "geometric median"):  # where IPM is as good as optimal
        assert worst > 1.0005 * best


def test_ascent_gains_on_what_it_starts_from():
    for name, kind in (("Krum", 2), ("Multi-Krum", 0), ("NNM + trimmed mean", 1), ("NNM + Krum", 1)):
        X, rule = problem(kind), RULES[name]
        start, end = (damage(rule, X, attacks.Adaptive(evals=evals)(X, F, rule=rule)) for evals in (0, 1000))
        assert end > 1.15 * start


def test_adaptive_finds_the_optimum_of_coordinate_wise_rules():
    X = problem(0, d=4)
    levels = [*np.linspace(X.min() - 2, X.max() + 2, 400)]
    for rule, share in ((rules.Median(f=F), 1.0), (rules.TrimmedMean(f=F), 1.0), (rules.MeaMed(f=F), 0.9), (rules.Phocas(f=F), 0.9)):
        brute = np.max([np.abs(rule(np.concatenate([X, np.full((F, 4), level)])) - X.mean(0)) for level in levels], axis=0)
        assert damage(rule, X, attacks.Adaptive()(X, F, rule=rule)) >= (share - 1e-9) * np.linalg.norm(brute)


def test_climbing_in_few_coordinates_is_climbing_in_all():
    X = problem(1, d=3000)
    for name in ("Multi-Krum", "NNM + geometric median", "centered clipping"):
        context = AttackContext(2, previous=X.mean(axis=0) / 2, rule=RULES[name])
        server = SimulatedRule(attacks.Adaptive(), X, context)
        bad = attacks.IPM()(X, F)
        small, basis = server.compressed(bad)
        assert small.honest.shape[1] < 20
        assert small.damage(bad @ basis.T) == pytest.approx(server.damage(bad))
        found, up = climb(server, bad, server.damage(bad), 200)
        assert found == pytest.approx(server.damage(up))
        assert found >= server.damage(bad)
    for rule in (rules.Median(f=F), RULES["NNM + trimmed mean"]):  # they look at coordinates
        assert SimulatedRule(attacks.Adaptive(), X, AttackContext(rule=rule)).compressed(attacks.IPM()(X, F)) is None


def test_adaptive_may_set_the_attackers_apart():
    X, rule = problem(1), RULES["NNM + Krum"]
    bad = attacks.Adaptive()(X, F, rule=rule)
    assert len(np.unique(bad.round(6), axis=0)) > 1


def test_the_simulation_starts_rules_from_what_the_server_has():
    X, previous = problem(0), np.full(D, 0.7)
    rule = rules.CenteredClipping(f=F, tau=1.0)
    bad = np.full((F, D), -1.0)
    v = previous.copy()
    v = v + np.mean([(x - v) * min(1, 1 / np.linalg.norm(x - v)) for x in [*X, *bad]], axis=0)
    server = SimulatedRule(attacks.Adaptive(), X, AttackContext(4, previous, rule=rule))
    np.testing.assert_allclose(server.shift(bad), v - X.mean(axis=0))
    bucketing = rules.chain(rules.Bucketing(s=2), rules.Median(f=F))
    state = bucketing.init(D)
    for round in (1, 2, 3):  # the permutation of each round is known to who knows the seed
        value, state = bucketing.step(np.concatenate([X, bad]), state)
        np.testing.assert_allclose(
            SimulatedRule(attacks.Adaptive(), X, AttackContext(round, rule=bucketing)).shift(bad), value - X.mean(axis=0)
        )


def test_the_simulation_guesses_the_servers_own_update():
    X = problem(0)
    shift = SimulatedRule(attacks.Adaptive(), X, AttackContext(rule=rules.FLTrust())).shift(-X[:F])
    np.testing.assert_allclose(shift, rules.FLTrust()(np.concatenate([X, -X[:F]]), trusted=X.mean(axis=0)) - X.mean(axis=0))


def test_line_search_finds_a_peak_within_its_evaluations():
    calls = []

    def value(x):
        calls.append(x)
        return -abs(x - 23.0)

    assert line_search(value, evals=40) == pytest.approx(23.0, abs=1.0)
    assert len(calls) == 40
    assert calls[:5] == [0.0, 10.0, 30.0, 70.0, 70.0 - 40.0 * 0.8]
    assert min(calls) >= 0
    assert line_search(lambda x: -x, evals=20) == 0.0


@pytest.mark.parametrize("name", RULES)
def test_optimal_attacks_are_near_the_best_of_a_fine_grid(name):
    X, rule = problem(0), RULES[name]
    mean, std = X.mean(axis=0), X.std(axis=0)
    for attack, vector in ((attacks.OptimalALIE, lambda z: mean - z * std), (attacks.OptimalIPM, lambda e: -e * mean)):
        grid = [damage(rule, X, np.tile(vector(x), (F, 1))) for x in np.linspace(0, 40, 161)]
        assert damage(rule, X, attack()(X, F, rule=rule)) >= 0.85 * max(grid)


@pytest.mark.parametrize("direction", ["unit", "std", "sign"])
@pytest.mark.parametrize("name", RULES)
def test_agr_tailored_follows_the_papers_search(name, direction):
    X, rule = problem(0), RULES[name]
    mean = X.mean(axis=0)
    p = {"unit": -mean / np.linalg.norm(mean), "std": -X.std(axis=0), "sign": -np.sign(mean)}[direction]
    gamma, step, found, top = 10.0, 10.0, {}, damage(rule, X, np.tile(mean, (F, 1)))
    while step > 1e-5:
        bad = np.tile(mean + gamma * p, (F, 1))
        selected, hurt = rule.aggregate(np.concatenate([X, bad])).selected, damage(rule, X, bad)
        good = hurt > top if selected is None else len([i for i in selected if i >= H]) >= min(F, len(selected))
        top, step = max(top, hurt), step / 2
        found[gamma] = (good, hurt)
        gamma += step if good else -step
    chosen = [hurt for good, hurt in found.values() if good] or [hurt for _, hurt in found.values()]
    assert damage(rule, X, attacks.AGRTailored(direction=direction)(X, F, rule=rule)) == pytest.approx(max(chosen), rel=1e-9)


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
        "OptimalALIE",
        "OptimalIPM",
    }
    assert issubclass(attacks.Adaptive, Attack)
