"""A core without Flower, replies to it, and a round of it."""

from types import SimpleNamespace

import numpy as np

from flwr_byzantine import rules
from flwr_byzantine.experiments.audit.battery import npy
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.strategy.core import Core
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.steps import Replace

MODEL = {"w": np.arange(6.0).reshape(2, 3), "b": np.ones(2, np.float32)}


def payloads(shift=0.0):
    return {name: npy(value + np.asarray(shift, value.dtype)) for name, value in MODEL.items()}


def replies(*shifts, **facts):
    return [Reply(node, payloads(shift), {}, 10, source=object(), **facts) for node, shift in enumerate(shifts, 1)]


def core(rule, step=None, asked=None, begun=True, **policy):
    """A core that has begun a round, and what it logged."""
    log = []
    rule_for = rule if callable(rule) and not isinstance(rule, rules.Rule) else lambda n: rule
    made = Core(Policy(**policy), rule_for, step or Replace(), lambda *line: log.append(line), SimpleNamespace)
    if begun:
        made.begin(payloads(), "as the user sees it")
    made.asked = asked or []
    return made, log


def ended(made, number, answers):
    """A round whose aggregate becomes the model as it is; what came of it, or None where it was skipped."""
    combined = made.round(number, answers)
    if combined is not None:
        made.finish(combined, combined.arrays)
    return combined
