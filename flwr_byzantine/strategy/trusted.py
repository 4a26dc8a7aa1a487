"""The server's own update, for rules that trust one (FLTrust); both Flower APIs share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.strategy.template import Template

ServerUpdate = Callable[[int, Any], Any]
NO_SERVER_UPDATE = (
    "strategy: {rule} trusts an update of the server's own: pass server_update=, a function of the round's number and the "
    "broadcast model that returns the model as trained on the server's clean data"
)


def trusts(rule: Rule) -> bool:
    """Whether a rule or a part of a chain needs the server's own update."""
    return any("trusted" in stage.anchors for stage in rule.stages())


def server_delta(train: ServerUpdate | None, server_round: int, model: Any, template: Template) -> Array | None:
    """(d,) float64 delta, of the judged arrays, of what `train` makes of the broadcast model, or None where there is no such function.

    Args:
        train: the user's function; it returns arrays as it got them (an ArrayRecord, or a list), or name -> array.
        server_round: the round's number.
        model: the broadcast model as the API at hand shows it.
        template: what the result must look like.

    Raises:
        InvalidParameter: the result is unlike the model, or not finite.
    """
    if train is None:
        return None
    if model is None:
        raise InvalidParameter("server_update is called with the model that configure_train (configure_fit) broadcasts; call that first")
    try:
        rows = template.check(_by_name(train(server_round, model), template))
    except (MalformedUpdate, ValueError, TypeError) as error:
        raise InvalidParameter(f"server_update must return the model as trained in round {server_round}: {error}") from error
    deltas = [
        row.astype(np.float64) if origin is None else np.subtract(row, origin, dtype=np.float64)
        for row, origin in zip(template.roles.judged(rows), template.roles.judged(template.origins), strict=True)
    ]
    return np.concatenate(deltas) if deltas else np.zeros(0)


def _by_name(arrays: Any, template: Template) -> dict[str, Array]:
    if isinstance(arrays, Mapping):
        return {name: value.numpy() if hasattr(value, "numpy") else np.asarray(value) for name, value in arrays.items()}
    names = template.names if len(arrays) == len(template.names) else template.model
    return {name: np.asarray(value) for name, value in zip(names, arrays, strict=True)}
