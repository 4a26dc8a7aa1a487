"""A mod that turns any ClientApp malicious."""

from __future__ import annotations

from collections.abc import Callable, Container

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import Attack, AttackContext, Attacker, OwnAttack
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower.records import (
    array_key,
    arrays_of,
    broadcast_vector,
    delta,
    is_train,
    origin_of,
    replace_model,
    round_of,
    step_between,
)

Nodes = Container[int] | Callable[[Context], bool] | None


def byzantine_mod(attack: Attack, nodes: Nodes = None, seed: int = 0) -> Mod:
    """A Flower mod that replaces the updates of `nodes` by the attack's, in both message formats.

    Args:
        attack: an attack that needs the client's own update only.
        nodes: partition ids (`context.node_config["partition-id"]`; the node id where there is none), or a function of
            the Context; None: every client that has this mod.
        seed: of the attack's randomness: `default_rng([seed, server round, partition id])`.

    What the attack keeps between rounds lies in `context.state`, in a record of its own, so that it outlives the process.
    An attack on training data (`attack.poisons`) has its other half in the data: see `flwr_byzantine.attacks.poisoning`.

    Raises:
        InvalidParameter: the attack needs the honest updates; a client does not see them.

    Example:
        >>> from flwr.clientapp import ClientApp
        >>> from flwr_byzantine import attacks
        >>> app = ClientApp(mods=[byzantine_mod(attacks.SignFlip(), nodes={0, 1})])
    """
    if not isinstance(attack, OwnAttack):
        raise InvalidParameter(f"byzantine_mod needs an attack of own knowledge, got {attack!r}; mount it by AdversarialGrid")

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if not is_train(message) or not _is_bad(context, nodes):
            return call_next(message, context)
        origin, heading, round = origin_of(message), broadcast_vector(message), round_of(message)
        reply = call_next(message, context)
        if array_key(reply) is not None:
            honest = delta(arrays_of(reply), origin)
            replace_model(reply, origin, turn(attack, honest, heading, context.state, partition_of(context), seed, round))
        return reply

    return mod


def turn(attack: OwnAttack, update: Array, broadcast: Array, state: RecordDict, who: int, seed: int, round: int | None) -> Array:
    """(d,) what one attacker sends in place of its honest `update`; what it must know next time is kept in `state`.

    Args:
        attack: what it does.
        update: (d,) honest delta to the broadcast model.
        broadcast: (d,) that model, see `records.broadcast_vector`.
        state: a client's `context.state`, or any RecordDict that lasts.
        who: partition id.
        seed: of the randomness.
        round: the server round; None counts the calls.
    """
    key = f"byzantine_mod.{type(attack).__name__}"
    past = {name: array.numpy() for name, array in state.array_records[key].items()} if key in state else {}
    now = int(past.pop("round", 0)) + 1 if round is None else round
    context = AttackContext(now, step_between(past.pop("broadcast", None), broadcast), broadcast=broadcast.astype(np.float64))
    attacker = Attacker(attack, seed, who, memory={name: value for name, value in past.items() if name != "round"})
    sent = attacker.vectors(update[None], 1, context)[0]
    kept = {**attacker.memory, "round": np.array(now), "broadcast": broadcast}
    state[key] = ArrayRecord({name: FlowerArray(np.asarray(value)) for name, value in kept.items()})
    return np.asarray(sent)


def partition_of(context: Context) -> int:
    """Who the client is: its partition id, or its node id where it has none."""
    return int(context.node_config.get("partition-id", context.node_id))


def _is_bad(context: Context, nodes: Nodes) -> bool:
    if nodes is None:
        return True
    return nodes(context) if callable(nodes) else partition_of(context) in nodes
