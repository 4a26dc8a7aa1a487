"""Partial participation: who is drawn, who of them attacks, and what becomes of rounds with nobody but them."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord

from flwr_byzantine import InfeasibleRound, Robust, attacks, rules, theory
from flwr_byzantine.experiments.recording import RecordingGrid
from flwr_byzantine.experiments.sweep import Store, read, run
from flwr_byzantine.experiments.sweep.cell import Cell
from flwr_byzantine.experiments.tasks import Task, batched
from flwr_byzantine.experiments.tasks.client import client_app, config_of
from flwr_byzantine.experiments.tasks.engines import federate_on
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.experiments.tasks.participation import Cohort, attackers, idle, participants, possible
from flwr_byzantine.experiments.tasks.sampling import Present, average, client_numbers
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.records import is_train
from tests.support.sweeps import TINY, write

SMALL = Task(model="softmax", partition="iid", num_clients=12, num_malicious=4, clients_per_round=5, local_steps=2, validation=0.1)
ROUNDS = range(1, 3001)


class Watched:
    """A Grid that notes which clients are sent a training message, round by round; node k is client k - 1."""

    def __init__(self, grid):
        self.grid, self.asked = grid, []

    def __getattr__(self, name):
        return getattr(self.grid, name)

    def send_and_receive(self, messages, *, timeout=None):
        sent = list(messages)
        if sent and is_train(sent[0]):
            self.asked.append(frozenset(message.metadata.dst_node_id - 1 for message in sent))
        return self.grid.send_and_receive(sent, timeout=timeout)


def test_so_many_clients_are_drawn_as_wanted_each_as_often_as_another():
    task = Task(num_clients=40, clients_per_round=0.2)
    drawn = [participants(task, k) for k in ROUNDS]
    assert {len(found) for found in drawn} == {8}
    counts = np.bincount([client for found in drawn for client in found], minlength=40)
    assert abs(counts - 600).max() < 5 * np.sqrt(3000 * 0.2 * 0.8)


def test_the_draw_follows_from_seed_and_round_alone():
    others = [replace(SMALL, lr=0.5, model="mlp"), replace(SMALL, num_malicious=0), replace(SMALL, clients_per_round=5 / 12)]
    assert all(participants(other, k) == participants(SMALL, k) for other in others for k in range(1, 20))
    assert [participants(SMALL, k) for k in range(1, 20)] != [participants(replace(SMALL, seed=1), k) for k in range(1, 20)]
    assert len({participants(SMALL, k) for k in range(1, 20)}) > 15


@pytest.mark.parametrize("who", ["fixed", "redrawn"])
def test_nobody_attacks_before_the_first_round_with_attackers(who):
    at_once, later = (replace(SMALL, clients_per_round="all", attackers=who, attack_from=first) for first in (1, 3))
    assert [attackers(later, k) for k in range(1, 6)] == [frozenset()] * 2 + [attackers(at_once, k) for k in range(3, 6)]
    assert all(len(attackers(at_once, k)) == 4 for k in range(1, 6))


@pytest.mark.parametrize("f", [1, 2, 3])
def test_more_than_f_attackers_come_as_often_as_theory_says(f):
    task = Task(num_clients=100, num_malicious=20, clients_per_round=10)
    share = np.mean([len(attackers(task, k)) > f for k in ROUNDS])
    expected = theory.failure_probability(100, 20, 10, f)
    assert share == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / len(ROUNDS)))


def test_redrawn_attackers_are_so_many_of_each_round_and_everybody_once():
    task = Task(num_clients=20, num_malicious=6, clients_per_round=10, attackers="redrawn")
    found = [attackers(task, k) for k in range(1, 60)]
    assert {len(bad) for bad in found} == {6}
    assert all(bad <= participants(task, k) for k, bad in enumerate(found, 1))
    assert frozenset.union(*found) == frozenset(range(20))


@pytest.mark.parametrize("method", ["local-sgd", "byzantine-sgd"])
def test_only_the_clients_of_the_round_are_asked_the_same_on_any_number_of_processes(method):
    task = replace(SMALL, method=method, momentum=0.9, server_momentum=0.5, attackers="redrawn")
    grids = [Watched(LocalGrid(client_app(), 12, processes=count)) for count in (1, 2)]
    found = [federate(grid, task, rules.TrimmedMean(f=1), attacks.LabelFlip(), 6) for grid in grids]
    for grid in grids:
        grid.close()
        assert grid.asked == [participants(task, k) for k in range(1, 7)]
    assert repr(found[0][0]) == repr(found[1][0])
    assert found[0][1] == found[1][1]


def test_attackers_that_are_sampled_mount_the_attack_and_are_counted():
    grid = Watched(LocalGrid(client_app(), 12))
    history, _ = federate(grid, SMALL, rules.Krum(f=1), attacks.SignFlip(), 8)
    counts = [len(asked & {0, 1, 2, 3}) for asked in grid.asked]
    assert history.attackers == counts
    assert history.over_f == [float(count > 1) for count in counts]
    assert [bool(np.isnan(kept)) for kept in history.malicious_kept] == [count == 0 for count in counts]
    assert history.final()["over_f"] == np.mean(history.over_f) > 0
    unattacked, _ = federate(LocalGrid(client_app(), 12), SMALL, None, None, 8)
    assert (set(unattacked.attackers), unattacked.final()["over_f"]) == ({0}, None)


def in_process(task, rule, attack, rounds):
    return federate(LocalGrid(client_app(), task.num_clients), task, rule, attack, rounds)


@pytest.mark.parametrize("run_it", [in_process, batched.federate])
@pytest.mark.parametrize("watches", [False, True])
def test_an_attack_that_watches_sees_the_rounds_without_attackers_too(run_it, watches, monkeypatch):
    counts = []
    monkeypatch.setattr(attacks.IPM, "watches", watches)
    monkeypatch.setattr(attacks.IPM, "next_memory", lambda _attack, honest, f, _context: counts.append((len(honest), f)) or {})
    run_it(replace(SMALL, clients_per_round="all", attack_from=3), None, attacks.IPM(), 4)
    assert counts == [(12, 0), (12, 0)] * watches + [(8, 4), (8, 4)]


@pytest.mark.parametrize("run_it", [in_process, batched.federate])
@pytest.mark.parametrize("attack", [attacks.ALIE(z=1.0), attacks.IPM(), attacks.Mimic(), attacks.SignFlip(), attacks.MinMax()])
def test_rounds_of_attackers_alone_or_without_any_do_not_break(attack, run_it):
    task = replace(SMALL, num_clients=6, num_malicious=3, clients_per_round=2)
    history, _ = run_it(task, rules.Median(f=0), attack, 20)
    assert set(history.attackers) == {0, 1, 2}
    for count, kappa, dropped in zip(history.attackers, history.kappa_seen, history.honest_dropped, strict=True):
        assert np.isnan(kappa) == (count >= 1)  # one honest row has no spread
        assert np.isnan(dropped) == (count == 2)
    assert all(np.isfinite(history.accuracy))


CHANGING = {
    "rates": {"milestones": (2,), "warm_up": 2, "server_momentum": 0.5, "server_lr": 0.8},
    "redrawn": {"attackers": "redrawn", "num_malicious": 2, "lr_power": 0.5},
    "gradients": {"method": "byzantine-sgd", "momentum": 0.9, "momentum_form": "sum", "server_momentum": 0.5, "lr_power": 0.5},
}


@pytest.mark.parametrize("kind", CHANGING)
@pytest.mark.parametrize("attack", [attacks.LabelFlip(), attacks.ALIE(z=1.0)])
def test_the_batched_engine_has_the_same_rounds(kind, attack):
    task = replace(SMALL, **CHANGING[kind])
    (local, _), (fast, _) = (run_it(task, rules.TrimmedMean(f=1), attack, 6) for run_it in (in_process, batched.federate))
    assert (local.attackers, local.over_f) == (fast.attackers, fast.over_f)
    assert local.accuracy == pytest.approx(fast.accuracy, abs=0.01)
    assert local.kappa_seen == pytest.approx(fast.kappa_seen, rel=1e-3, nan_ok=True)


@pytest.mark.parametrize("run_it", [in_process, batched.federate])
def test_rounds_with_too_few_valid_replies_are_skipped_and_counted_and_nobody_is_asked_instead(run_it):
    task = replace(SMALL, num_malicious=4, attackers="redrawn", clients_per_round=0.5)
    with pytest.raises(InfeasibleRound, match="none of 7 rounds was aggregated"):
        run_it(task, rules.Median(f=1), attacks.Inf(), 7)
    history, _ = run_it(replace(SMALL, num_malicious=8), rules.Median(f=1), attacks.Inf(), 20)
    assert history.attackers == [len(attackers(replace(SMALL, num_malicious=8), k)) for k in range(1, 21)]
    assert history.skipped == [float(count > 2) for count in history.attackers]
    assert 0 < history.final()["skipped"] < 1


def test_a_share_of_the_rounds_of_a_seldom_attacked_run_is_a_number():
    history, _ = federate(LocalGrid(client_app(), 12), replace(SMALL, num_malicious=1), rules.Median(f=1), attacks.SignFlip(), 6)
    assert 0 in history.attackers[-3:]
    assert 1 in history.attackers[-3:]
    assert history.final()["malicious_kept"] is not None


def test_a_resumed_run_draws_as_the_whole_one(tmp_path):
    task, start = replace(SMALL, server_momentum=0.9), ArrayRecord(model(SMALL).state_dict())
    runs = {"whole": [6], "halves": [3, 6]}
    found = {}
    for name, ends in runs.items():
        asked = []
        for end in ends:
            grid, cohort = Watched(LocalGrid(client_app(), 12)), Cohort(task, attacked=True)
            file = tmp_path / f"{name}.npz"
            strategy = Robust(rules.Median(f=1), average(task, cohort), checkpoint=file, resume=file.exists())
            there = Present(RecordingGrid(grid, cohort), cohort, client_numbers(grid, task))
            result = strategy.start(there, start, end, train_config=ConfigRecord({**config_of(task, None)}))
            asked += grid.asked
        found[name] = asked, result.arrays
    assert found["halves"] == found["whole"]
    assert len(found["whole"][0]) == 6


def test_an_attack_that_does_nothing_in_any_round_says_so():
    task = Task(num_clients=100, num_malicious=20, clients_per_round=10)
    assert list(possible(task)) == list(range(1, 10))
    assert idle(task, attacks.ALIE(), 5) == ""
    assert idle(task, attacks.ALIE(z=0.0), 5).startswith("ALIE sends the honest mean itself")
    late, unlucky = Task(num_malicious=2, attack_from=30), Task(num_clients=100, num_malicious=1, clients_per_round=2)
    assert idle(late, attacks.SignFlip(), 29) == "nobody attacks in rounds 1 to 29: attack-from = 30"
    assert idle(late, attacks.SignFlip(), 30) == ""
    assert not any(attackers(unlucky, number) for number in (1, 2))
    assert idle(unlucky, attacks.SignFlip(), 2).endswith("2: no client of the pool of attackers is sampled with this seed")


def test_f_of_a_plan_holds_over_all_rounds_and_is_the_smallest():
    given = {"strategy": ("median", {}), "num_clients": 100, "num_malicious": 10, "clients_per_round": 20, "rounds": 50, "f": "plan"}
    f = Cell.of(given).config["f"]
    assert theory.failure_probability(100, 10, 20, f, 50) <= 0.01 < theory.failure_probability(100, 10, 20, f - 1, 50)
    assert Cell.of({**given, "plan_failure": 1e-6}).config["f"] > f
    assert Cell.of({**given, "num_malicious": 9, "attackers": "redrawn"}).config["f"] == 9


def test_ways_to_say_the_same_make_one_cell():
    given = {"strategy": ("krum", {}), "num_malicious": 4, "num_clients": 40}
    cells = [{"clients_per_round": 20, "f": 4}, {"clients_per_round": 0.5, "f": 0.2}, {"clients_per_round": 0.5, "plan_failure": 0.5}]
    assert len({Cell.of({**given, **more}).key for more in cells}) == 1
    alone = [{}, {"clients_per_round": 1.0}, {"clients_per_round": 40}, {"f": 0.1}, {"momentum_form": "sum"}, {"lr_decay": 0.5}]
    assert len({Cell.of({**given, **more}).key for more in alone}) == 1


def test_what_attackers_hold_and_send_makes_a_cell_only_where_the_attack_looks_at_it():
    given = {"strategy": ("krum", {}), "num_malicious": 4, "method": "byzantine-sgd", "momentum": 0.9}
    own = {"attackers_data": "iid", "attackers_momentum": False}

    def differs(**more):
        return Cell.of({**given, **more}).key != Cell.of({**given, **more, **own}).key

    assert all(differs(attack=(name, {})) for name in ("sign-flip", "label-flip", "none"))
    assert not any(differs(attack=(name, {})) for name in ("alie", "mimic", "fang-krum"))
    assert not differs(num_malicious=0)
    plain = Cell.of({**given, **own, "attack": ("sign-flip", {}), "momentum": 0.0}).config
    assert (plain["attackers_data"], plain["attackers_momentum"]) == ("iid", True)


@pytest.mark.parametrize("attack", [attacks.ALIE(z=1.5), attacks.Mimic(), attacks.FangKrum()])
@pytest.mark.parametrize("engine", ["local", "batched"])
def test_what_attackers_hold_and_send_changes_nothing_where_the_attack_does_not_look_at_it(engine, attack):
    task = Task(num_clients=8, num_malicious=2, method="byzantine-sgd", momentum=0.9, shares="honest", local_epochs=1)
    tasks = task, replace(task, attackers_data="iid", attackers_momentum=False)
    (curve, other) = (federate_on(engine, each, rules.Krum(f=2), attack, 2, processes=1)[0].accuracy for each in tasks)
    assert curve == other


@pytest.mark.slow
def test_flowers_engine_asks_the_clients_that_the_local_one_asks(tmp_path):
    text = (
        TINY.replace('"fedavg", "krum", "nnm+trimmed-mean"', '"median"')
        .replace('"none", "sign-flip", ', "")
        .replace("rounds = 2", "rounds = 6")
    )
    more = "clients-per-round = [3]\nf = [0.34]\nengine = ['local', 'ray']\n"
    assert run(read(write(tmp_path, text + more)), tmp_path / "r.jsonl").failed == []
    local, ray = (found.history for found in Store(tmp_path / "r.jsonl").read().values())
    assert local["attackers"] == ray["attackers"]
    assert set(local["attackers"]) == {0, 1}
    assert local["accuracy"] == pytest.approx(ray["accuracy"], abs=0.02)
    assert local["kappa_seen"] == pytest.approx(ray["kappa_seen"], rel=0.05)
