"""The attack on detectors: what it learns from the global step, and what passes a chain that it runs itself."""

from dataclasses import dataclass

import numpy as np
import pytest

from flwr_byzantine import errors, rules
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.attacks import AttackContext, Undetected
from flwr_byzantine.attacks.attackers import Attacker
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.detecting.base import Detector, recalled, rows_of, senders
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.results import Verdict
from flwr_byzantine.rules.server import Layout, Server

H, F, D = 12, 3, 80


def honest(round, spread=0.5):
    clients = np.random.default_rng(9).normal(size=(H, D))
    return 1.0 + spread * (clients + np.random.default_rng(round).normal(size=(H, D))) / 2**0.5


def caught_beyond(limit):
    """A server that averages those whose distance to the honest mean is within the limit."""

    def server(X, bad):
        rows = np.concatenate([X, bad])
        far = np.linalg.norm(rows - X.mean(axis=0), axis=1)
        return rows[far <= limit].mean(axis=0), (far[H:] <= limit).all()

    return server


def play(attack, server, rounds=30, **options):
    """γ of each round, and whether all attackers were kept."""
    attacker, step, gammas, kept = Attacker(attack, 0, **options), None, [], []
    for round in range(1, rounds + 1):
        X = honest(round)
        bad = attacker.vectors(X, F, AttackContext(round, step, nodes=tuple(range(H + F)), harm=loss, layout=LAYOUT))
        gammas.append(float(attacker.memory["gamma"]))
        step, passed = server(X, bad)
        kept.append(bool(passed))
    return gammas, kept


def test_attackers_shadow_honest_clients_and_are_all_shifted_against_the_mean():
    X = honest(1)
    sent = Undetected(start=0.7)(X, F)
    spread = (((X - X.mean(0)) ** 2).sum(1).mean()) ** 0.5
    np.testing.assert_allclose(sent - X[:F], np.tile(-0.7 * spread * X.mean(0) / np.linalg.norm(X.mean(0)), (F, 1)))


@pytest.mark.parametrize("sees", ["step", "rule"])
def test_the_strength_grows_to_the_most_while_all_are_averaged(sees):
    attack = Undetected(sees=sees, most=4.0, margin=1.0)
    gammas, _ = play(attack, lambda X, bad: (np.concatenate([X, bad]).mean(axis=0), True), rounds=10, rule=rules.Mean())
    np.testing.assert_allclose(gammas, np.minimum(0.5 * 1.3 ** np.arange(10), 4.0) if sees == "step" else 4.0)


def test_the_threshold_of_a_server_that_rejects_is_learnt_from_the_global_step_alone():
    gammas, kept = play(Undetected(), caught_beyond(8.0), rounds=40)
    assert not all(kept)
    assert np.mean(kept[10:]) > 0.8
    edge = max(gamma for gamma, passed in zip(gammas, kept, strict=True) if passed)
    assert np.mean(gammas[10:]) > 0.7 * edge
    assert all(after == pytest.approx(0.5 * before) for before, after, passed in zip(gammas, gammas[1:], kept, strict=False) if not passed)


@dataclass(frozen=True)
class TooFar(Detector):
    """Leaves out who is farther from the median than `reach`, and forever whoever was so before."""

    f: int = param(0, ge=0)
    reach: float = 8.0

    def judge(self, view):
        rows, ids = rows_of(view), senders(view)
        scores = np.linalg.norm(rows - np.median(rows, axis=0), axis=1)
        out = np.union1d(recalled(self, view).get("out", ids[:0]), ids[scores > self.reach])
        return Verdict(scores, ~np.isin(ids, out), self.reach, {"out": out})


CHAINS = {
    "a detector with a memory": rules.chain(TooFar(), rules.Mean()),
    "Krum": rules.MultiKrum(f=F),
    "FLTrust": rules.FLTrust(),
    "clipped clusters": rules.ClippedClustering(),
}


LAYOUT = {"hidden": (5, 10), "out": (2, 10), "bias": (10,)}
DETECTORS = {name: rules.parse(f"{name}+mean", f=F) for name in ("fldetector", "flanders", "safeguard", "martingale-filter", "zeno")}


def loss(update):
    """The server's, as the attackers guess it: least at the honest mean."""
    return float(((update - 1.0) ** 2).sum())


def outcome(rule, rows, state, trusted):
    updates = wrap(rows)[0]
    updates.ids = list(range(len(rows)))
    return run(rule, updates, state, Server(trusted, loss, layout=Layout(LAYOUT)))


SLOW = pytest.param("flanders", marks=pytest.mark.slow)  # it fits a model in every trial


@pytest.mark.parametrize("name", [*CHAINS, *(SLOW if name == "flanders" else name for name in DETECTORS)])
def test_who_runs_the_chain_itself_is_kept_in_every_round_in_which_its_doubles_would_be(name):
    rule, states = (CHAINS | DETECTORS)[name], [None]

    def server(X, bad):
        found, doubles = (outcome(rule, np.concatenate([X, sent]), states[-1], X.mean(axis=0)) for sent in (bad, X[:F]))
        states.append(found.state)
        return found.blocks[0], ((found.influence > 0) >= (doubles.influence > 0))[H:].all()

    gammas, kept = play(Undetected(sees="rule", most=2.0), server, rounds=6, rule=rule)
    assert all(kept)
    assert max(gammas) > 0.1


def test_without_its_copy_of_the_chain_it_would_be_caught():
    """The copy's state matters: who was out once is out for good, so that a first round beyond the edge is a last one."""
    rule = CHAINS["a detector with a memory"]
    X = honest(1)
    far = outcome(rule, np.concatenate([X, Undetected(start=3.0)(X, F)]), None, X.mean(axis=0))
    assert not (far.influence > 0)[H:].any()
    again = outcome(rule, np.concatenate([X, X[:F]]), far.state, X.mean(axis=0))
    assert not (again.influence > 0)[H:].any()


def test_what_it_must_know_follows_from_what_it_sees():
    assert (Undetected().knowledge, Undetected(sees="rule").knowledge) == ("honest", "rule")
    with pytest.raises(errors.InvalidParameter, match="Undetected must know the server's rule, got None"):
        Undetected(sees="rule")(honest(1), F)


def test_in_a_round_that_is_skipped_the_copy_keeps_its_state():
    rule = rules.chain(TooFar(), rules.Krum(f=6))
    attacker = Attacker(Undetected(sees="rule"), 0, rule=rule)
    apart = 100 * honest(1)
    for round in (1, 2):
        assert np.isfinite(attacker.vectors(apart, F, AttackContext(round))).all()
    assert float(attacker.memory["gamma"]) == 0.0
