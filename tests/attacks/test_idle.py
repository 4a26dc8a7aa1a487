"""Attacks that do nothing at some n, f or parameter say so, once."""

import logging

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from rich.console import Console
from scipy.stats import norm

from flwr_byzantine import LocalGrid, attacks, rules
from flwr_byzantine.adversary import AdversarialGrid
from flwr_byzantine.attacks.attackers import Attacker
from flwr_byzantine.experiments.report.study import study
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep.cell import Cell, run
from flwr_byzantine.experiments.sweep.command import command
from flwr_byzantine.mods import byzantine_mod
from tests.support.federation import N, client_app, start

NOT_IDLE = [cls() for cls in attacks.available() if cls is not attacks.ALIE]
TINY = {"num_clients": 4, "num_malicious": 1, "rounds": 2, "model": "softmax", "local_steps": 1, "partition": "gamma", "gamma": 1.0}


def test_alie_says_at_which_n_and_f_it_is_the_honest_mean():
    said = []
    for n, f in [(size, bad) for size in range(3, 61) for bad in range(1, (size + 1) // 2)]:
        X = np.random.default_rng(n).normal(size=(n - f, 3))
        text = attacks.ALIE().idle(n, f)
        assert bool(text) == np.allclose(attacks.ALIE()(X, f), X.mean(axis=0)) == (norm.ppf((n - n // 2 - 1) / (n - f)) <= 0)
        said += [text] * bool(text)
    assert len(said) == 86
    assert said[0].endswith("harms nobody: the paper's z is 0 at n = 3, f = 1; pass a strength, such as z=1.5")
    assert attacks.ALIE(z=0.0).idle(20, 8).endswith("harms nobody: z is 0; pass a strength, such as z=1.5")
    assert attacks.ALIE(z=1.5).idle(3, 1) == ""


def test_other_attacks_that_do_nothing_say_so_too():
    assert [attack.idle(11, 3, 100) for attack in NOT_IDLE] == [""] * len(NOT_IDLE)
    assert "factor is 1" in attacks.Scaling(factor=1.0).idle(11, 3)
    assert "starts in round 6, and the run has 5" in attacks.OnOff().idle(11, 3, rounds=5)
    assert attacks.OnOff(attack=attacks.Scaling(factor=1.0)).idle(11, 3) == attacks.Scaling(factor=1.0).idle(11, 3)


@pytest.mark.parametrize("attack", [attack for attack in NOT_IDLE if attack.knowledge != "own"], ids=str)
def test_what_depends_on_the_updates_is_said_in_the_round(attack):
    apart, alike = Attacker(attack, 0, rule=rules.Krum(f=2)), Attacker(attack, 0, rule=rules.Krum(f=2))
    for X, attacker in ((np.random.default_rng(0).normal(0.05, 1.0, (9, 40)), apart), (np.full((9, 40), 3.0), alike)):
        attacker.vectors(X, 2, attacker.enter(np.zeros(40)))
    assert apart.notice == ""
    assert "the honest mean itself in round 1" in alike.notice or not np.allclose(attack(np.full((9, 40), 3.0), 2, rule=rules.Krum(f=2)), 3)
    if isinstance(attack, attacks.FangKrum):  # the origin is far from all, so that Krum takes no λ
        far = Attacker(attack, 0)
        far.vectors(np.random.default_rng(0).normal(100.0, 1.0, (9, 40)), 2, far.enter(np.zeros(40)))
        assert far.notice == "FangKrum sent next to nothing in round 1, that is, the broadcast model"


def messages(server_round):
    content = RecordDict({"arrays": start(), "config": ConfigRecord({"server-round": server_round})})
    return [Message(content, dst_node_id=node, message_type="train") for node in range(1, N + 1)]


@pytest.fixture
def logged(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_mounts_log_it_once(logged):
    grid = AdversarialGrid(LocalGrid(client_app(), N), attacks.ALIE(), {1})
    for server_round in (1, 2, 3):
        grid.send_and_receive(messages(server_round))
    assert grid.notices == [attacks.ALIE().idle(N, 1)]
    assert logged() == [f"flwr-byzantine: {grid.notices[0]}"]
    mounted = LocalGrid(client_app([byzantine_mod(attacks.Scaling(factor=1.0), nodes={1})]), N)
    for server_round in (1, 2, 3):
        mounted.send_and_receive(messages(server_round))
    assert len(logged()) == 2


def test_a_sweep_keeps_it_with_the_result_and_its_preview_and_the_report_show_it(tmp_path, capsys):
    cell = Cell.of(TINY | {"strategy": ("median", {}), "attack": ("alie", {})})
    found = run(cell)
    expected = attacks.ALIE().idle(4, 1)
    assert (found.error, found.notices) == ("", [expected])
    assert Result.of(found.to_json()).notices == [expected]
    assert study([found, found]).notices == [expected]
    assert run(Cell.of(TINY | {"strategy": ("median", {}), "attack": ("on-off", {})})).notices == [attacks.OnOff().idle(4, 1, 2)]
    assert run(Cell.of(TINY | {"strategy": ("median", {}), "attack": ("alie", {"z": 1.5})})).notices == []
    file = tmp_path / "s.toml"
    task = "num-clients = 4\nnum-malicious = 1"
    file.write_text(f'[sweep]\nname = "s"\n[task]\n{task}\n[grid]\nattack = ["alie"]\nstrategy = ["median", "mda"]\n')
    command(file, tmp_path / "r.jsonl", None, False, True, Console())
    assert capsys.readouterr().err.count(expected) == 1
