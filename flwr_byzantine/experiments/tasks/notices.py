"""What of a task does nothing in a federation of so many rounds."""

from __future__ import annotations

from collections.abc import Iterable

from flwr_byzantine.attacks import Attack
from flwr_byzantine.experiments.tasks.participation import idle
from flwr_byzantine.experiments.tasks.task import Task


def notices(task: Task, attack: Attack | None, rounds: int, of_rounds: Iterable[str] = ()) -> list[str]:
    """A sentence for each setting that no round comes to, and where the attack does nothing; `of_rounds` are those of its rounds."""
    return list(dict.fromkeys(text for text in (*unreached(task, rounds), idle(task, attack, rounds), *of_rounds) if text))


def unreached(task: Task, rounds: int) -> list[str]:
    """What the schedule of lr has after the last round.

    Example:
        >>> unreached(Task(milestones=(10, 20), warm_up=30), 20)
        ['lr does not fall at milestones = [20]: no round of 20 is after it', 'lr does not rise to its value: warm-up = 30, rounds = 20']
        >>> unreached(Task(milestones=(10,), warm_up=20), 20)
        []
    """
    late = [number for number in task.milestones if number >= rounds]
    falls = f"lr does not fall at milestones = {late}: no round of {rounds} is after {'it' if len(late) == 1 else 'them'}"
    rises = f"lr does not rise to its value: warm-up = {task.warm_up}, rounds = {rounds}"
    return [text for text, holds in ((falls, late), (rises, task.warm_up > rounds)) if holds]
