"""The adaptive attack: against every other attack, rule by rule, in all coordinates and in the span; and in simulations."""

import numpy as np
import pytest

from flwr_byzantine import attacks, rules
from flwr_byzantine.arrays.span import Span
from flwr_byzantine.attacks import AttackContext
from flwr_byzantine.attacks.ascent import climb
from flwr_byzantine.attacks.simulated_rule import SimulatedRule
from tests.support.optimised import RULES, D, F, H, damage, problem

FIXED = [cls for cls in attacks.available() if cls is not attacks.Adaptive and cls.finite]


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
