"""The adapters among a model's arrays: what replies may look like, as what they are compared, and what is broadcast next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flwr_byzantine.arrays.adapters import Adapters, Layer, packed
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.factors import Factors, best, stacked, zero
from flwr_byzantine.arrays.parallel import AfterPart
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate, TooFewLeft
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.server import Layout, Server
from flwr_byzantine.strategy.lora import LoRA, Pair

if TYPE_CHECKING:
    from flwr_byzantine.strategy.template import Template

NOTHING = 1e-6  # of a length is left out by rounding
LONGEST = 1e30  # of a factor or a product: far beyond any trained one, and its squares are far from overflow
FACTORS = (
    "{rule} works coordinate by coordinate, so on LoRA's factors A and B and not on their products: all replies need the server's rank, "
    "the aggregate is no mean of products, and clients that write the same product in other factors are far apart"
)
LEFT_OUT = (
    "LoRA: the best rank {rank} of {whole} leaves out {error:.2g} of the length of layer {layer!r} (0 is nothing, 1 all), the most of any"
)
UNFIT = "strategy: lora= needs finite float factors (r, ...) and (p, r) that are both judged and shared, got others for layer {layer!r}"


def by_products(rule: Rule) -> bool:
    """Whether a rule only weighs updates or leaves some out, so that it can work on products; else it works on factors."""
    return all(stage.mixes or stage.detects for stage in rule.stages())


def refuse_rule(rule: Rule) -> None:
    """Refuse a rule that weighs updates and yet asks for single coordinates, by a try on a tiny round.

    Raises:
        InvalidParameter: it does.
    """
    tried = rule.with_f(min(rule.f, 1))  # what it asks for is the same at any f; the round is tiny
    rows = [Factors(np.array([[1.0], [k % 3]]), np.ones((1, 2))) for k in range(max(tried.min_n(), 3))]
    try:
        if by_products(tried):
            run(tried, Adapters([Layer(rows, zero(2, 2), zero(2, 2))]), None, Server(np.zeros(4)))
    except TooFewLeft:
        return
    except Exception as error:  # whatever a rule does with coordinates that are none
        raise InvalidParameter(f"strategy: {rule} cannot be run on the products of LoRA's factors: {error}") from error


@dataclass(frozen=True)
class Adapted:
    """The pairs of factors in a round's model.

    Attributes:
        lora: the strategy's argument.
        pairs: of the judged arrays.
        template: the broadcast model.
        strict: replies need the server's ranks, since the rule works on factors.
    """

    lora: LoRA
    pairs: Sequence[Pair]
    template: Template
    strict: bool

    @classmethod
    def of(cls, lora: LoRA, template: Template, rule: Rule) -> Adapted:
        """The adapters of a broadcast model.

        Raises:
            InvalidParameter: there are none, or none that can be used.
        """
        if not template.known:
            raise InvalidParameter("strategy: lora= needs the model that is broadcast; give the run initial arrays")
        judged, arrays = set(template.roles.judged(template.names)), template.unflatten(template.values)
        pairs = [pair for pair in lora.pairs(template.names) if {pair.a, pair.b} & judged]
        for pair in pairs:
            able = {pair.a, pair.b} <= judged - set(template.fixed) and _go_together(arrays[pair.a], arrays[pair.b])
            if not able:
                raise InvalidParameter(UNFIT.format(layer=pair.layer))
        return cls(lora, pairs, template, strict=not by_products(rule))

    def form(self, name: str) -> tuple[int, tuple[int, ...]] | None:
        """Of a factor: which axis is the rank, and the shape; None of other arrays."""
        side = next((axis for pair in self.pairs for axis, own in enumerate((pair.a, pair.b)) if own == name), None)
        return None if side is None else (side, self.template.shapes[self.template.names.index(name)])

    def fits(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape is a factor of a rank that is allowed."""
        form = None if self.strict else self.form(name)
        if form is None or len(shape) != len(form[1]):
            return False
        axis, own = form
        return 1 <= shape[axis] <= self.lora.max_rank and (*shape[:axis], *shape[axis + 1 :]) == (*own[:axis], *own[axis + 1 :])

    def shape(self, name: str) -> tuple[int, ...] | None:
        """That of a factor with -1 for its rank; None of other arrays."""
        form = self.form(name)
        return None if form is None else (*form[1][: form[0]], -1, *form[1][form[0] + 1 :])

    def but_rank(self, name: str) -> str:
        """What may be different in a factor's shape, for a message."""
        known = self.form(name) and not self.strict
        return f" with a rank from 1 to {self.lora.max_rank} in place {(self.form(name) or (0,))[0]}" if known else ""

    @property
    def extra(self) -> int:
        """Bytes by which a reply with the highest rank is larger than the broadcast model."""
        sizes = {name: value.nbytes for name, value in zip(self.template.names, self.template.values, strict=True)}
        ranks = {name: self.template.shapes[self.template.names.index(pair.a)][0] for pair in self.pairs for name in (pair.a, pair.b)}
        return sum(sizes[name] // rank * max(0, self.lora.max_rank - rank) for name, rank in ranks.items())

    def check(self, rows: Sequence[Array]) -> None:
        """Refuse a reply whose factors do not go together.

        Args:
            rows: flat, one for each array.

        Raises:
            MalformedUpdate: ranks of A and B that differ, or a product that is longer than any trained one.
        """
        arrays = self._shaped(rows)
        for pair in self.pairs:
            a, b = (value.reshape(len(value), -1) for value in (arrays[pair.a], arrays[pair.b]))
            if b.shape[1] != len(a):
                raise MalformedUpdate(f"layer {pair.layer!r}: expected A and B of one rank, got {len(a)} and {b.shape[1]}")
            one, other = _length(a), _length(b)
            if max(one, other, one * other * self.lora.scale(pair.layer, len(a))) > LONGEST:
                raise MalformedUpdate(f"layer {pair.layer!r}: expected A, B and their product shorter than {LONGEST:g}, got longer ones")

    def _shaped(self, rows: Sequence[Array]) -> dict[str, Array]:
        named = dict(zip(self.template.names, rows, strict=True))
        forms = dict(zip(self.template.names, self.template.shapes, strict=True))
        return {
            name: row.reshape(self.shape(name) or (forms[name] if row.size == math.prod(forms[name]) else -1))
            for name, row in named.items()
        }

    def _matrices(self, rows: Sequence[Array]) -> list[Factors]:
        arrays = self._shaped(rows)
        return [pair.factors(arrays, self.lora.scale(pair.layer, len(arrays[pair.a]))) for pair in self.pairs]

    @property
    def ordinary(self) -> list[str]:
        """Names of the judged arrays that are no factors."""
        factors = {name for pair in self.pairs for name in (pair.a, pair.b)}
        return [name for name in self.template.roles.judged(self.template.names) if name not in factors]

    @property
    def layout(self) -> Layout:
        """The coordinates that rules see: those of the ordinary arrays, then the entries of each layer's product."""
        arrays = self._shaped(self.template.values)
        shapes = {name: arrays[name].shape for name in self.ordinary}
        products = {pair.layer: pair.factors(arrays) for pair in self.pairs}
        return Layout(shapes | {name: (len(value.b), value.a.shape[1]) for name, value in products.items()})

    def blocks(self, rows: Sequence[Sequence[Array]]) -> list[Block]:
        """The judged arrays that are no factors, of all replies."""
        places = [self.template.names.index(name) for name in self.ordinary]
        return [Block([row[place] for row in rows], self.template.origins[place]) for place in places]

    def updates(self, rows: Sequence[Sequence[Array]], nodes: Sequence[int], after_part: AfterPart | None) -> Adapters:
        """The replies as rules see them.

        Args:
            rows: of each reply, one flat array for each of the model's.
            nodes: their ids.
            after_part: as for `Updates`.
        """
        layers = zip(self._matrices(self.template.values), zip(*map(self._matrices, rows), strict=True), strict=True)
        made = [Layer(own, base, None if self.lora.fresh else base) for base, own in layers]
        return Adapters(made, self.blocks(rows), nodes, after_part)

    def packed(self, rows: Sequence[Array]) -> Array:
        """One update, the server's own, as a vector that `Adapters` takes."""
        deltas = [block.rows[0].astype(np.float64) - (0 if block.origin is None else block.origin) for block in self.blocks([rows])]
        bases = [[] if self.lora.fresh else [base.times(-1.0)] for base in self._matrices(self.template.values)]
        matrices = [stacked([matrix, *base]) for matrix, base in zip(self._matrices(rows), bases, strict=True)]
        return packed(np.concatenate([np.zeros(0), *deltas]), matrices)

    def settled(self, updates: Adapters, values: Sequence[Array]) -> tuple[list[Array], float, str]:
        """The judged arrays of the next model, flat; how much is left out of a layer at most, and a sentence that says so.

        Args:
            updates: those that were aggregated.
            values: their combination.
        """
        made = dict(zip(self.ordinary, values, strict=False))
        like, worst, said = self.template.unflatten(self.template.values), 0.0, ""
        for pair, layer, matrix in zip(self.pairs, updates.layers, updates.matrices(values), strict=True):
            found, error = self._reduced(matrix, layer)
            made |= {name: value.reshape(-1) for name, value in self.lora.arrays(pair, found, layer.base, like).items()}
            if error > max(worst, NOTHING):
                worst, said = error, LEFT_OUT.format(rank=found.rank, whole=matrix.rank, error=error, layer=pair.layer)
        return [made[name] for name in self.template.roles.judged(self.template.names)], worst, said

    def _reduced(self, matrix: Factors, layer: Layer) -> tuple[Factors, float]:
        if self.lora.aggregate == "svd":
            return best(matrix, self.lora.rank or layer.base.rank, layer.base.a.astype(np.float64))
        return (matrix, 0.0) if matrix.rank <= min(layer.shape) else best(matrix, min(layer.shape))


def _go_together(a: Array, b: Array) -> bool:
    """Whether these are the factors of one matrix; a convolution's B has trailing ones."""
    shaped = min(a.ndim, b.ndim) >= 2 and len(a) == b.shape[1] > 0 and set(b.shape[2:]) <= {1}
    return shaped and a.dtype.kind == b.dtype.kind == "f"


def _length(side: Array) -> float:
    """The norm of a factor, however large its values."""
    peak = float(np.abs(side).max(initial=0.0))
    return peak * float(np.linalg.norm(side.astype(np.float64) / peak)) if peak else 0.0
