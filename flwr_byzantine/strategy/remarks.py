"""What a round's report notes of the model's arrays: what decides nothing, what decides too much, what does not move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.flower.words import printable
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.mixing import Mean
from flwr_byzantine.strategy.roles import Roles
from flwr_byzantine.strategy.sizes import Samples

SMALL, LARGE = 0.1, 0.5  # an array with less of the values that makes more of the squared distance is noted
UNMOVED = 0.5  # so is one of whose values, as clients change them, the aggregate changes less
NOTHING = 1e-3  # a value of which a client changes less than this share of what is usual, it does not change
SCALE = (
    "array {name!r} has {few:.2g} % of the judged values and makes {much:.0f} % of the typical squared {what}: it decides whom the rule "
    "keeps; if that is not meant, leave it out by judge=, or pass scale='per-array'"
)
STILL = (
    "the aggregate changes {share} of what clients changed in {arrays}: where each value is changed by few clients, medians and "
    "selections leave most of them as they are; nnm+trimmed-mean moves them"
)


def remarks(rule: Rule, roles: Roles, samples: Samples, aggregate: Sequence[Array], scaled: bool) -> dict[str, str]:
    """Key -> sentence, for a round; the key is the same in each round that has the same to say.

    Args:
        rule: as run.
        roles: of the model's arrays.
        samples: of the judged arrays of the valid replies.
        aggregate: what became of these.
        scaled: whether the rule compared each array in its own unit.
    """
    names, lengths = roles.judged(roles.sizes), samples.typical_sizes(centred=False)
    least = NOTHING * float(np.median(lengths / np.sqrt(samples.widths)))
    found = {"state": str(roles)} if roles.kinds or roles.unshared else {}
    if _compares(rule) and not scaled:
        centred = all(stage.equivariant for stage in rule.stages())
        found |= _scale(names, samples.widths, samples.typical_sizes() if centred else lengths, "distance" if centred else "norm")
    return found | _still(names, samples.moved(aggregate, rule.f, least).T.tolist())


def _compares(rule: Rule) -> bool:
    return any(stage.mixes and not isinstance(stage, Mean) for stage in rule.stages())


def _scale(names: Sequence[str], widths: Array, sizes: Array, what: str) -> dict[str, str]:
    """A small array that dominates what the rule compares."""
    first = int(np.argmax(sizes))
    if sizes[first] == 0:
        return {}
    few, much = widths[first] / widths.sum(), 1.0 / ((sizes / sizes[first]) ** 2).sum()
    if few >= SMALL or much <= LARGE:
        return {}
    return {f"scale {first}": SCALE.format(name=printable(names[first], 60), few=100 * few, much=100 * much, what=what)}


def _still(names: Sequence[str], counts: Sequence[Sequence[int]]) -> dict[str, str]:
    """Arrays that clients changed and the aggregate hardly does."""
    still = [(name, own / clients) for name, (clients, own) in zip(names, counts, strict=True) if own < UNMOVED * clients]
    if not still:
        return {}
    some = ", ".join(repr(printable(name, 60)) for name, _ in still[:3])
    arrays = f"{some} and {len(still) - 3} more" if len(still) > 3 else some
    low, high = (100 * pick(share for _, share in still) for pick in (min, max))
    share = f"{low:.0f} %" if round(low) == round(high) else f"{low:.0f} to {high:.0f} %"
    return {f"still {arrays}": STILL.format(share=share, arrays=arrays)}
