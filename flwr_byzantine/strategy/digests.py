"""SHA-256 of models, replies and aggregates: of names, types, shapes and values, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flwr_byzantine.arrays.parallel import run
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.strategy.combining import Aggregated
from flwr_byzantine.strategy.report import RoundReport
from flwr_byzantine.strategy.template import Template


def digest(arrays: Mapping[str, Array]) -> str:
    """The SHA-256 of named arrays, in hexadecimal digits.

    The bytes, for each array in its order: a line of JSON with its name, its dtype (as of little-endian machines) and its shape, then
    its values, little-endian, the last index counting fastest.

    Example:
        >>> digest({"w": np.zeros(2, np.float32)})[:16]
        '59031acc461c342e'
    """
    found = hashlib.sha256()
    for name, value in arrays.items():
        dtype = value.dtype.newbyteorder("<")
        found.update(json.dumps([name, dtype.str, list(value.shape)]).encode() + b"\n")
        found.update(np.ascontiguousarray(value, dtype).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


@dataclass(frozen=True)
class Digests:
    """Of one round.

    Attributes:
        model: of the broadcast model, whole.
        replies: node -> of the shared arrays of its reply, as they were read.
        aggregate: of the shared arrays that the rule, and what comes along, made of these; empty where there is none.
    """

    model: str
    replies: dict[int, str]
    aggregate: str

    @classmethod
    def of(cls, template: Template, rows: Mapping[int, Sequence[Array]], made: Aggregated | None) -> Digests:
        """Those of a round, on all cores."""
        merged = [] if made is None else [template.roles.merged(made.outcome.blocks, made.state)]
        models = [template.unflatten(template.values), *(shared(template, row) for row in [*rows.values(), *merged])]
        whole, *found = run(digest, models, compiled=True)
        return cls(whole, dict(zip(rows, found, strict=False)), "" if made is None else found[-1])

    def entered(self, report: RoundReport) -> RoundReport:
        """A round's report with these."""
        nodes = {node: replace(entry, reply_sha256=self.replies.get(node, "")) for node, entry in report.nodes.items()}
        return replace(report, model_sha256=self.model, aggregate_sha256=self.aggregate, nodes=nodes)


def shared(template: Template, row: Sequence[Array]) -> dict[str, Array]:
    """Name -> array of a reply's, or an aggregate's, flat shared arrays."""
    made = template.unflatten(row)
    return {name: made[name] for name in template.names}
