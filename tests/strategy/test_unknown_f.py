"""f="auto": the largest f that the rule's own condition allows at the replies that came, in both APIs."""

import logging
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
from flwr.serverapp import strategy as flower

import flwr_byzantine as ours
from flwr_byzantine import InvalidParameter, Robust, legacy, rules
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.counting import quorum, silence
from tests.support.federation import N, client_app, start, values
from tests.support.legacy import one_round
from tests.support.replies import nan

OF_RULES = sorted(set(legacy.__all__) - {"Robust", "ByzantineSGD"})
OWN_UPDATE = {"server_update": lambda server_round, arrays: arrays}
REQUIRED = {"FLTrust": OWN_UPDATE, "ZenoPlusPlus": OWN_UPDATE, "Zeno": {"server_loss": lambda server_round, arrays: 0.0}}


@pytest.mark.parametrize("api", [ours, legacy], ids=["message", "legacy"])
@pytest.mark.parametrize("name", OF_RULES)
def test_every_strategy_takes_the_largest_f_that_its_rule_allows(api, name):
    strategy = getattr(api, name)(f="auto", **REQUIRED.get(name, {}))
    for n in range(1, 24):
        rule = strategy.rule_at(n)
        assert rule.f == max(0, rule.breakdown(n)), n
        if rule.robust and n >= rule.min_n() and "f" in {item.name for item in fields(rule)}:
            assert 2 * rule.f + 2 >= n or not rule.takes(rule.f + 1, n), "one more would not do"


@pytest.mark.parametrize(
    ("rule", "n", "expected"),
    [
        ("krum", 11, "Krum(f=4)"),
        ("nnm+trimmed-mean", 11, "NNM(f=5) + TrimmedMean(f=5)"),
        ("bulyan", 11, "Bulyan(f=2)"),
        ("mean", 11, "Mean()"),
        (rules.MultiKrum(f=1, m=7), 11, "MultiKrum(f=4, m=7)"),
        (rules.chain(rules.Bucketing(s=3), rules.Median()), 30, "Bucketing(s=3) + Median(f=4)"),
        (lambda n: rules.Krum(f=0), 11, "Krum(f=4)"),
    ],
)
def test_robust_takes_it_for_names_rules_and_functions(rule, n, expected):
    for api in (ours, legacy):
        assert str(api.Robust(rule, f="auto").rule_at(n)) == expected
        assert str(api.ByzantineSGD(rule, 0.1, f="auto").rule_at(n)) == expected


def reported(strategy, silent=(), malformed=()):
    """The reports of three rounds of eleven nodes, of which in round 2 some are silent and some send NaN."""
    seen = Counter()

    def spoil(reply):
        node = reply.metadata.src_node_id
        seen[node] += 1
        if seen[node] != 2:
            return reply
        return None if node in silent else nan(reply) if node in malformed else reply

    strategy.start(LocalGrid(client_app(), N, spoil=spoil), start(), 3)
    return strategy.reports


@pytest.mark.parametrize(("silent", "malformed"), [((), ()), ((1, 2), ()), ((), (1, 2, 3)), ((1,), (2, 3, 4, 5)), ((1, 2, 3), (4, 5, 6))])
@pytest.mark.parametrize("on_missing", ["keep-f", "lower-f"])
def test_f_follows_the_replies_that_came_in_each_round_and_is_reported(silent, malformed, on_missing):
    strategy = Robust("krum", flower.FedAvg(fraction_evaluate=0.0), f="auto", on_missing=on_missing)
    left = N - len(silent) - len(malformed)
    first, second, third = reported(strategy, silent, malformed)
    assert (first.f, second.f, third.f) == (4, rules.Krum(f=0).breakdown(left), 4)
    assert (second.n_valid, second.rule, second.min_n) == (left, f"Krum(f={second.f})", 2 * second.f + 3)
    assert second.aggregated
    assert second.kappa == rules.Krum(f=second.f).kappa(left)
    assert [report.note for report in (first, second, third)] == ["", "", ""]


def test_a_round_of_few_is_aggregated_with_a_warning_or_skipped():
    strategy = Robust("krum", flower.FedAvg(fraction_evaluate=0.0), f="auto")
    few = reported(strategy, silent=range(1, 8))[1]
    assert (few.n_valid, few.f, few.aggregated) == (4, 0, True)
    assert few.note == "f='auto' is 0 at 4 replies: Krum(f=0) withstands no Byzantine one; ask more nodes"
    strategy = Robust("krum", flower.FedAvg(fraction_evaluate=0.0), f="auto")
    none = reported(strategy, silent=range(1, 10))[1]
    assert (none.aggregated, none.note) == (False, "Krum(f=0) needs at least 3 valid replies, got 2; the model stays as it was")


def test_mean_withstands_nobody_and_says_so_no_more_than_ever():
    strategy = ours.Mean(f="auto", fraction_evaluate=0.0)
    assert {(report.f, report.note) for report in reported(strategy)} == {(0, "")}


def test_a_detector_before_a_mean_is_told_nothing_and_that_is_said():
    strategy = Robust(rules.chain(rules.FLANDERS(f=2), rules.Mean()), flower.FedAvg(fraction_evaluate=0.0), f="auto")
    (note,) = {report.note for report in reported(strategy)}
    assert note == "f='auto' is 0 at 11 replies: FLANDERS(f=0) + Mean() withstands no Byzantine one; ask more nodes"
    robust = Robust(rules.chain(rules.FLANDERS(f=2), rules.TrimmedMean(f=2)), flower.FedAvg(fraction_evaluate=0.0), f="auto")
    assert {(report.f, report.note) for report in reported(robust)} == {(3, "")}


def test_a_legacy_round_reports_it_too():
    strategy = legacy.Krum(f="auto")
    one_round(strategy)
    assert (strategy.reports[0].f, strategy.reports[0].rule) == (4, "Krum(f=4)")


@pytest.mark.parametrize("certificate", [False, True])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(tmp_path, certificate):
    def run(rounds, **policy):
        strategy = Robust("nnm+krum", flower.FedAvg(fraction_evaluate=0.0), f="auto", certificate=certificate, **policy)
        return strategy, strategy.start(LocalGrid(client_app(), N), start(), rounds)

    whole, expected = run(4)
    path = tmp_path / "run.npz"
    run(2, checkpoint=path)
    resumed, result = run(4, checkpoint=path, resume=True)
    np.testing.assert_array_equal(values(result.arrays), values(expected.arrays))
    assert resumed.reports == whole.reports
    assert {report.f for report in resumed.reports} == {4}
    assert all((report.certificate is not None) is certificate for report in resumed.reports)
    other = Robust("nnm+krum", flower.FedAvg(fraction_evaluate=0.0), f=4, checkpoint=path, resume=True)
    with pytest.raises(InvalidParameter, match=r"another rule: 'NNM\(f=23\) .* at 100' there, 'NNM\(f=4\)"):
        other.start(LocalGrid(client_app(), N), start(), 5)


def test_it_can_be_set_between_two_rounds():
    strategy = ours.Krum(f=1)
    strategy.f = "auto"
    assert strategy.rule_at(N).f == 4


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ours.Krum(f="most"), "strategy: f must be a count, a share such as 0.2, or 'auto', got 'most'"),
        (lambda: Robust("krum", f="Auto"), "or 'auto', got 'Auto'"),
        (lambda: legacy.Krum(f="auto", num_malicious_clients=2), "give f or num_malicious_clients, not both; got f='auto'"),
        (lambda: Robust(rules.Krum(f=2), f=3), "f goes with a rule's name, got f=3"),
    ],
)
def test_other_words_and_two_answers_are_refused(make, says):
    with pytest.raises(InvalidParameter, match=says):
        make()


@pytest.mark.parametrize(("n", "waits"), [(1, 1), (4, 4), (5, 4), (11, 9), (100, 80)])
def test_a_round_waits_for_all_but_a_fifth_so_that_the_fast_do_not_choose_f(n, waits):
    krum = ours.Krum(f="auto")
    assert quorum(krum.rule_at, n, training=True, auto=True) == (waits, waits)
    assert quorum(krum.rule_at, n, training=False, auto=True) == (waits, 0)
    assert krum.core.patience(n, True, 9.0).quorum == (waits, waits)


def test_the_start_of_a_run_says_what_is_withstood(caplog):
    krum = ours.Krum(f="auto").rule_at
    assert silence(krum, 11, auto=True) == (logging.INFO, "of 11 nodes asked f='auto' allows 4 to be Byzantine, 3 where 9 answer")
    level, text = silence(krum, 4, auto=True)
    assert (level, text) == (
        logging.WARNING,
        "4 nodes are asked, at which f='auto' is 0: Krum(f=0) withstands no Byzantine one; ask more nodes",
    )
    with caplog.at_level(logging.INFO, "flwr"):
        reported(ours.Krum(f="auto", fraction_evaluate=0.0))
    assert caplog.text.count("f='auto' allows 4 to be Byzantine") == 1
