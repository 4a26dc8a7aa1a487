"""Attacks over rounds: the same vectors through Grid, mod and NumPyClient, in both message formats, with what is remembered."""

import dataclasses

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

from clients import DriftClient
from flwr_byzantine import attacks, rules
from flwr_byzantine.adversary import AdversarialGrid, by_partition
from flwr_byzantine.attacks.base import Attack, AttackContext, rng_of
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.records import GRADIENT, REPLY, arrays_of
from flwr_byzantine.mods import byzantine_mod

N = 6
BAD = {0, 3}  # partitions; nodes 1 and 4
MODELS = np.random.default_rng(1).normal(size=(4, 7)).astype(np.float32)  # what is broadcast in rounds 1, 2, 3, 4


def flat(message):
    return np.concatenate([value.ravel() for value in arrays_of(message).values()])


def training(who, round):
    """(7,) what the client with data `who` adds to the model in a round."""
    return np.random.default_rng([who, round]).normal(0.5, 1.0, 7).astype(np.float32)


def split(flat_model):
    return [flat_model[:4].reshape(2, 2), flat_model[4:]]


def whose(partition, shared):
    return min(BAD) if shared and partition in BAD else partition


def modern(mods=None, shared=False):
    app = ClientApp(mods=mods)

    @app.train()
    def train(message, context):
        node, config = context.node_config["partition-id"], next(iter(message.content.config_records.values()))
        trained = split(flat(message) + training(whose(node, shared), int(config["now"])))
        arrays = ArrayRecord({name: Array(value) for name, value in zip(message.content["arrays"], trained, strict=True)})
        return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"partition-id": node})}), reply_to=message)

    return app


class Stepping(NumPyClient):
    """Trains as the modern app does."""

    def __init__(self, node, shared):
        super().__init__()
        self.node, self.shared = node, shared

    def fit(self, parameters, config):
        model = np.concatenate([value.ravel() for value in parameters])
        return split(model + training(whose(self.node, self.shared), int(config["now"]))), 1, {"partition-id": self.node}


def old(mods=None, shared=False, wrap=None):
    def client(context):
        honest = Stepping(context.node_config["partition-id"], shared)
        return (wrap(honest, context) if wrap and honest.node in BAD else honest).to_client()

    return ClientApp(client, mods=mods)


def played(make, mount=lambda grid: grid, legacy=False, config=lambda round: {"server-round": round}, rounds=(1, 2, 3)):
    """(rounds, N, 7) replies; each round's ClientApp is made anew, as each message has a process of its own in a SuperNode."""
    inner = LocalGrid(make(), N)
    grid, replies = mount(inner), []
    for round in rounds:
        inner.client_app = make()
        names = ("0", "1") if legacy else ("b", "a")
        arrays = ArrayRecord({name: Array(value) for name, value in zip(names, split(MODELS[round - 1]), strict=True)})
        keys = ("fitins.parameters", "fitins.config") if legacy else ("arrays", "config")
        content = RecordDict({keys[0]: arrays, keys[1]: ConfigRecord({"now": round, **config(round)})})
        sent = [Message(content, dst_node_id=i, message_type="train") for i in range(1, N + 1)]
        replies.append([flat(reply) for reply in grid.send_and_receive(sent)])
    return np.array(replies)


def omniscient(attack, **options):
    return lambda grid: AdversarialGrid(grid, attack, by_partition(BAD), seed=5, **options)


@pytest.mark.parametrize("attack", [attacks.Gaussian(), attacks.DisguisedFreeRider(gamma=0.0), attacks.Drift()], ids=str)
def test_what_each_attacker_sends_is_the_attack_on_its_own_update_step_and_memory(attack):
    replies = played(modern, omniscient(attack))
    for who in BAD:
        memory = {}
        for k, w in enumerate(MODELS[:3].astype(np.float64)):
            previous = None if k == 0 else w - MODELS[k - 1]
            context = AttackContext(k + 1, previous, rng_of(5, k + 1, who), memory=memory, broadcast=w)
            own = (flat_sum(MODELS[k], training(who, k + 1)) - w)[None]
            np.testing.assert_allclose(replies[k, who], w + attack.vectors(own, 1, context)[0], rtol=1e-5, atol=1e-6)
            memory = attack.next_memory(own, 1, context)


def flat_sum(model, step):
    return (model + step).astype(np.float64)


def test_without_a_round_in_the_message_rounds_are_counted():
    for name in ("server-round", "server_round"):
        told = played(modern, omniscient(attacks.Gaussian()), config=lambda round, name=name: {name: round})
        np.testing.assert_array_equal(told, played(modern, omniscient(attacks.Gaussian()), config=lambda round: {}))
    mod = [byzantine_mod(attacks.Gaussian(), nodes=BAD, seed=5)]
    np.testing.assert_array_equal(told, played(lambda: modern(mod), config=lambda round: {}))
    later = played(modern, omniscient(attacks.Gaussian()), rounds=(2, 3))
    np.testing.assert_array_equal(later, told[1:])


def test_a_client_without_context_remembers_by_itself():
    client, attack = DriftClient(Stepping(3, False), step=0.5), attacks.Drift(step=0.5)
    memory = {}
    for k in range(3):
        sent = np.concatenate([value.ravel() for value in client.fit(split(MODELS[k]), {"now": k + 1})[0]])
        own = flat_sum(MODELS[k], training(3, k + 1)) - MODELS[k]
        context = AttackContext(k + 1, memory=memory)
        np.testing.assert_allclose(sent, MODELS[k] + attack.vectors(own[None], 1, context)[0], rtol=1e-5, atol=1e-6)
        memory = attack.next_memory(own[None], 1, context)


def test_two_mods_keep_their_memories_apart():
    mods = [byzantine_mod(attacks.Drift(), nodes=BAD), byzantine_mod(attacks.DisguisedFreeRider(gamma=0.0), nodes=BAD)]
    inner = LocalGrid(modern(mods), N)
    for message_round in (1, 2):
        content = RecordDict(
            {"arrays": ArrayRecord({"w": Array(MODELS[0])}), "config": ConfigRecord({"now": 1, "server-round": message_round})}
        )
        inner.client_app = modern_flat(mods)
        inner.send_and_receive([Message(content, dst_node_id=1, message_type="train")])
    assert set(inner.contexts[1].state) == {"byzantine_mod.Drift", "byzantine_mod.DisguisedFreeRider"}
    assert set(inner.contexts[1].state["byzantine_mod.Drift"]) == {"round", "broadcast", "direction"}
    assert not inner.contexts[2].state


def modern_flat(mods):
    app = ClientApp(mods=mods)

    @app.train()
    def train(message, context):
        return Message(RecordDict({"arrays": ArrayRecord({"w": Array(flat(message) + 1)}), "m": MetricRecord({"a": 1})}), reply_to=message)

    return app


@pytest.mark.parametrize("attack", [attacks.DisguisedFreeRider(sigma=0.0), attacks.MPAF(lam=1.0)], ids=str)
def test_where_gradients_are_asked_for_they_point_the_way_a_step_back_would(attack):
    config = lambda round: {"server-round": round, REPLY: GRADIENT}  # noqa: E731
    by_grid = played(modern, omniscient(attack), config=config)
    by_mod = played(lambda: modern([byzantine_mod(attack, nodes=BAD, seed=5)]), config=config)
    np.testing.assert_array_equal(by_grid, by_mod)
    if isinstance(attack, attacks.MPAF):
        base = np.random.default_rng(0).normal(0.0, 0.1, 7)
        np.testing.assert_allclose(MODELS[1] - by_grid[1, 0], -base, atol=1e-5)  # w - g: a step of length one leads to one model
    else:
        np.testing.assert_allclose(by_grid[1, 0], MODELS[0] - MODELS[1], atol=1e-6)


@dataclasses.dataclass(frozen=True)
class Witness(Attack):
    """Keeps what it was shown."""

    shown: list = dataclasses.field(default_factory=list, hash=False)

    def craft(self, honest, f, context):
        self.shown.append(
            (
                context.round,
                context.previous,
                context.broadcast,
                context.rule,
                dict(context.memory),
                honest.copy(),
                context.rng.random(),
                context.harm,
            )
        )
        return np.zeros((f, honest.shape[1]))

    def next_memory(self, honest, f, context):
        return {"count": np.array(int(context.memory.get("count", 0)) + 1)}


def test_colluders_are_shown_the_round_the_step_the_rule_and_their_memory_with_honest_rows_by_partition():
    witness, rule = Witness(), rules.Median(f=2)
    grid = AdversarialGrid(None, witness, by_partition(BAD), rule, seed=5, harm=lambda model, aggregate: float(model @ aggregate))

    def mount(inner):
        inner.order = lambda replies: replies[::-1]
        grid.grid = inner
        return grid

    played(modern, mount)
    assert grid.attacked == [1, 4]
    for k, (round, previous, broadcast, known, memory, honest, drawn, harm) in enumerate(witness.shown):
        assert (round, known, int(memory.get("count", 0))) == (k + 1, rule, k)
        assert previous is None if k == 0 else np.allclose(previous, MODELS[k] - MODELS[k - 1])
        np.testing.assert_array_equal(broadcast, MODELS[k])
        rows = [flat_sum(MODELS[k], training(who, k + 1)) - MODELS[k] for who in range(N) if who not in BAD]
        np.testing.assert_allclose(honest, rows)
        assert drawn == rng_of(5, k + 1).random()
        assert harm(np.arange(7.0)) == pytest.approx(MODELS[k] @ np.arange(7.0))


def test_attackers_that_see_no_model_keep_none():
    kept = []
    for attack in (attacks.ALIE(z=1.5), Witness()):
        grid = AdversarialGrid(None, attack, by_partition(BAD))

        def mount(inner, grid=grid):
            grid.grid = inner
            return grid

        played(modern, mount)
        (attacker,) = grid.adversary._attackers.values()
        kept.append(attacker.broadcast)
    assert kept[0] is None
    np.testing.assert_array_equal(kept[1], MODELS[2])


def test_where_gradients_are_asked_for_harm_is_told_the_model_itself():
    witness = Witness()
    grid = AdversarialGrid(None, witness, by_partition(BAD), harm=lambda model, aggregate: float(model @ aggregate))
    played(modern, lambda inner: setattr(grid, "grid", inner) or grid, config=lambda round: {"server-round": round, REPLY: GRADIENT})
    _, _, broadcast, *_, harm = witness.shown[0]
    np.testing.assert_array_equal(broadcast, -MODELS[0])
    assert harm(np.arange(7.0)) == pytest.approx(MODELS[0] @ np.arange(7.0))


def test_evaluation_and_failed_clients_change_nothing():
    witness = Witness()
    grid = AdversarialGrid(LocalGrid(modern(), N), witness, by_partition({9}))
    assert len(played(modern, lambda inner: setattr(grid, "grid", inner) or grid)) == 3
    assert (grid.attacked, witness.shown) == ([], [])
