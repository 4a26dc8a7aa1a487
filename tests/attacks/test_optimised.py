"""Attacks that search: against naive searches, and the adaptive one against every other, rule by rule."""

import numpy as np
import pytest

from flwr_byzantine import attacks, rules
from flwr_byzantine.arrays.span import Span
from flwr_byzantine.attacks import AttackContext
from flwr_byzantine.attacks.ascent import climb
from flwr_byzantine.attacks.attackers import Attacker
from flwr_byzantine.attacks.base import Attack
from flwr_byzantine.attacks.line_search import line_search
from flwr_byzantine.attacks.simulated_rule import SimulatedRule

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
    if kind != 2 and name not in ("centered clipping", "geometric median"):  # where a search along one direction is as good as optimal
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
        small = server.compressed(bad)
        assert small.server.honest.shape[1] < 20
        assert small.server.damage(small.bad) == pytest.approx(server.damage(bad))
        found, up = climb(server, bad, server.damage(bad), 200)
        assert found == pytest.approx(server.damage(up))
        assert found >= server.damage(bad)
    for rule in (rules.Median(f=F), RULES["NNM + trimmed mean"]):  # they look at coordinates
        assert SimulatedRule(attacks.Adaptive(), X, AttackContext(rule=rule)).compressed(attacks.IPM()(X, F)) is None


ABSOLUTE = rules.GeometricMedian(f=F, start="origin", nu=0.1, smoothing="absolute", max_iter=3, tol=0.0)
BY_PRODUCTS = {
    **{name: RULES[name] for name in ("Krum", "Multi-Krum", "geometric median", "centered clipping")},
    **{name: RULES[name] for name in ("NNM + Krum", "NNM + geometric median")},
    "clipping + NNM + geometric median": rules.chain(rules.Clipping(radius=40.0), rules.NNM(f=F), ABSOLUTE),
    "ARC + geometric median": rules.chain(rules.ARC(f=F), rules.GeometricMedian(f=F)),
    "bucketing + geometric median": rules.parse("bucketing+geometric-median", f=2),
    "FLTrust": rules.FLTrust(),
}


@pytest.mark.parametrize("search", ["dense", "byzfl"])
@pytest.mark.parametrize("name", BY_PRODUCTS)
def test_searching_in_the_span_finds_what_searching_in_all_coordinates_finds(name, search, monkeypatch):
    rule, evals = BY_PRODUCTS[name], 20 if search == "byzfl" else 100
    for kind in (0, 1) if name == "NNM + Krum" else (0, 1, 2):  # in 2, rows that NNM mixes have equal scores, and rounding decides
        X = problem(kind, d=3000).astype(np.float32)
        for attack in (attacks.OptimalALIE(evals=evals, search=search), attacks.OptimalIPM(evals=evals, search=search)):
            assert SimulatedRule(attack, X.astype(float), AttackContext(rule=rule)).compressed(attacks.IPM()(X, F)) is not None
            found = attack(X, F, rule=rule)
            with monkeypatch.context() as patch:
                patch.setattr(SimulatedRule, "compressed", lambda *_: None)
                slow = attack(X, F, rule=rule)
            server = SimulatedRule(attack, X.astype(float), AttackContext(rule=rule))
            same = np.allclose(found, slow, rtol=1e-5, atol=1e-6)
            assert same or server.damage(found) == pytest.approx(server.damage(slow), rel=1e-6)  # as bad within rounding, as on plateaus


@pytest.mark.parametrize("text", ["dnc", "sign-guard", "aksel", "ctma(median)", "flame"])
def test_rules_that_look_at_coordinates_are_not_tried_in_the_span(text):
    X, rule = problem(0, d=3000), rules.parse(text, f=F)
    assert SimulatedRule(attacks.OptimalIPM(), X, AttackContext(rule=rule)).compressed(attacks.IPM()(X, F)) is None


def test_a_span_keeps_distances_of_rows_that_are_close_together_and_far_from_the_origin():
    X = 1e6 + problem(0, d=3000)
    span = Span([*X, X[0]], X.mean(axis=0))
    apart = np.linalg.norm(span.points[:, None] - span.points, axis=2)
    np.testing.assert_allclose(apart[:H, :H], np.linalg.norm(X[:, None] - X, axis=2), rtol=1e-6, atol=1e-6)
    assert apart[0, H] < 1e-6
    np.testing.assert_allclose(span.lifted(span.points[:2]), X[:2], rtol=1e-12)
    assert Span(np.zeros((3, 50)), np.zeros(50)).points.size == 0
    assert Span([np.full(50, np.inf)], np.zeros(50)).points.size == 0


def test_adaptive_may_set_the_attackers_apart():
    X, rule = problem(1), RULES["NNM + Krum"]
    bad = attacks.Adaptive()(X, F, rule=rule)
    assert len(np.unique(bad.round(6), axis=0)) > 1


@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize("goal", ["distance", "descent"])
@pytest.mark.parametrize("rule", [rules.Mean(), rules.Krum(f=1), rules.parse("nnm+geometric-median", f=1)], ids=str)
def test_adaptive_has_an_answer_where_there_is_no_direction_to_search_in(rule, goal, value):
    assert attacks.Adaptive(goal=goal, evals=20)(np.full((6, 4), value), 2, rule=rule).shape == (2, 4)


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
