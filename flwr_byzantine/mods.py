"""A mod that turns any ClientApp malicious."""

from __future__ import annotations

from collections.abc import Callable, Container

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable, Mod

from flwr_byzantine.attacks.base import Attack, OwnAttack
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.records import array_key, arrays_of, delta, is_train, origin_of, replace_model

Nodes = Container[int] | Callable[[Context], bool] | None


def byzantine_mod(attack: Attack, nodes: Nodes = None, seed: int = 0) -> Mod:
    """A Flower mod that replaces the updates of `nodes` by the attack's, in both message formats.

    Args:
        attack: an attack that needs the client's own update only.
        nodes: partition ids (`context.node_config["partition-id"]`; the node id where there is none), or a function of
            the Context; None: every client that has this mod.
        seed: of the attack's randomness, together with node and message.

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
        broadcast = origin_of(message)
        reply = call_next(message, context)
        if array_key(reply) is not None:
            honest = delta(arrays_of(reply), broadcast)
            replace_model(reply, broadcast, attack.own(honest, np.random.default_rng([seed, _who(context), *_when(message)])))
        return reply

    return mod


def _who(context: Context) -> int:
    return int(context.node_config.get("partition-id", context.node_id))


def _when(message: Message) -> list[int]:
    for record in message.content.config_records.values():
        if isinstance(found := record.get("server-round"), int):
            return [found]
    return [abs(hash(message.metadata.message_id)) % 2**32] if message.metadata.message_id else []


def _is_bad(context: Context, nodes: Nodes) -> bool:
    if nodes is None:
        return True
    return nodes(context) if callable(nodes) else _who(context) in nodes
