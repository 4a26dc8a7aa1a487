"""The attackers of a federation, on arrays, whoever brings them: what they send, knowing all honest replies of a round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from logging import WARNING
from typing import TypeVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.attackers import Attacker
from flwr_byzantine.attacks.base import Attack, AttackContext, OwnAttack
from flwr_byzantine.flower.compat import log
from flwr_byzantine.flower.mount import Broadcast
from flwr_byzantine.rules.base import Rule

Harm = Callable[[Array, Array], float]
Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class Trained:
    """What one client answered in a training round.

    Attributes:
        partition: its partition id.
        broadcast: what it was sent.
        arrays: name -> array of its reply.
    """

    partition: int
    broadcast: Broadcast
    arrays: Mapping[str, Array]


def readable(arrays: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
    """What a reply holds; nothing where reading it raises, which fits no broadcast.

    Example:
        >>> readable(lambda: {"w": 1 / 0})
        {}
    """
    try:
        return arrays()
    except Exception:  # whatever a client may have sent
        return {}


class Adversary:
    """The attackers of a federation, on arrays: what they send in place of honest replies, round after round.

    Args:
        attack, rule, seed, harm: as for `AdversarialGrid`.

    Attributes:
        notices: why the attack did nothing, each once.

    Raises:
        InvalidParameter: the attack must know the rule, and none is given.

    Example:
        >>> from flwr_byzantine import attacks
        >>> old, new = Broadcast({"w": np.zeros(2)}), {"w": np.ones(2)}
        >>> honest = [Trained(k, old, new) for k in (1, 2)]
        >>> Adversary(attacks.IPM(epsilon=2.0)).replies(honest, [Trained(0, old, new)], old)
        [{'w': array([-2., -2.])}]
    """

    def __init__(self, attack: Attack, rule: Rule | None = None, seed: int = 0, harm: Harm | None = None) -> None:
        self.attack, self.rule, self.seed, self.harm = attack, rule, seed, harm
        if attack.knowledge == "rule":
            attack.required_rule(AttackContext(rule=rule))
        self.notices: list[str] = []
        self._attackers: dict[int | None, Attacker] = {}
        self._context: AttackContext | None = None

    @property
    def own(self) -> bool:
        """Whether each attacker sees its own update alone."""
        return isinstance(self.attack, OwnAttack)

    def enter(self, broadcast: Broadcast) -> None:
        """A round begins: colluders see what is broadcast, whoever answers."""
        self._context = None if self.own else self._entered(self._attacker(None), broadcast)

    def act(
        self, answers: Sequence[tuple[Answer, Trained]], is_bad: Callable[[Answer], bool], broadcast: Broadcast
    ) -> list[tuple[Answer, dict[str, Array]]]:
        """The answers of a round that are attackers', each with what is sent in its place.

        Args:
            answers: of a mount's own kind, each with what it says. Those that do not fit what was broadcast to them stay as they are,
                and so do those that hold other arrays of the model than most.
            is_bad: whether an answer is an attacker's.
            broadcast: of the round.
        """
        fitting = _alike([one for one in answers if one[1].broadcast.fits(one[1].arrays)])
        part = fitting and len(fitting[0][1].broadcast.model) < len(broadcast.model)  # clients keep the other arrays to themselves
        self.enter(fitting[0][1].broadcast if part else broadcast)
        bad, honest = [one for one in fitting if is_bad(one[0])], [one[1] for one in fitting if not is_bad(one[0])]
        if not bad and any(is_bad(answer) for answer, _ in answers):
            self.say(f"{type(self.attack).__name__} did nothing in a round of which no attacker's reply fits the model that was broadcast")
        if not self.sees(honest, bad):
            return []
        sent = self.replies(honest, [trained for _, trained in bad], broadcast)
        return [(answer, arrays) for (answer, _), arrays in zip(bad, sent, strict=True)]

    def sees(self, honest: Sequence[object], bad: Sequence[object]) -> bool:
        """Whether there is something to do in a round of these honest clients and attackers; says where honest ones alone are missing."""
        if bad and not (honest or self.own):
            self.say(f"{type(self.attack).__name__} did nothing in a round of which it saw no honest reply")
        return bool(honest or self.own) and bool(bad or self.attack.watches)

    def replies(
        self, honest: Sequence[Trained], bad: Sequence[Trained], broadcast: Broadcast, updates: Array | None = None
    ) -> list[dict[str, Array]]:
        """What the attackers send in place of what they have trained; to be called once a round, with one at least of those it sees.

        Where the attack watches, rounds without attackers are among them.

        Args:
            honest: of the others, in the order of the partitions; not looked at by attackers of own knowledge.
            bad: of the attackers, in the order of the partitions.
            broadcast: of the round.
            updates: (h, d) what those whom the attack sees say to the server, where that is known already.
        """
        if self._context is None:
            self.enter(broadcast)
        if updates is None:
            updates = np.array([one.broadcast.update(one.arrays) for one in (bad if self.own else honest)])
        context, self._context = self._context, None
        if context is not None and len(honest) == len(updates):
            context = replace(context, nodes=tuple(one.partition for one in (*honest, *bad)))
        sent = self._each(updates, bad) if context is None else self._attacker(None).vectors(updates, len(bad), context)
        self._notice()
        return _replies(bad, sent)

    def _each(self, updates: Array, bad: Sequence[Trained]) -> list[Array]:
        """What each attacker of own knowledge makes of its own update, or of the one that they share."""
        attackers = [self._attacker(one.partition) for one in bad]
        contexts = [self._entered(attacker, one.broadcast) for attacker, one in zip(attackers, bad, strict=True)]
        shared = isinstance(self.attack, OwnAttack) and self.attack.shares_update
        seen = [updates[0] if shared else update for update in updates]
        return [who.vectors(update[None], 1, context)[0] for who, update, context in zip(attackers, seen, contexts, strict=True)]

    def _entered(self, attacker: Attacker, broadcast: Broadcast) -> AttackContext:
        harm = None
        if self.harm is not None:
            model = broadcast.vector.astype(np.float64)
            harm = partial(self.harm, -model if broadcast.gradients else model)
        seen = broadcast.vector if self.attack.sees_model else None
        return attacker.enter(seen, broadcast.round, harm, broadcast.layout)

    def _attacker(self, partition: int | None) -> Attacker:
        return self._attackers.setdefault(partition, Attacker(self.attack, self.seed, partition, self.rule))

    def _notice(self) -> None:
        """Log what the attackers say of having done nothing, each sentence once."""
        for text in sorted({attacker.notice for attacker in self._attackers.values()} - {""}):
            self.say(text)

    def say(self, text: str) -> None:
        """Log a notice, and keep it, once."""
        if text not in self.notices:
            self.notices.append(text)
            log(WARNING, text)


def _alike(answers: Sequence[tuple[Answer, Trained]]) -> list[tuple[Answer, Trained]]:
    """In the order of the partitions, those that hold the same arrays of the model as most do."""
    kinds = Counter(tuple(trained.broadcast.model) for _, trained in answers)
    found = [one for one in answers if tuple(one[1].broadcast.model) == kinds.most_common(1)[0][0]]
    return sorted(found, key=lambda one: one[1].partition)


def _replies(bad: Sequence[Trained], sent: list[Array] | Array) -> list[dict[str, Array]]:
    """The replies that say what is sent; one and the same where all say one vector of one memory in place of one reply."""
    together = isinstance(sent, np.ndarray) and sent.strides[0] == 0
    if together and len({(id(one.broadcast), id(one.arrays)) for one in bad}) == 1:
        return [bad[0].broadcast.reply(bad[0].arrays, sent[0])] * len(bad)
    return [one.broadcast.reply(one.arrays, update) for one, update in zip(bad, sent, strict=True)]
