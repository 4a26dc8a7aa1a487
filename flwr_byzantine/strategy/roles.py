"""Which arrays of a model clients share; which of these are judged, and which are state that decides nothing but comes along."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Integral
from typing import TypeVar

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter

Choice = str | Sequence[str] | Sequence[int] | Callable[[str, Array], bool]  # of arrays
Item = TypeVar("Item")
KINDS = {  # of arrays that are not trained -> what the frameworks call them
    "BatchNorm": r"(^|[./_])(running_(mean|var|std)|num_batches_tracked|moving_(mean|variance|var)(:0)?|batch_stats[./].+"
    r"|(mean|var)_ema[./].+|(bn|batch_?norm([123]d)?)(_?\d+)?[./](mean|var)([./]value)?)$",
    "normalisation": r"(^|[./])normalization[_0-9]*[./](mean|variance|count)(:0)?$",
    "quantisation": r"(activation_post_process|fake_quant(izer)?)[_0-9]*\."
    r"|(^|[./])(min_val|max_val|zero_point|(fake_quant|observer)_enabled)$",
    "power iteration": r"(^|\.)parametrizations\.\w+\.\d+\._[uv]$|spectral_normalization[_0-9]*[./]vector_u(:0)?$",
}
_PATTERNS = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in KINDS.items()}


@dataclass(frozen=True)
class Roles:
    """The role of each array that clients share.

    Attributes:
        sizes: name -> number of values, in the model's order.
        kinds: name -> what it is, of each array that is state; all others are judged.
        unshared: how many arrays of the model clients keep to themselves.

    Example:
        >>> roles = Roles({"w": 6, "n": 1, "b": 2}, {"n": "integer"})
        >>> roles.judged(["W", "N", "B"]), roles.state(["W", "N", "B"]), str(roles)
        (['W', 'B'], ['N'], 'judged 2 arrays, 8 values; state: 1 integer array')
    """

    sizes: Mapping[str, int]
    kinds: Mapping[str, str]
    unshared: int = 0

    def judged(self, items: Iterable[Item]) -> list[Item]:
        """Of one item for each array, those of the judged ones."""
        return [item for name, item in zip(self.sizes, items, strict=True) if name not in self.kinds]

    def state(self, items: Iterable[Item]) -> list[Item]:
        """Of one item for each array, those of the state."""
        return [item for name, item in zip(self.sizes, items, strict=True) if name in self.kinds]

    def merged(self, judged: Iterable[Item], state: Iterable[Item]) -> list[Item]:
        """One item for each array, in the model's order, of the judged ones' and the state's."""
        decide, carry = iter(judged), iter(state)
        return [next(carry if name in self.kinds else decide) for name in self.sizes]

    def __str__(self) -> str:
        sizes = self.judged(self.sizes.values())
        said = [f"judged {_count(len(sizes))}, {_short(sum(sizes))} values"]
        if kinds := Counter(self.kinds.values()):
            said.append(f"state: {', '.join(_count(number, kind) for kind, number in kinds.items())}")
        return "; ".join([*said, *([f"not shared: {_count(self.unshared)}"] if self.unshared else [])])


def decide(arrays: Mapping[str, Array], judge: Choice, infinite: Collection[str] = (), shared: Collection[str] | None = None) -> Roles:
    """The roles of a model's arrays.

    Args:
        arrays: name -> array of the broadcast model.
        judge: which arrays are judged, as `Policy.judge` says.
        infinite: names of arrays of which much was not finite in the run's first model: these are state, as are booleans and empty ones.
        shared: names of the arrays that clients share, or None for all.

    Raises:
        InvalidParameter: `judge` names what is not there, or leaves nothing to judge.

    Example:
        >>> import numpy as np
        >>> model = {"0.weight": np.ones((2, 2)), "1.running_var": np.ones(2), "1.num_batches_tracked": np.array(7)}
        >>> str(decide(model, "trained"))
        'judged 1 array, 4 values; state: 2 BatchNorm arrays'
        >>> str(decide(model, ["*.weight", "*.running_var"]))
        'judged 2 arrays, 6 values; state: 1 BatchNorm array'
    """
    sent = {name: value for name, value in arrays.items() if shared is None or name in shared}
    able = {name: value for name, value in sent.items() if value.size and value.dtype.kind != "b" and name not in infinite}
    judged = _chosen("judge", judge, able, arrays)
    if arrays and not sum(sent[name].size for name in judged):
        whose = "the model has" if shared is None else "clients share"
        raise InvalidParameter(f"strategy: judge={judge!r} leaves no array of numbers to judge; {whose} {list(sent)[:5]}")
    states = framework_states(arrays)
    kinds = {name: states[name] or _kind(value, name in infinite) for name, value in sent.items() if name not in judged}
    return Roles({name: value.size for name, value in sent.items()}, kinds, len(arrays) - len(sent))


def shared_names(arrays: Mapping[str, Array], shared: Choice | None) -> list[str] | None:
    """Names of the arrays that clients share, in the model's order; None for all, and for what may come beside them.

    Args:
        arrays: name -> array of the broadcast model.
        shared: as `Policy.shared` says.

    Raises:
        InvalidParameter: it names what is not there.

    Example:
        >>> import numpy as np
        >>> shared_names({"body.weight": np.ones(2), "head.weight": np.ones(2)}, "body.*")
        ['body.weight']
    """
    if shared is None or shared == "all":
        return None
    chosen = _chosen("shared", shared, arrays, arrays)
    return [name for name in arrays if name in chosen]


def not_finite(arrays: Mapping[str, Array]) -> dict[str, int]:
    """Name -> how many values are infinite or NaN, of the arrays that hold any: fresh observers, additive masks.

    Args:
        arrays: name -> flat array.
    """
    return {name: int(np.count_nonzero(~np.isfinite(value))) for name, value in arrays.items() if not kernels.finite(value)}


def check_choice(name: str, choice: object) -> None:
    """Refuse what cannot say which arrays are meant by `judge=` or `shared=`.

    Raises:
        InvalidParameter: one sentence says what may.
    """
    several = isinstance(choice, list | tuple | range) and bool(choice) and all(_is_item(item) for item in choice)
    if not (several or (isinstance(choice, str) and choice) or callable(choice)):
        forms = '"trained", "all", patterns of names, positions, or a function of name and array'
        raise InvalidParameter(f"strategy: {name} must be {forms}, got {choice!r}")


def _is_item(item: object) -> bool:
    return isinstance(item, str | Integral) and not isinstance(item, bool)


def _chosen(argument: str, choice: Choice, able: Mapping[str, Array], model: Mapping[str, Array]) -> set[str]:
    """Names of those that are chosen of the arrays that can be; patterns and positions are those of the whole model's names."""
    names = list(model)
    if callable(choice):
        return {name for name, value in able.items() if choice(name, value)}
    if choice == "all":
        return set(able)
    if choice == "trained":
        state = framework_states(model)
        trained = {name for name, value in able.items() if value.dtype.kind in "fc" and not state[name]}
        return trained if any(able[name].size for name in trained) else set(able)  # a model of integers is judged by these
    wanted: Sequence[str] | Sequence[int] = [choice] if isinstance(choice, str) else choice
    return set(able).intersection(*[{name for item in wanted for name in _named(argument, item, names)}])


def _named(argument: str, item: str | int, names: Sequence[str]) -> list[str]:
    """The names at a position, or that are or match a pattern."""
    if not isinstance(item, str):
        found = list(names[item : item + 1]) if item >= 0 else []
    else:
        found = [item] if item in names else [name for name in names if fnmatchcase(name, item)]
    if not found:
        what = f"names, patterns or positions of the model's {len(names)} arrays"
        raise InvalidParameter(f"strategy: {argument} must hold {what}, got {item!r}")
    return found


def framework_state(name: str, names: Collection[str] = ()) -> str:
    """Of which kind an array of this name is that PyTorch, Keras, Flax or Haiku update without training it; "" for none.

    Args:
        name: the array's.
        names: those of the whole model: beside "weight_orig", "weight_u" is a vector of spectral normalisation.

    Example:
        >>> framework_state("layer1.0.bn2.running_var"), framework_state("layer1.0.bn2.weight")
        ('BatchNorm', '')
    """
    if name.endswith(("_u", "_v")) and f"{name[:-2]}_orig" in names:
        return "power iteration"
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.search(name)), "")


def listed_statistics(arrays: Mapping[str, Array]) -> set[str]:
    """The running statistics of PyTorch's BatchNorm in a list of arrays, whose names are their places.

    Before a counter they are the last two of four vectors of one length (weight, bias, mean, variance). Layers without weight and
    bias are not found.

    Args:
        arrays: name -> array, of the whole model and in its order.

    Example:
        >>> import numpy as np
        >>> layer = [np.ones(3), np.zeros(3), np.zeros(3), np.ones(3), np.array(0)]
        >>> sorted(listed_statistics({str(place): array for place, array in enumerate(layer)}))
        ['2', '3']
    """
    found, names = set[str](), list(arrays)
    for place, name in enumerate(names):
        four = [arrays[item] for item in names[max(0, place - 4) : place]]
        if name.isdecimal() and arrays[name].dtype.kind == "i" and arrays[name].ndim == 0 and len(four) == 4:
            alike = {(item.shape, item.dtype.kind) for item in four} == {((four[3].size,), "f")}
            found.update(names[place - 2 : place] if alike and not (four[3] < 0).any() else [])
    return found


def framework_states(arrays: Mapping[str, Array]) -> dict[str, str]:
    """Name -> what `framework_state` says of each array of a model, or `listed_statistics` where it is a list."""
    return {name: framework_state(name, arrays) for name in arrays} | dict.fromkeys(listed_statistics(arrays), "BatchNorm")


def _kind(value: Array, infinite: bool) -> str:
    of_dtype = {"b": "boolean", "i": "integer", "u": "integer"}
    own = "non-finite" if infinite else "" if value.size else "empty"
    return own or of_dtype.get(value.dtype.kind, "unjudged")


def _count(number: int, kind: str = "") -> str:
    return f"{number} {kind}{' ' if kind else ''}array{'' if number == 1 else 's'}"


def _short(number: int) -> str:
    return f"{number / 1e6:.1f} M" if number >= 100_000 else f"{number:,}"
