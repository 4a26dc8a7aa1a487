"""What a round's report notes of the model's arrays: what decides nothing, what decides too much, what does not move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.flower.words import printable
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.mixing import NNM, Mean
from flwr_byzantine.strategy.roles import Roles
from flwr_byzantine.strategy.sizes import Samples

SMALL, LARGE = 0.1, 0.5  # an array with less of the values that makes more of the squared distance is noted
UNMOVED = 0.5  # so is one of whose values, as clients change them, the aggregate changes less
NOTHING = 1e-3  # a value of which a client changes less than this share of what is usual, it does not change
SCALE = (
    "array {name!r} has {few:.2g} % of the values of arrays in which clients differ and makes {much:.0f} % of the typical squared {what}: "
    "it counts most in whom the rule keeps; scale='per-array' lets all arrays count alike, and judge= names what is trained, if this is not"
)
STILL = "the aggregate changes {share} of what clients changed in {arrays}: {why}"
FEW = "most of that is changed by fewer than half of the clients each, which medians and selections leave as it is"
MOVES = "; nnm+trimmed-mean moves it"
OTHER = "the clients that are followed leave it as it is, or the changes cancel out or are lost in rounding to the array's dtype"


def remarks(rule: Rule, roles: Roles, names: Sequence[str], samples: Samples, aggregate: Sequence[Array], scaled: bool) -> dict[str, str]:
    """Key -> sentence, for a round; the key is the same in each round that has the same to say.

    Args:
        rule: as run.
        roles: of the model's arrays.
        names: of the judged arrays that are looked at.
        samples: of these arrays of the valid replies.
        aggregate: what became of these.
        scaled: whether the rule compared each array in its own unit, or others beside these.
    """
    lengths = samples.typical_sizes(centred=False)
    least = NOTHING * float(np.median(lengths / np.sqrt(samples.widths)))
    found = {"state": str(roles)} if roles.kinds or roles.unshared else {}
    if _compares(rule) and not scaled:
        centred = all(stage.equivariant for stage in rule.stages())
        found |= _scale(names, samples.widths, samples.typical_sizes() if centred else lengths, "distance" if centred else "norm")
    return found | _still(rule, names, *samples.moved(aggregate, rule.f, least))


def _compares(rule: Rule) -> bool:
    return any(stage.mixes and not isinstance(stage, Mean) for stage in rule.stages())


def _scale(names: Sequence[str], widths: Array, sizes: Array, what: str) -> dict[str, str]:
    """A small array that dominates what the rule compares, among those in which clients differ."""
    first = int(np.argmax(sizes))
    if sizes[first] == 0:
        return {}
    few, much = widths[first] / widths[sizes > 0].sum(), 1.0 / ((sizes / sizes[first]) ** 2).sum()
    if few >= SMALL or much <= LARGE:
        return {}
    return {f"scale {first}": SCALE.format(name=printable(names[first], 60), few=100 * few, much=100 * much, what=what)}


def _still(rule: Rule, names: Sequence[str], clients: Array, still: Array, few: Array) -> dict[str, str]:
    """Arrays that clients changed and the aggregate hardly does; and why, as far as counts can say."""
    unmoved, sparse = still > (1 - UNMOVED) * clients, 2 * few > still
    mixes = any(isinstance(stage, NNM) for stage in rule.stages())
    causes = {FEW if mixes else FEW + MOVES: unmoved & sparse, OTHER: unmoved & ~sparse}
    return dict(_still_since(why, names, clients, still, np.flatnonzero(which)) for why, which in causes.items() if which.any())


def _still_since(why: str, names: Sequence[str], clients: Array, still: Array, places: Array) -> tuple[str, str]:
    some = ", ".join(repr(printable(names[k], 60)) for k in places[:3])
    arrays = f"{some} and {len(places) - 3} more" if len(places) > 3 else some
    shares = 100 * (1 - still[places] / clients[places])
    share = f"{shares.min():.0f} %" if round(shares.min()) == round(shares.max()) else f"{shares.min():.0f} to {shares.max():.0f} %"
    return f"still {arrays}", STILL.format(share=share, arrays=arrays, why=why)
