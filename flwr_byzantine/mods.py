"""A mod that turns any ClientApp malicious."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from logging import WARNING

from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.attackers import Attacker
from flwr_byzantine.attacks.base import Attack, OwnAttack
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower.compat import log
from flwr_byzantine.flower.mount import Broadcast
from flwr_byzantine.flower.records import arrays_of, is_train, replace_arrays

Nodes = Container[int] | Callable[[Context], bool] | None


def byzantine_mod(attack: Attack, nodes: Nodes = None, seed: int = 0) -> Mod:
    """A Flower mod that replaces the updates of `nodes` by the attack's, in both message formats.

    Args:
        attack: an attack that needs the client's own update only.
        nodes: which clients are malicious: partition ids (`context.node_config["partition-id"]`; node ids where there are
            none), or a function of the Context; None makes every client malicious that has this mod.
        seed: of the attack's randomness, at least 0: `default_rng([seed, server round, partition id])`.

    An attack that does nothing, such as `Scaling(factor=1)`, is named in the log in the client's first round.

    What the attack keeps between rounds is in `context.state`, in a record of its own, so that it outlives the process. An
    attack on training data (`attack.poisons`) boosts or masks the update here; the data are poisoned by
    `flwr_byzantine.attacks.poisoning.poisoned`, or the app trains by `flwr_byzantine.attacks.training.malicious_training`.
    Replies that do not fit the broadcast model are left as they are.

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
        broadcast = Broadcast.in_message(message)
        reply = call_next(message, context)
        honest = arrays_of(reply)
        sent = malicious_reply(attack, broadcast, honest, context.state, partition_of(context), seed)
        if sent is not honest:
            replace_arrays(reply, sent)
        return reply

    return mod


def malicious_reply(
    attack: OwnAttack, broadcast: Broadcast, honest: Mapping[str, Array], state: RecordDict, partition: int, seed: int
) -> Mapping[str, Array]:
    """What a malicious client sends in place of its honest reply; for mods and NumPyClients.

    Args:
        attack: the client's attack.
        broadcast: what the server sent.
        honest: name -> array of the honest reply, which may leave arrays out; one that does not fit the model comes back as it is.
        state: `context.state` of the client, or any RecordDict that lasts: holds what the attacker keeps between rounds.
        partition: partition id of the client.
        seed: of the randomness.
    """
    broadcast = broadcast.of(honest)
    if not broadcast.fits(honest):
        return honest
    attacker, key = Attacker(attack, seed, partition), f"byzantine_mod.{type(attack).__name__}"
    known = key in state
    if known:
        attacker.resume({name: array.numpy() for name, array in state.array_records[key].items()})
    context = attacker.enter(broadcast.vector, broadcast.round, layout=broadcast.layout)
    sent = attacker.vectors(broadcast.update(honest)[None], 1, context)[0]
    if attacker.notice and not known:
        log(WARNING, attacker.notice)
    state[key] = ArrayRecord({name: FlowerArray(value) for name, value in attacker.state().items()})
    return broadcast.reply(honest, sent)


def partition_of(context: Context) -> int:
    """The client's partition id, or its node id where it has none."""
    return int(context.node_config.get("partition-id", context.node_id))


def _is_bad(context: Context, nodes: Nodes) -> bool:
    if nodes is None:
        return True
    return nodes(context) if callable(nodes) else partition_of(context) in nodes
