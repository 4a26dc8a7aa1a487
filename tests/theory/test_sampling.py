"""Plans for sampled clients against a search over f and sample sizes, with binomial coefficients."""

import itertools
import math

import pytest

from flwr_byzantine import rules, theory


def binomial(nodes, bad, size, f):
    return sum(math.comb(bad, k) * math.comb(nodes - bad, size - k) for k in range(f + 1, size + 1)) / math.comb(nodes, size)


@pytest.mark.parametrize(("nodes", "bad"), [(20, 4), (30, 0), (12, 12), (15, 7)])
def test_a_plan_is_what_a_search_over_f_and_sizes_finds(nodes, bad):
    def least(size, rounds, epsilon):
        fine = (f for f in range(min(size, bad) + 1) if 1 - (1 - binomial(nodes, bad, size, f)) ** rounds <= epsilon)
        return next(fine, min(size, bad))

    for rule, rounds, epsilon in itertools.product((None, rules.Krum(f=0), rules.Bulyan(f=7)), (1, 20), (0.01, 0.2)):
        for size in range(1, nodes + 1):
            plan = theory.plan_sampling(nodes, bad, size, rounds, epsilon, rule)
            f = least(size, rounds, epsilon)
            needed = (rule or rules.TrimmedMean(f=0)).with_f(f).min_n()
            assert (plan.sample_size, plan.f, plan.min_n, plan.feasible) == (size, f, needed, size >= needed)
            assert plan.failure == pytest.approx(1 - (1 - binomial(nodes, bad, size, f)) ** rounds, abs=1e-12)
            assert plan.f == theory.smallest_f(nodes, bad, size, rounds, epsilon)
        plans = [theory.plan_sampling(nodes, bad, size, rounds, epsilon, rule) for size in range(1, nodes + 1)]
        first = next((plan for plan in plans if plan.feasible and (plan.f >= 1 or bad == 0)), plans[-1])
        assert theory.plan_sampling(nodes, bad, None, rounds, epsilon, rule) == first


def test_a_plan_says_in_its_reason_what_is_needed_and_what_is_possible():
    fine = theory.plan_sampling(100, 10, 10)
    assert fine.reason == "with 10 nodes a round, declare f = 3: TrimmedMean(f=3) needs 7"
    assert theory.plan_sampling(100, 10, 10, rounds=1, epsilon=0.01) == fine
    not_fine = theory.plan_sampling(20, 9, 10, 100, 0.001, rules.Krum(f=0))
    assert not_fine.reason.startswith(
        "9 bad nodes can put 9 into a sample of 10, for which Krum(f=9) needs 21; a sample of 10 withstands f = 3"
    )
    assert theory.plan_sampling(3, 3, 2, rule=rules.Krum(f=0)).reason.count("withstands f = 0 at most") == 1
