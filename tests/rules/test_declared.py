"""What rules declare of themselves is so, and what they do not declare is not: over every rule that is discovered."""

import re
from contextlib import suppress
from dataclasses import fields

import numpy as np
import pytest

from flwr_byzantine import rules
from flwr_byzantine.declare.citations import citation
from flwr_byzantine.errors import InvalidParameter, TooFewUpdates
from flwr_byzantine.rules.clusters import densest_majority, kernel_width, mean_shift, two_clusters
from flwr_byzantine.rules.filters import largest
from flwr_byzantine.theory import empirical_kappa, kappa_lower_bound
from tests.support.rules import RULES, F, call, data, stated, trusted

VARIANTS = [
    rules.Krum(f=F, neighbors="n-f-1"),
    rules.MultiKrum(f=F, neighbors="n-f-1"),
    rules.Bulyan(f=F, iterated=False),
    rules.Bulyan(f=3),
    rules.GeometricMedian(f=F, start="origin", nu=0.1, smoothing="absolute", max_iter=3, tol=0.0),
    rules.GeometricMedian(f=F, start="mean", max_iter=3),
    rules.MoNNA(f=F, trusted=None),
    rules.Aksel(f=F, keep="mid"),
    rules.AutoGM(f=F, lam=0.5),
    rules.CTMA(f=F, base=rules.Krum(f=F)),
    rules.GAS(f=F, base=rules.Median(), p=3),
    rules.RLR(f=F, base=rules.Median()),
    rules.SLSGD(f=F, alpha=1.0),
    rules.FedRDF(f=F, select="index"),
    rules.chain(rules.NNM(f=F), rules.CenteredClipping(f=F)),
    rules.chain(rules.ARC(f=F), rules.NNM(f=F), rules.Median(f=F)),
]
every_rule = pytest.mark.parametrize("rule", [*RULES, *VARIANTS], ids=str)


def same(a, b):
    return np.allclose(a, b, rtol=1e-8, atol=1e-9)


def draws(scales=(0.01, 1.0, 100.0)):
    """Updates with a cluster of colluders beside the honest rows, of several sizes."""
    for seed, scale in enumerate(2 * scales):
        X = data(n=15, seed=seed)
        X[-F:] += 2.0 * seed
        yield scale * X


def moves(rule, X):
    return same(call(rule, X + 5.0), call(rule, X) + 5.0)


def scales(rule, X):
    keywords = {name: 0.01 * value for name, value in trusted(rule, X).items()}
    return same(call(rule, 0.01 * X, **keywords), 0.01 * call(rule, X))


def symmetric(rule, X):
    return same(call(rule, X[::-1].copy(), **trusted(rule, X)), call(rule, X))


@every_rule
@pytest.mark.parametrize(("name", "holds"), [("equivariant", moves), ("scales", scales), ("symmetric", symmetric)])
def test_a_declared_invariance_holds_and_one_not_declared_has_a_counterexample(rule, name, holds):
    assert all(holds(rule, X) for X in draws()) is stated(rule, name)


@every_rule
def test_only_stateful_rules_are_moved_by_earlier_rounds(rule):
    """From the same round number, with and without what earlier rounds left behind."""
    state, *rounds = rule.init(40), *draws(scales=(1.0, 3.0))
    for X in rounds:
        _, state = rule.step(X, state, **trusted(rule, X))
    X = 20 * data(n=15, seed=9)
    told = rule.step(X, state, **trusted(rule, X))[0]
    alone = rule.step(X, rules.State(state.round), **trusted(rule, X))[0]
    assert same(told, alone) is not any(stage.stateful for stage in rule.stages())


def takes(rule, f, n):
    with suppress(TooFewUpdates, InvalidParameter):
        rule.with_f(f).check(n)
        return True
    return False


@pytest.mark.parametrize("name", ["mda", "nnm+mda", "smea"])
def test_rules_that_search_take_no_more_than_they_can_search(name):
    assert [rules.parse(name, 1).breakdown(n) for n in (63, 200)] == ([30, 30] if "mda" in name else [3, 2])


@every_rule
def test_the_breakdown_is_the_largest_f_that_the_rule_takes(rule):
    for n in range(1, 40):
        f = rule.breakdown(n)
        robust = all(stage.robust for stage in rule.stages())
        allowed = [f for f in range(n) if 2 * f < n and takes(rule, f, n)]
        assert f == (-1 if not allowed else max(allowed) if robust else 0)


@every_rule
def test_at_its_breakdown_a_rule_still_holds(rule):
    n = 15
    f = rule.breakdown(n)
    X = data(n)
    X[:f] = 1e6
    if isinstance(rule, rules.MoNNA):
        X = X[::-1].copy()  # the trusted row is honest
    keywords = {"trusted": data(n)[f:].mean(0)} if trusted(rule, X) else {}
    assert np.linalg.norm(call(rule.with_f(f), X, **keywords)) < 12


PROVED = [rule for rule in [*RULES, *VARIANTS] if all(stage.robust for stage in rule.stages()) and rule.kappa(13) is not None]


@pytest.mark.parametrize("rule", PROVED, ids=str)
def test_no_configuration_found_exceeds_the_declared_kappa(rule):
    for f in (1, 2):
        n = max(rule.with_f(f).min_n(), 2 * f + 2)
        found = empirical_kappa(rule, n, d=2, f=f, starts=3, steps=12)
        assert found <= rule.with_f(f).kappa(n) * (1 + 1e-9)
        assert rule.with_f(f).kappa(n) >= kappa_lower_bound(n, f)


def test_kappa_is_declared_where_a_proof_is_known():
    names = {type(rule).__name__ for rule in PROVED}
    assert names >= {"Krum", "MultiKrum", "Median", "TrimmedMean", "GeometricMedian", "MDA", "SMEA", "Chain"}


def krum_kappa(n, f, neighbours, members):
    """In three steps, at σ = 1: the pick's score is at most the mean honest row's; `members` honest rows T are in it; both meet at x̄_T."""
    h = n - f
    score = 2 * h * neighbours / (h - 1)  # the nearest `neighbours` of the h - 1 others: at most their share of the sum, 2 h
    to_members, to_mean = np.sqrt(score / members), np.sqrt((h - members) / members)
    return (to_members + to_mean) ** 2


@pytest.mark.parametrize(("n", "f"), [(5, 1), (9, 3), (25, 5), (25, 11), (11, 0)])
def test_krums_kappa_is_what_its_proof_gives(n, f):
    wider = rules.Krum(f=f, neighbors="n-f-1").kappa(n)
    assert rules.Krum(f=f).kappa(n) == pytest.approx(krum_kappa(n, f, n - f - 2, n - 2 * f - 1))
    assert wider == pytest.approx(krum_kappa(n, f, n - f - 1, n - 2 * f))
    assert wider <= 6 * (1 + f / (n - 2 * f))  # published


@pytest.mark.parametrize("rule", [rules.GeometricMedian(f=1, max_iter=3), rules.GeometricMedian(f=1, nu=0.5), rules.CGE(f=1)], ids=str)
def test_no_kappa_is_claimed_without_a_proof(rule):
    assert rule.kappa(9) is None


@pytest.mark.parametrize("rule", rules.available(), ids=lambda rule: rule.__name__)
def test_cost_reference_and_citation(rule):
    assert re.fullmatch(r"(n|b|d|f|log|C|²|³|⁴|\d|\.|\^|[ +(),])+", rule.cost)
    years = re.findall(r"\b(?:19|20)\d\d\b(?!\.)", rule.reference)
    assert years
    entries = citation(rule)
    assert entries.count("@") == len(years)
    assert all(f"year = {{{year}}}" in entries for year in years)


def test_the_clusterings_are_scikit_learns():
    """Same labels as its mean shift, average linkage and HDBSCAN, on the features that the rules give them."""
    from sklearn.cluster import HDBSCAN, AgglomerativeClustering, MeanShift, estimate_bandwidth

    rng = np.random.default_rng(0)
    for n in (2, 3, 11, 40, 40):
        points = rng.dirichlet([3, 1, 3], size=n)
        points[: n // 3] = points[: n // 3, ::-1] * 0.6
        width = estimate_bandwidth(points, quantile=0.5)
        assert kernel_width(points) == pytest.approx(width, abs=1e-12)
        if width > 0:
            np.testing.assert_array_equal(mean_shift(points, width), MeanShift(bandwidth=width).fit(points).labels_)
        apart = np.linalg.norm(points[:, None] - points[None], axis=2)
        linked = AgglomerativeClustering(n_clusters=2, metric="precomputed", linkage="average").fit(apart)
        np.testing.assert_array_equal(two_clusters(apart), linked.labels_)
        for X in (points, np.round(2 * points)):  # and where many are equal
            apart = np.linalg.norm(X[:, None] - X[None], axis=2)
            finder = HDBSCAN(min_cluster_size=n // 2 + 1, min_samples=1, metric="precomputed", allow_single_cluster=True, copy=True)
            assert n < 3 or (largest(finder.fit(apart).labels_) == densest_majority(apart)).all()


def said_of_n(rule):
    """The condition in "needs n >= ...", as Python."""
    (text,) = re.findall(r"[Nn]eeds n >= ([0-9f +]+)", rule.__doc__)[:1]
    return re.sub(r"(\d)f", r"\1 * f", text)


@pytest.mark.parametrize("rule", rules.available(), ids=lambda rule: rule.__name__)
def test_docstrings_say_what_a_user_must_know(rule):
    parts = rule.__doc__.split("\n\n")
    assert re.match(r"[A-Z].*\.", parts[0]), "one sentence that defines it"
    names = {item.name for item in fields(rule)}
    for name in names:
        assert re.search(rf"\n {{8}}(\w+, )*{name}(, \w+)*: ", rule.__doc__), f"parameter {name}"
    assert "\n    Source: " in rule.__doc__
    assert "\n    Example:\n" in rule.__doc__
    for f in range(5):
        made = rule(f=f) if "f" in names else rule()
        assert eval(said_of_n(rule), {"f": f}) == made.min_n()
