"""Who takes part in a round and who of them attacks: a function of the seed and the round alone.

So it is the same under every strategy and attack, in every process, on every engine, and after a restart.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from flwr_byzantine.attacks import Attack
from flwr_byzantine.experiments.tasks.task import Task

WHO = "partition"  # the action of the query by which a client says which one it is
SAMPLING_STREAM, ATTACKERS_STREAM = 4, 5  # tell the generators of a round's draws from others of the same seed


@lru_cache(maxsize=8)
def participants(task: Task, server_round: int) -> frozenset[int]:
    """The clients of a round, drawn without replacement.

    Example:
        >>> task = Task(clients_per_round=0.1)
        >>> [sorted(participants(task, k)) for k in (1, 2)]
        [[12, 19], [3, 11]]
    """
    return _drawn(task.num_clients, task.per_round, [task.seed, SAMPLING_STREAM, server_round])


@lru_cache(maxsize=8)
def attackers(task: Task, server_round: int) -> frozenset[int]:
    """The malicious ones among the clients of a round: those sampled of a fixed pool, or so many of the round's drawn anew.

    Source of the second: Gabrielli et al., 2023 (FLANDERS), as in its authors' code.

    Example:
        >>> fixed = Task(num_malicious=5, clients_per_round=8)
        >>> [len(attackers(fixed, k)) for k in (1, 2, 3)]
        [0, 2, 1]
        >>> redrawn = Task(num_malicious=2, attackers="redrawn", attack_from=2)
        >>> [sorted(attackers(redrawn, k)) for k in (1, 2)]
        [[], [3, 6]]
    """
    there = participants(task, server_round)
    if server_round < task.attack_from:
        return frozenset()
    if task.attackers == "fixed":
        return frozenset(range(task.num_malicious)) & there
    rows = _drawn(len(there), task.num_malicious, [task.seed, ATTACKERS_STREAM, server_round])
    return frozenset(client for row, client in enumerate(sorted(there)) if row in rows)


def _drawn(total: int, count: int, words: list[int]) -> frozenset[int]:
    if count == total:
        return frozenset(range(total))
    return frozenset(np.random.default_rng(words).choice(total, count, replace=False).tolist())


def possible(task: Task) -> range:
    """How many attackers a round may hold beside honest clients, those without any left out."""
    n, bad = task.per_round, task.num_malicious
    least = bad if task.attackers == "redrawn" else max(0, n - (task.num_clients - bad))
    return range(max(1, least), min(n - 1, bad) + 1)


def idle(task: Task, attack: Attack | None, rounds: int) -> str:
    """Why the attack does nothing in any round; empty where it does something in some, or there is none."""
    if attack is not None and task.num_malicious and not any(attackers(task, number) for number in range(1, rounds + 1)):
        why = (
            f"attack-from = {task.attack_from}"
            if task.attack_from > rounds
            else "no client of the pool of attackers is sampled with this seed"
        )
        return f"nobody attacks in rounds 1 to {rounds}: {why}"
    texts = [] if attack is None else [attack.idle(task.per_round, count, rounds) for count in possible(task)]
    return texts[len(texts) // 2] if texts and all(texts) else ""


class Cohort:
    """Who trains in the round under way, and who attacks: `client in cohort` says whether this client attacks.

    Args:
        task: says who may.
        attacked: whether there is an attack at all.

    Attributes:
        participants: of the round; everybody before the first.
        attackers: those of them who attack; nobody before the first round.

    Example:
        >>> cohort = Cohort(Task(num_clients=4, num_malicious=1), attacked=True)
        >>> cohort.begin(1)
        >>> [client in cohort for client in range(4)]
        [True, False, False, False]
    """

    def __init__(self, task: Task, attacked: bool) -> None:
        self.task, self.attacked = task, attacked
        self.participants, self.attackers = frozenset(range(task.num_clients)), frozenset[int]()

    def begin(self, server_round: int) -> None:
        """A round begins."""
        self.participants = participants(self.task, server_round)
        self.attackers = attackers(self.task, server_round) if self.attacked else frozenset()

    def __contains__(self, client: object) -> bool:
        return client in self.attackers
