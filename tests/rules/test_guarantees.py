"""From which n a rule's guarantee holds, and the κ it promises there: each formula written once more, over many n and f."""

import pytest

from flwr_byzantine import errors, rules
from tests.support.guarantees import KAPPA, MIN_N

APART = (rules.Krum, rules.MultiKrum, rules.Bulyan, rules.GAS)
OTHERS = [cls for cls in rules.available() if "f" in cls.__dataclass_fields__ and cls not in APART]


def needs(rule, n):
    """n is enough, and one less is not: said by `min_n`, by the rule when it is called, and by `check`."""
    assert rule.min_n() == n
    rule.check(n)
    if n > 1:
        with pytest.raises(errors.TooFewUpdates, match=rf"at least {n} updates, got {n - 1}; lower f or gather more"):
            rule.check(n - 1)


@pytest.mark.parametrize("name", MIN_N)
@pytest.mark.parametrize("f", [0, 1, 2, 3, 5])
def test_the_smallest_n_is_the_papers(name, f):
    make, expected = MIN_N[name]
    needs(make(f), expected(f))


@pytest.mark.parametrize("cls", OTHERS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("f", [0, 1, 2, 3, 5])
def test_every_other_rule_needs_an_honest_majority(cls, f):
    needs(cls(f=f), 2 * f + 1)


@pytest.mark.parametrize("name", KAPPA)
@pytest.mark.parametrize("f", [0, 1, 2, 3])
def test_kappa_is_the_formula_from_the_smallest_n_on(name, f):
    make, expected = KAPPA[name]
    rule = make(f)
    for n in (rule.min_n(), rule.min_n() + 1, 3 * f + 7, 50):
        found, formula = rule.kappa(n), expected(n, f)
        assert found is formula is None or found == pytest.approx(formula, rel=1e-12)
    if name != "mean":
        assert rule.kappa(rule.min_n() - 1) is None


BREAKDOWN = {  # at n = 1 .. 12
    "krum": [-1, -1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4],
    "bulyan": [-1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2],
    "median": [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5],
    "iterated": [-1, -1, -1, 0, 0, 1, 1, 2, 2, 3, 3, 4],
    "mean": [0] * 12,
    "bucketing + krum": [-1] * 4 + [0] * 4 + [1] * 4,
}


@pytest.mark.parametrize("name", BREAKDOWN)
def test_the_breakdown_for_n_up_to_12_is_the_tables(name):
    make = (MIN_N | KAPPA)[name][0]
    assert [make(0).breakdown(n) for n in range(1, 13)] == BREAKDOWN[name]
    assert [make(1).breakdown(n) for n in range(1, 13)] == BREAKDOWN[name]  # the rule's own f does not count


@pytest.mark.parametrize("rule", [rules.Krum(f=2), rules.chain(rules.NNM(f=2), rules.Krum(f=2)), rules.Mean(), rules.Bucketing()], ids=str)
def test_another_f_is_that_of_every_part_that_has_one(rule):
    for f in (0, 3):
        for part in rule.with_f(f).stages():
            assert part.f == (f if "f" in part.__dataclass_fields__ else 0)
    if rule.f:
        assert rule.f == 2
        assert rule.with_f(5).f == 5
    assert [type(part) for part in rule.with_f(5).stages()] == [type(part) for part in rule.stages()]


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        ([rules.NNM(f=2), rules.Median()], "NNM(f=2) + Median(f=2)"),
        ([rules.Bucketing(), rules.GeometricMedian(f=1)], "Bucketing() + GeometricMedian(f=1)"),
        ([rules.ARC(f=1), rules.chain(rules.NNM(f=1), rules.Median())], "ARC(f=1) + NNM(f=1) + Median(f=1)"),
        ([rules.ARC(f=2), rules.Mean()], "ARC(f=2) + Mean()"),
    ],
)
def test_a_chain_has_one_f(parts, shown):
    assert str(rules.chain(*parts)) == shown


@pytest.mark.parametrize(
    "parts",
    [
        (rules.NNM(f=2), rules.TrimmedMean(f=1)),
        (rules.NNM(f=0), rules.Median(f=2)),
        (rules.ARC(f=1), rules.NNM(f=2), rules.Median()),
        (rules.ARC(f=2), rules.chain(rules.NNM(f=1), rules.Median())),
        (rules.NNM(f=1), rules.Median(f=2)),
    ],
    ids=str,
)
def test_a_chain_of_different_f_is_refused(parts):
    with pytest.raises(errors.InvalidParameter, match=r"chain: all parts must have the same f, got .* \+ .*: give each f=2"):
        rules.chain(*parts)


@pytest.mark.parametrize("make", [lambda f: rules.chain(rules.ARC(f=f), rules.Mean()), lambda f: rules.chain(rules.NNM(f=f), rules.Mean())])
def test_a_chain_that_ends_with_the_mean_withstands_nobody(make):
    assert make(1).kappa(9) is None
    assert make(0).kappa(9) == 0
    assert make(1).breakdown(9) == 0
    assert not make(1).robust


@pytest.mark.parametrize("name", MIN_N | KAPPA)
def test_kappa_is_none_or_a_number_for_every_n_and_f_and_none_beyond_the_breakdown(name):
    make = (MIN_N | KAPPA)[name][0]
    for n in range(-1, 30):
        for f in range(7):
            kappa = make(f).kappa(n)
            assert kappa is None or (kappa >= 0 and make(f).f <= make(0).breakdown(n))
