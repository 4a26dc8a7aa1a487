"""The model that most replies look like, in a round whose own is not known: the clients may be those who make the first one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.forms import flat
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.flower.decode import decode
from flwr_byzantine.strategy.numbers import holds_none, no_numbers

EMPTY = (
    "the model has no arrays yet: it gets those that more than half of the replies agree on by name, shape and dtype, and the rule judges "
    "models as such in place of their differences to a common one"
)
NO_GRADIENTS = "strategy: ByzantineSGD needs a model at which clients take their gradients, got one without arrays; give the initial arrays"
NOTHING_TO_SHARE = (
    "strategy: shared= needs a model, of which clients keep something, got one without arrays; give the initial arrays, or let clients "
    "send what they share alone, without shared="
)


def without_model(gradients: bool, shared: object) -> str:
    """What the log says where a run begins with a model that has no arrays.

    Args:
        gradients: whether replies are gradients.
        shared: what the user says of the arrays that clients send, or None.

    Raises:
        InvalidParameter: there must be a model for these.
    """
    if gradients or shared is not None:
        raise InvalidParameter(NO_GRADIENTS if gradients else NOTHING_TO_SHARE)
    return EMPTY


def majority(replies: Sequence[Mapping[str, bytes]]) -> dict[str, Array]:
    """The arrays that more than half of the replies have, by names, shapes and dtypes, or none where there is no such majority.

    All are zeros, but where more than half of these replies are infinite or NaN: a mask, an observer that saw nothing.

    Args:
        replies: name -> npy bytes of each.

    Raises:
        InvalidParameter: they are no numbers.

    Example:
        >>> from flwr_byzantine.flower.codec import pack
        >>> sent = [{"w": pack({"w": value})["w"].data} for value in (np.ones(2), np.array([3, np.inf]), np.ones(9))]
        >>> majority(sent), majority(sent[1:])
        ({'w': array([0., 0.])}, {})
    """
    models = [_decoded(payloads) for payloads in replies]
    forms = [frozenset((name, value.shape, value.dtype) for name, value in model.items()) for model in models]
    form, count = Counter(forms).most_common(1)[0] if forms else (frozenset[object](), 0)
    alike = [model for model, own in zip(models, forms, strict=True) if own == form]
    if not form or 2 * count <= len(replies):
        return {}
    if 2 * sum(map(holds_none, alike)) > len(alike):
        raise InvalidParameter(no_numbers(alike[0]))
    order = max(Counter(map(tuple, alike)).items(), key=lambda item: (item[1], item[0]))[0]  # whoever came first
    return {name: _agreed([model[name] for model in alike]) for name in order}


def _decoded(payloads: Mapping[str, bytes]) -> dict[str, Array]:
    with suppress(MalformedUpdate):
        return {name: decode(data) for name, data in payloads.items()}
    return {}


def _agreed(arrays: Sequence[Array]) -> Array:
    """Zeros of one form, and what is infinite or NaN in more than half of the arrays."""
    rows = [flat(array) for array in arrays]
    made, odd = np.zeros_like(rows[0]), [row for row in rows if not kernels.finite(row)]
    for value in (np.inf, -np.inf, np.nan) if 2 * len(odd) > len(rows) else ():
        votes = np.sum([np.isnan(row) if np.isnan(value) else row == value for row in odd], axis=0)
        made[2 * votes > len(rows)] = value
    return made.view(arrays[0].dtype).reshape(arrays[0].shape)
