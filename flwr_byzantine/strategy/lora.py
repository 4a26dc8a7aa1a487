"""`LoRA`: what server and clients agree on of the adapters that they exchange; what clients of other ranks begin with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flwr_byzantine.arrays.conversion import ArrayKind, as_numpy, is_tensor
from flwr_byzantine.arrays.factors import Factors, best
from flwr_byzantine.arrays.forms import rounded
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import Constraint, Declared, check, param
from flwr_byzantine.errors import InvalidParameter

FACTOR = re.compile(r"(?P<layer>.+)\.lora_(?P<kind>embedding_)?(?P<side>[AB])(?P<adapter>\.[^.]+?)??(?P<weight>\.weight)?$")
OTHER = re.compile(r"(^|\.)lora_[^.]+")  # of a method that is LoRA and something more
NOT_ALONE = (
    "strategy: lora= takes arrays lora_A and lora_B (or lora_embedding_A and _B) in pairs, got {name!r}, of a method whose update is more "
    "than the product BA (DoRA's magnitudes, lora_bias=True, AdaLoRA); train without it, or leave out lora="
)


@dataclass(frozen=True)
class Pair:
    """The two factors of one adapted layer, by their names among the model's arrays.

    Attributes:
        layer: the layer's name.
        a, b: names of A, which is (r, ...), and B, which is (p, r), or (p, r, 1, ...) of a convolution.
    """

    layer: str
    a: str
    b: str

    def factors(self, arrays: Mapping[str, Array], scale: float = 1.0) -> Factors:
        """The matrix that arrays of the factors' own shapes stand for."""
        a, b = arrays[self.a], arrays[self.b]
        return Factors(b.reshape(len(b), -1), a.reshape(len(a), -1), scale)


@dataclass(frozen=True)
class LoRA(Declared):
    """Adapters compared and aggregated as what they are, products s BA: `Robust(rule, lora=LoRA(alpha=16))`, and any other strategy.

    Rules see inner products of products, which are the same in whatever basis a client writes its factors, and for whatever rank. The
    scale s is never a client's word: it follows from the layer's name and the rank of the factors that came, by what stands here. A
    client that trains with another only sends another product.

    Args:
        alpha: PEFT's `lora_alpha`, the same for all clients whatever their rank: s = α/r.
        scaling: s itself, in place of alpha: for clients whose α grows with their rank.
        rslora: s = α/√r, as PEFT's `use_rslora`.
        alpha_pattern: as PEFT's: expressions for layers' names -> their own α.
        aggregate: "svd": the server's adapter is the best one of its rank, and reports say what that leaves out; "stack": all factors
            side by side, exact, so that the rank of the server's adapter is the sum of those that are part of it, min(p, q) at most.
        fresh: clients merge the broadcast adapter into their frozen weights, and send a new one, to be added to it (FLoRA); else they
            go on from the broadcast adapter, cut down to their rank, and send what becomes of it.
        rank: with "svd", of the server's adapter; that of the broadcast one by default.
        max_rank: replies of higher rank are invalid.
        max_error: with "svd", what may be left out of a layer at most, as a share of its length (Frobenius norm), 0 to 1: beyond
            that the round is skipped. None for no limit.
        names: of the arrays, where the model is a list: `list(get_peft_model_state_dict(model))` (legacy API).

    Source: Hu et al., ICLR 2022 (LoRA); Wang et al., NeurIPS 2024 (FLoRA, stacking); Bai et al., NeurIPS 2024 (FlexLoRA, SVD);
    Kalajdzievski 2023 (rsLoRA).

    Example:
        >>> lora = LoRA(alpha=16)
        >>> lora.scale("layer", rank=4), lora.scale("layer", rank=16)
        (4.0, 1.0)
        >>> server = {"x.lora_A.weight": np.eye(4), "x.lora_B.weight": np.diag([5.0, 3.0, 0.0, 0.0])}
        >>> own = {"x.lora_A.weight": np.ones((1, 4)), "x.lora_B.weight": np.zeros((4, 1))}
        >>> lora.products(lora.fitted(server, own))["x"].round(3).tolist()[0], lora.products(server)["x"].tolist()[0]
        ([20.0, 0.0, 0.0, 0.0], [20.0, 0.0, 0.0, 0.0])
    """

    alpha: float | None = param(None, kind=float, gt=0, optional=True)
    scaling: float | None = param(None, kind=float, gt=0, optional=True)
    rslora: bool = param(False, kind=bool)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    aggregate: str = param("svd", kind=str, choices=("svd", "stack"))
    fresh: bool = param(False, kind=bool)
    rank: int | None = param(None, ge=1, optional=True)
    max_rank: int = param(64, ge=1)
    max_error: float | None = param(None, kind=float, ge=0, le=1, optional=True)
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """One scale, and nothing that has no effect."""
        super().__post_init__()
        if (self.alpha is None) == (self.scaling is None):
            raise InvalidParameter(f"LoRA: give alpha=, or scaling= in its place, got alpha={self.alpha!r} and scaling={self.scaling!r}")
        if self.scaling is not None and (self.rslora or self.alpha_pattern):
            raise InvalidParameter("LoRA: rslora= and alpha_pattern= go with alpha=, not with scaling=")
        if self.aggregate == "stack" and (self.rank or self.max_error is not None):
            raise InvalidParameter('LoRA: rank= and max_error= are of aggregate="svd"; "stack" is exact, and its rank grows')
        for pattern, alpha in self.alpha_pattern.items():
            check("LoRA", f"alpha_pattern[{pattern!r}]", alpha, Constraint(float, gt=0))

    @property
    def scales(self) -> str:
        """What decides s, as text: where that is the same, equal factors are equal products."""
        if self.scaling is not None:
            return f"scaling={self.scaling:g}"
        return f"alpha={self.alpha:g}, rslora={self.rslora}, alpha_pattern={dict(self.alpha_pattern)}"

    def scale(self, layer: str, rank: int) -> float:
        """What a layer's product is multiplied by where its factors have this rank."""
        if self.scaling is not None:
            return self.scaling
        own = (alpha for pattern, alpha in self.alpha_pattern.items() if re.match(rf"(.*\.)?({pattern})$", layer))
        return next(own, self.alpha or 0.0) / (rank**0.5 if self.rslora else rank)

    def pairs(self, names: Sequence[str]) -> list[Pair]:
        """The pairs of factors among arrays of these names, or of `names` where these are places in a list.

        Raises:
            InvalidParameter: there are none, one stands alone, or there is more than products.
        """
        listed = self.names is not None and list(self.names) != list(names)
        known = dict(zip(map(str, range(len(self.names or ()))), self.names or (), strict=True)) if listed else {}
        if known and list(known) != list(names):
            raise InvalidParameter(
                f"LoRA: names= must be the {len(names)} names of the arrays of a model that is a list, got {len(known)} names"
            )
        found: dict[tuple[str, ...], dict[str, str]] = {}
        for name in names:
            called = known.get(name, name)
            if match := _factor(called):
                found.setdefault(match.group("layer", "kind", "adapter", "weight"), {})[match["side"]] = name
        return [_pair(key[0], sides, known) for key, sides in found.items()] or _none(names)

    def fitted(self, broadcast: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
        """What a client begins a round with: the broadcast arrays, with the best adapter of its own rank in place of the server's.

        Directions that the broadcast adapter does not use are filled from the client's own A, with zeros in B. With `fresh`, own factors
        stay, and the broadcast ones are to be merged (`products`).

        Args:
            broadcast: name -> array or tensor, as the server sent it.
            own: the same names, of the client's freshly made model; its shapes, kinds and dtypes are those of the result.
        """
        there, mine = ({name: as_numpy(value) for name, value in arrays.items()} for arrays in (broadcast, own))
        for pair in self.pairs(list(there)):
            if self.fresh:
                there |= {pair.a: mine[pair.a], pair.b: mine[pair.b]}
            elif len(there[pair.a]) != (rank := len(mine[pair.a])):
                server = pair.factors(there, self.scale(pair.layer, len(there[pair.a])))
                found, _ = best(server, rank, pair.factors(mine).a)
                there |= self.arrays(pair, found, server, mine)
        return {name: ArrayKind(own[name] if is_tensor(own[name]) else None).restore(np.array(there[name])) for name in own}

    def products(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        """Layer -> its (p, q) product with the scale: what an adapter adds to the layer's weight (an embedding's transposed)."""
        numbers = {name: as_numpy(value) for name, value in arrays.items()}
        scales = {pair: self.scale(pair.layer, len(numbers[pair.a])) for pair in self.pairs(list(numbers))}
        return {pair.layer: pair.factors(numbers, scale).product() for pair, scale in scales.items()}

    def of_ranks(self, model: Mapping[str, Any], saved: Mapping[str, Array]) -> dict[str, Any]:
        """A model with the factors that were saved of it where these differ in their rank alone."""
        factors = {name: axis for pair in self.pairs(list(model)) for axis, name in enumerate((pair.a, pair.b))}
        alike = {name for name, axis in factors.items() if name in saved and _but(axis, saved[name]) == _but(axis, model[name])}
        return {name: saved[name] if name in alike else value for name, value in model.items()}

    def arrays(self, pair: Pair, matrix: Factors, server: Factors, like: Mapping[str, Array]) -> dict[str, Array]:
        """The two arrays of a matrix whose a has orthonormal rows: a gets the server's length, and b what makes the product right.

        Args:
            pair: of which layer.
            matrix: b and a.
            server: the server's own adapter.
            like: arrays with the dtypes, and all but the rank of the shapes.
        """
        length = float(np.linalg.norm(server.a.astype(np.float64))) / server.rank**0.5 or 1.0
        a, b = like[pair.a], like[pair.b]
        made = {pair.a: (length * matrix.a).reshape(-1, *a.shape[1:])}
        made[pair.b] = (matrix.scale / (length * self.scale(pair.layer, matrix.rank)) * matrix.b).reshape(len(b), -1, *b.shape[2:])
        return {name: rounded(value, like[name]) for name, value in made.items()}


def _but(axis: int, value: Any) -> tuple[Any, ...]:
    """The dtype and shape of an array without one axis."""
    shape = tuple(value.shape)
    return str(value.dtype), len(shape), *shape[:axis], *shape[axis + 1 :]


def _pair(layer: str, sides: Mapping[str, str], known: Mapping[str, str]) -> Pair:
    if len(sides) < 2:
        raise InvalidParameter(NOT_ALONE.format(name=next(known.get(name, name) for name in sides.values())))
    return Pair(layer.removeprefix("base_model.model."), sides["A"], sides["B"])


def _none(names: Sequence[str]) -> list[Pair]:
    advice = "names as PEFT gives them; where the model is a list, LoRA(names=list(get_peft_model_state_dict(model)))"
    raise InvalidParameter(f"strategy: lora= needs arrays called ....lora_A.weight and ....lora_B.weight, got {list(names)[:3]}; {advice}")


def _factor(name: str) -> re.Match[str] | None:
    """Whether an array of this name is a factor; what else belongs to an adapter is refused."""
    match = None if name.endswith(".bias") else FACTOR.match(name)
    if match is None and OTHER.search(name):
        raise InvalidParameter(NOT_ALONE.format(name=name))
    return match
