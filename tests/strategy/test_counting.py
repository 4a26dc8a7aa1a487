"""How many silent nodes a round bears, what is said of it, what f becomes, and whom a skipped round asks next."""

import logging
from functools import partial

import pytest
from flwr.common import ndarrays_to_parameters
from flwr.serverapp import strategy as flower

from flwr_byzantine import InfeasibleRound, Krum, Quarantine, Robust, legacy, rules
from flwr_byzantine.strategy.counting import feasible, silence, substitutes
from tests.support.federation import N, start
from tests.support.grids import quiet
from tests.support.legacy import ARGUMENTS, MODEL, proxy_of, server


@pytest.mark.parametrize(
    ("f", "n", "silent", "expected"),
    [
        (2, 7, 3, 2),  # enough as it is
        (2, 6, 1, 1),  # f falls by as many as it takes
        (2, 6, 4, 1),
        (2, 3, 4, 0),  # and not below 0
        (2, 2, 5, 2),  # where even that is not enough, f is what it was
        (2, 3, 1, 2),  # not by more than were silent
    ],
)
def test_f_falls_by_the_silent_where_the_user_accepts_that(f, n, silent, expected):
    rule, note = feasible(lambda n: rules.Krum(f=f), n, 0, silent)
    assert rule.f == expected
    told = f"f lowered from {f} to {expected} by on_missing='lower-f': rests on {f - expected} of the {silent} nodes"
    assert note == ("" if expected == f else f"{told} without a valid reply being Byzantine ones")
    assert feasible(lambda n: rules.Krum(f=f), n, 0)[0].f == f, "silence may be honest: f does not fall by itself"


def test_f_falls_by_invalid_replies_first_and_by_silence_where_that_is_not_enough():
    krum = lambda n: rules.Krum(f=3)  # noqa: E731
    assert feasible(krum, 7, invalid=1, silent=1)[0].f == 2
    assert "the 1 invalid replies" in feasible(krum, 7, invalid=1, silent=1)[1]
    assert feasible(krum, 5, invalid=1, silent=1)[0].f == 1
    assert "rests on 2 of the 2 nodes" in feasible(krum, 5, invalid=1, silent=1)[1]
    assert feasible(krum, 5, invalid=1, silent=0)[0].f == 3


@pytest.mark.parametrize(
    ("f", "n", "level", "says"),
    [
        (2, 9, logging.INFO, "of 9 nodes asked f=2 may be Byzantine; 3 that answer with errors or not at all stop a round"),
        (2, 8, logging.WARNING, "but 2 that answer with errors or not at all stop a round; ask 9 or more"),
        (2, 7, logging.WARNING, "but 1 that answer with errors or not at all stop a round; ask 9 or more"),
        (2, 6, logging.WARNING, "needs at least 7 valid replies: no round can be aggregated; ask 9 or more"),
        (0.2, 5, logging.INFO, "f=1 may be Byzantine; 3 that answer"),  # of those that arrive: f falls with n
        (0.2, 4, logging.INFO, "f=0 may be Byzantine; 2 that answer"),
    ],
)
def test_the_start_of_a_run_says_how_many_silent_nodes_stop_a_round(f, n, level, says):
    found, text = silence(Krum(f=f).rule_at, n)
    assert found == level
    assert says in text


def test_it_is_said_once_a_run(caplog):
    caplog.set_level(logging.INFO, logger="flwr")
    strategy = Krum(f=2, fraction_evaluate=0.0)
    for _ in range(2):
        strategy.start(quiet(), start(), 3)
    said = [record.getMessage() for record in caplog.records if "stop a round" in record.getMessage()]
    assert said == ["flwr-byzantine: of 11 nodes asked f=2 may be Byzantine; 5 that answer with errors or not at all stop a round"] * 2


def test_a_rule_that_is_not_known_for_every_n_ends_no_run():
    strategy = Robust(lambda n: {N: rules.Krum(f=2), 100: rules.Krum(f=2)}[n], flower.FedAvg(fraction_evaluate=0.0))
    strategy.start(quiet(), start(), 1)
    assert strategy.reports[0].aggregated


def test_a_rule_that_cannot_be_made_of_fewer_replies_skips_the_round_and_says_why():
    strategy = Robust(lambda n: rules.Krum(f=10 // (n - 4)), flower.FedAvg(fraction_evaluate=0.0))
    with pytest.raises(InfeasibleRound, match=r"none of 1 rounds .* there is no rule for 4 replies: ZeroDivisionError: "):
        strategy.start(quiet(*range(5, N + 1)), start(), 1)
    report = strategy.reports[0]
    assert (report.feasible, report.aggregated, report.rule, report.f) == (False, False, "none", 0)
    assert feasible(lambda n: {}[n], 4) == (None, "there is no rule for 4 replies: KeyError: 4")
    strict = Robust(lambda n: rules.Krum(f=10 // (n - 4)), flower.FedAvg(fraction_evaluate=0.0), on_infeasible="error")
    with pytest.raises(InfeasibleRound, match="round 1: there is no rule for 4 replies"):
        strict.start(quiet(*range(5, N + 1)), start(), 1)


def test_f_silent_nodes_skip_rounds_unless_f_may_fall_by_them():
    asked = {"min_train_nodes": N, "fraction_evaluate": 0.0}
    with pytest.raises(InfeasibleRound, match="none of 2 rounds was aggregated"):
        Krum(f=4, **asked).start(quiet(1, 2), start(), 2)
    strategy = Krum(f=4, on_missing="lower-f", **asked)
    strategy.start(quiet(1, 2), start(), 2)
    assert [(report.f, report.aggregated) for report in strategy.reports] == [(3, True)] * 2
    assert strategy.reports[0].note.startswith("f lowered from 4 to 3 by on_missing='lower-f'")


def test_after_a_skipped_round_others_are_asked_where_there_are_others():
    strategy = Krum(f=1, fraction_train=0.01, min_train_nodes=5, fraction_evaluate=0.0, quarantine=Quarantine())
    strategy.core.ledger.banned[9] = 0
    sampled = []
    grid = quiet(1, 2, 3, 4)
    grid.get_node_ids = lambda: [1, 2, 3, 4, 5] if not strategy.reports else list(range(1, N + 1))
    strategy.start(grid, start(), 3)
    sampled = [set(report.nodes) for report in strategy.reports]
    assert sampled[0] == {1, 2, 3, 4, 5}
    assert not sampled[1] & {1, 2, 3, 4, 9}
    assert [report.aggregated for report in strategy.reports[:2]] == [False, True]


def test_substitutes_are_drawn_among_those_nobody_asked():
    drawn = [substitutes([1, 2, 3], {2, 3, 8}, range(1, 10), seed) for seed in range(20)]
    assert all(set(found) == {2, 3} and set(found.values()) <= {4, 5, 6, 7, 9} for found in drawn)
    assert len({tuple(found.values()) for found in drawn}) > 5
    assert substitutes([1, 2], {2}, [1, 2], seed=1) == {}


def test_after_a_skipped_legacy_round_others_are_asked():
    strategy = legacy.Krum(f=1, fraction_fit=0.01, min_fit_clients=5, min_available_clients=5, **ARGUMENTS)
    running = server(strategy, silent=(1, 2, 3, 4), n=5)
    late = [proxy_of(number, True) for number in range(6, 12)]
    before = strategy.aggregate_fit

    def aggregate_fit(server_round, results, failures):
        for proxy in late:
            running.client_manager().register(proxy)
        return before(server_round, results, failures)

    strategy.aggregate_fit = aggregate_fit
    running.fit(2, None)
    assert set(strategy.reports[0].nodes) == {1, 2, 3, 4, 5}
    assert not set(strategy.reports[1].nodes) & {1, 2, 3, 4}
    assert strategy.reports[1].aggregated


@pytest.mark.parametrize("api", ["message", "legacy"])
def test_a_round_in_which_everybody_is_in_quarantine_is_skipped_and_counted(api):
    strategy = (Krum if api == "message" else legacy.Krum)(f=1, quarantine=Quarantine(), fraction_evaluate=0.0, max_skipped_rounds=2)
    strategy.core.ledger.banned.update(dict.fromkeys(range(1, N + 1), 0))
    run = partial(strategy.start, quiet(), start(), 5) if api == "message" else partial(server(strategy, n=N).fit, 5, None)
    strategy.initial_parameters = ndarrays_to_parameters(MODEL)
    with pytest.raises(InfeasibleRound, match=r"skipped 2 rounds in a row; the last because all .* sampled are in quarantine"):
        run()
    assert [report.n_sampled for report in strategy.reports] == [0, 0]
