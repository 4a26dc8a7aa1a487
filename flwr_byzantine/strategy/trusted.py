"""What the server brings of its own: an update for rules that trust one (FLTrust), loss and predictions for detectors; for both APIs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flwr_byzantine.arrays.forms import rounded
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.detecting.zeno import Zeno
from flwr_byzantine.rules.server import Layout, Server
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.template import Template

ServerUpdate = Callable[[int, Any], Any]
OfModel = Callable[[int, dict[str, Any]], Any]
NO_SERVER_UPDATE = (
    "strategy: {rule} trusts an update of the server's own: pass server_update=, a function of the round's number and the "
    "broadcast model that returns the model as trained on the server's clean data"
)


def brought(policy: Policy, rule: Rule, server_round: int, broadcast: Any, template: Template) -> Server:
    """What the server has of its own in a round: its update, its loss and predictions, and the layout of the judged arrays.

    Args:
        policy: `server_update`, `server_loss` and `server_predict` are read.
        rule: of the round.
        server_round: its number.
        broadcast: the broadcast model as the API at hand shows it.
        template: the same as arrays.

    Raises:
        InvalidParameter: the rule trusts an update of the server's own, and there is none; or the update is unlike the model.
    """
    own = server_delta(policy.server_update, server_round, broadcast, template) if trusts(rule) else None
    if own is None and trusts(rule):
        raise InvalidParameter(NO_SERVER_UPDATE.format(rule=rule))
    loss, predict = (_of_model(train, server_round, template) for train in (policy.server_loss, policy.server_predict))
    return Server(own, loss, predict, layout(template))


def layout(template: Template) -> Layout:
    """Names and shapes of the judged arrays; flat where they are pairs of numbers."""
    if template.adapted is not None and not template.adapted.strict:
        return template.adapted.layout
    forms = template.roles.judged(zip(template.names, template.shapes, template.values, strict=True))
    return Layout({name: shape if math.prod(shape) == value.size else (value.size,) for name, shape, value in forms})


def _of_model(function: OfModel | None, server_round: int, template: Template) -> Callable[[Array], Any] | None:
    """The user's function of round and model as one of a (d,) delta; where replies are gradients, the model moves against it."""
    if function is None:
        return None
    own = template.values
    sizes, sign = np.cumsum([value.size for value in template.roles.judged(own)])[:-1], -1.0 if template.gradients else 1.0

    def of_delta(delta: Array) -> Any:
        parts = zip(template.roles.judged(own), np.split(sign * delta, sizes), strict=True)
        moved = [rounded(value + part, value) for value, part in parts]
        return function(server_round, template.unflatten(template.roles.merged(moved, template.roles.state(own))))

    return of_delta


def trusts(rule: Rule) -> bool:
    """Whether a rule or a part of a chain needs the server's own update."""
    return any("trusted" in stage.anchors for stage in rule.stages())


def asks_server(rule: Rule | None) -> bool:
    """Whether a rule needs data of the server's own: for an update, or for the loss of a model."""
    return rule is not None and (trusts(rule) or any(isinstance(stage, Zeno) for stage in rule.stages()))


def server_delta(train: ServerUpdate | None, server_round: int, model: Any, template: Template) -> Array | None:
    """(d,) float64 delta, of the judged arrays, of what `train` makes of the broadcast model, or None where there is no such function.

    Args:
        train: the user's function; it returns arrays as it got them (an ArrayRecord, or a list), or name -> array.
        server_round: the round's number.
        model: the broadcast model as the API at hand shows it.
        template: what the result must look like.

    Raises:
        InvalidParameter: the result is unlike the model, or not finite; or the function raises it.
    """
    if train is None:
        return None
    if model is None:
        raise InvalidParameter("server_update is called with the model that configure_train (configure_fit) broadcasts; call that first")
    try:
        rows = template.check(_by_name(train(server_round, model), template))
    except InvalidParameter:
        raise
    except (MalformedUpdate, ValueError, TypeError) as error:
        raise InvalidParameter(f"server_update must return the model as trained in round {server_round}: {error}") from error
    if template.adapted is not None and not template.adapted.strict:
        return template.adapted.packed(rows)
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
