"""What a detecting stage does in a chain: who is left, what is said, what is remembered, and how it fails."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest

from flwr_byzantine import attacks, rules
from flwr_byzantine.attacks.base import AttackContext
from flwr_byzantine.attacks.simulated_rule import SimulatedRule
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate, TooFewLeft, TooFewUpdates
from flwr_byzantine.rules.detecting.memory import Senders
from flwr_byzantine.rules.results import State, Verdict
from tests.support.detectors import Loud

ROWS = np.array([[1.0, 2.0], [9.0, 9.0], [1.5, 2.5], [1.2, 2.2], [1.3, 2.1]])


@dataclass(frozen=True)
class Halving(Loud):
    """Lets each row count half."""

    def judge(self, view):
        return Verdict(np.zeros(view.n), np.ones(view.n, bool), factors=np.full(view.n, 0.5))


@dataclass(frozen=True)
class Names(Loud):
    """Asks what is known of the model."""

    def judge(self, view):
        scores = [float(len(layer.name)) for layer in view.layout.layers]
        return Verdict(np.full(view.n, sum(scores)), np.ones(view.n, bool))


AFTER = [rules.Mean(), rules.Median(f=1), rules.Krum(f=0), rules.chain(rules.NNM(f=1), rules.TrimmedMean(f=1))]


@pytest.mark.parametrize("rule", AFTER, ids=str)
def test_the_rule_runs_as_if_those_left_out_had_never_come(rule):
    found, alone = rules.chain(Loud(f=rule.f), rule).aggregate(ROWS), rule.aggregate(ROWS[[0, 2, 3, 4]])
    assert np.array_equal(found.value, alone.value)
    assert np.array_equal(np.delete(found.influence, 1), alone.influence)
    assert found.influence[1] == 0


def test_the_answer_says_what_each_detector_said():
    found = rules.chain(Loud(), Halving(), rules.Mean()).aggregate(ROWS)
    loud, halving = found.detections
    assert (loud.name, loud.threshold, loud.kept.tolist()) == ("Loud", 5.0, [True, False, True, True, True])
    assert loud.scores == pytest.approx(np.linalg.norm(ROWS, axis=1))
    assert np.isnan(halving.scores).tolist() == [False, True, False, False, False]
    assert loud.reason(1) == "left out by Loud: score 12.73 > 5"
    assert found.selected == (0, 2, 3, 4)
    assert found.value == pytest.approx(ROWS[[0, 2, 3, 4]].mean(axis=0) / 2)


def test_a_rule_after_it_selects_among_those_left_and_its_scores_stay():
    found = rules.chain(Loud(), rules.Krum(f=0)).aggregate(ROWS)
    assert found.selected == (3,) or found.selected == (4,)
    assert np.isinf(found.scores).tolist() == [False, True, False, False, False]


def test_memory_is_of_nodes_and_not_of_rows():
    rule, state = rules.chain(Loud(), rules.Mean()), State()
    _, state = rule.step(ROWS[[0, 2]], state, nodes=[7, 2**64 - 1])
    assert state.arrays["Loud.nodes"].tolist() == [7, 2**64 - 1]
    _, after = rule.step(ROWS[[3, 0]], state, nodes=[2**64 - 1, 5])
    sums = dict(zip(after.arrays["Loud.nodes"].tolist(), after.arrays["Loud.known.sum"].tolist(), strict=True))
    assert sums[2**64 - 1] == pytest.approx(np.linalg.norm(ROWS[2]) + np.linalg.norm(ROWS[3]))
    assert state.round == 1
    assert len(state.arrays["Loud.nodes"]) == 2


def test_neither_order_nor_a_restart_changes_a_bit():
    rule, rng = rules.chain(Loud(limit=30.0), rules.Mean()), np.random.default_rng(0)
    one = two = State()
    for _ in range(5):
        X, nodes = rng.standard_normal((4, 3)), rng.permutation(6)[:4]
        X[1] = X[0]
        shuffle = rng.permutation(4)
        left, one = rule.step(X, one, nodes=nodes)
        right, two = rule.step(X[shuffle], pickle.loads(pickle.dumps(two)), nodes=nodes[shuffle])
        assert left.tobytes() == right.tobytes()
        assert all(np.array_equal(one.arrays[name], two.arrays[name]) for name in one.arrays | two.arrays)


def test_those_not_seen_for_longest_are_forgotten_first_and_of_one_round_the_largest_ids():
    known = Senders()
    for round, ids in enumerate(([5, 1, 9], [9, 3], [4])):
        known = known.after(np.array(ids, np.uint64), round, {"round": np.full(len(ids), round)}, most=4)
    assert known.nodes.tolist() == [1, 3, 4, 9]
    assert known.known["round"].tolist() == [0, 1, 2, 1]
    assert known.after(np.array([6, 7], np.uint64), 3, {"round": np.array([3, 3])}, most=1).nodes.tolist() == [6]


def test_a_rest_too_small_for_the_rule_is_refused_with_what_was_said():
    with pytest.raises(TooFewLeft, match=r"Loud left out 3 of 5 updates: Median\(f=1\) needs at least 3 updates, got 2") as caught:
        rules.chain(Loud(limit=2.48, f=1), rules.Median(f=1))(ROWS)
    assert caught.value.detections[0].kept.tolist() == [True, False, False, False, True]
    with pytest.raises(TooFewLeft, match=r"Loud left out 5 of 5"):
        rules.chain(Loud(limit=0.0), rules.Mean())(ROWS)


def test_before_anything_is_left_out_the_chain_needs_what_its_rule_needs():
    assert rules.chain(Loud(f=2), rules.Krum(f=2)).min_n() == 7
    with pytest.raises(TooFewUpdates, match="needs at least 7"):
        rules.chain(Loud(f=2), rules.Krum(f=2))(ROWS)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((rules.NNM(f=0), Loud(), rules.Mean()), "Loud judges each sender's own row"),
        ((Loud(), Loud(limit=1.0), rules.Mean()), "Loud is there twice"),
        ((Loud(),), "only pre-aggregates"),
        ((rules.Mean(), Loud()), "aggregates to one row"),
    ],
)
def test_chains_that_make_no_sense_are_refused(parts, message):
    with pytest.raises(InvalidParameter, match=message):
        rules.chain(*parts)


@pytest.mark.parametrize("nodes", [[1, 1, 2, 3, 4], [1, 2], [-1, 1, 2, 3, 4], ["a", 1, 2, 3, 4], [2**64, 1, 2, 3, 4], [True, 2, 3, 4, 5]])
def test_nodes_are_n_different_integers(nodes):
    with pytest.raises(MalformedUpdate, match="nodes must be"):
        rules.chain(Loud(), rules.Mean()).aggregate(ROWS, nodes=nodes)


@pytest.mark.parametrize("layout", [{"w": (3,)}, "w", {"w": (2.0,)}, [(-1, -2)], 7])
def test_a_layout_is_of_the_updates_coordinates(layout):
    with pytest.raises(InvalidParameter, match="layout must be"):
        rules.chain(Names(), rules.Mean()).aggregate(ROWS, layout=layout)


def test_the_layout_reaches_the_detector():
    rule = rules.chain(Names(), rules.Mean())
    assert rule.aggregate(ROWS, layout={"body": (1,), "head": (1, 1)}).detections[0].scores[0] == 8
    assert rule.aggregate(ROWS, layout=[1, 1]).detections[0].scores[0] == 2
    assert rule.aggregate(ROWS).detections[0].scores[0] == 1


def test_rows_that_are_not_finite_are_left_out_before_and_not_judged():
    X = np.vstack([ROWS, [[np.nan, 0.0]]])
    found = rules.chain(Loud(f=1), rules.Median(f=1)).aggregate(X, nodes=range(10, 16))
    assert np.isnan(found.detections[0].scores[5])
    assert found.influence[5] == 0


def test_rows_of_any_magnitude_can_be_judged():
    for scale in (1e300, 1e-310, 0.0):
        found = rules.chain(Loud(limit=1e76), rules.Mean()).aggregate(ROWS * scale)
        assert np.isfinite(found.detections[0].scores).all()


def test_an_attacker_who_knows_the_rule_tries_it_with_ids_layout_and_a_guess_of_what_the_server_has():
    rng = np.random.default_rng(0)
    honest = 1.0 + 0.1 * rng.normal(size=(9, 6))
    context = AttackContext(nodes=tuple(range(50, 61)), layout={"w": (3, 1), "b": (3,)})
    for name in ("zeno+mean", "zeno-plus-plus+median", "fldetector+krum", "flanders+median", "deepsight+mean", "lasa", "safeguard+mean"):
        server = SimulatedRule(attacks.Adaptive(), honest, replace(context, rule=rules.parse(name, f=2)))
        assert np.isfinite(server.shift(honest[:2])).all(), name
        assert server.damage(honest[:2]) < 1
    lost = SimulatedRule(attacks.Adaptive(), honest, replace(context, rule=rules.chain(Loud(f=4, limit=2.0), rules.Median(f=4))))
    assert lost.judge(np.full((2, 6), 0.01)) == (-np.inf, False)


def test_foolsgold_remembers_ids_of_64_bits():
    rule, X = rules.FoolsGold(), np.eye(3)
    _, state = rule.step(X, rule.init(3), nodes=[2**64 - 1, 7, 2**63])
    assert sorted(state.arrays["ids"].tolist()) == [7, 2**63, 2**64 - 1]
    assert rule.step(X, state, nodes=[2**63, 7, 2**64 - 1])[1].arrays["history"].sum() == 6
