"""The two families of rules.

A *mixing* rule sees n rows only through their Gram matrix and answers with an (m, n) matrix of weights: m = 1 aggregates,
m > 1 pre-aggregates. A *coordinate-wise* rule averages a window of each sorted column. `pipeline` runs them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.window import Window
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules import influence
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.pipeline import combine, view_of
from flwr_byzantine.rules.results import Combination, Reduced
from flwr_byzantine.rules.view import View, server_of


class Mixing(Rule):
    """A rule whose result is a linear combination of the rows with weights found from their Gram matrix.

    `equivariant`: the weights depend on differences between rows only and sum to 1, so that the place of
    the origin does not matter. `anchors`: names of extra rows, found below the n rows in the Gram matrix:
    "previous" is the last round's aggregate (as a delta; zero at first), "trusted" the server's own update.
    """

    mixes: ClassVar[bool] = True
    ties_by_position: ClassVar[bool] = False  # ties go to the row given first; else to the lexicographically first

    def mix(self, view: View) -> Combination:
        """(m, n) weights of the rows in `view` in each of m combinations; (m, n + anchors) for rules with anchors."""
        raise NotImplementedError  # every final rule defines it

    def postprocess(self, blocks: list[Array], view: View) -> list[Array]:
        """What the rule does to the combined rows, one array for each block: nothing, unless it adds noise."""
        return blocks

    def combined(self, view: View) -> Combination:
        """What `mix` gives; of rows in the caller's order where that decides ties."""
        return view.mix_as_given(self.mix) if self.ties_by_position else self.mix(view)

    def reduced(self, view: View, n: int) -> Reduced:
        """The one combination that is left, of the updates themselves."""
        assert view.rows is not None
        if len(view.rows) != 1:
            raise InvalidParameter(f"{self} only pre-aggregates; chain it with an aggregation rule, e.g. chain({self}, TrimmedMean(f=1))")
        weights: Array = view.rows[0]
        blocks = self.postprocess(view.updates.combine(weights), view)
        return Reduced(blocks, weights[:n], influence.shares(np.abs(weights[:n])))


class Coordinatewise(Rule):
    """A rule that averages, in each coordinate, a window of the values in ascending order."""

    cost: ClassVar[str] = "n log(n) d"
    uses_gram: ClassVar[bool] = False
    sees_all: ClassVar[bool] = True

    def window(self, n: int) -> Window:
        """The window for n rows."""
        raise NotImplementedError  # every final rule defines it

    def reduced(self, view: View, n: int) -> Reduced:
        """The window means of all coordinates."""
        window = self.window(view.n)
        return Reduced(view.updates.windows(window, view.rows), None, influence.of_windows(window, view, n))


class PreAggregation(Mixing):
    """A mixing rule that returns many rows, for an aggregation rule to follow: see `chain`."""

    def rows(self, n: int) -> int:
        """As many rows out as in, unless the rule says otherwise."""
        return n

    def compose_kappa(self, n: int, kappa: float) -> float | None:
        """κ of `chain(self, F)` at n rows where F has `kappa` and the same f, or None where no bound is known."""
        return None

    def transform(self, X: Any, *, trusted: Any = None) -> Any:
        """(m, d) the mixed rows, of X's kind, dtype and device; X is unchanged.

        Args:
            X: (n, d) array or tensor, or a list of n vectors; up to f rows that are not finite are left out.
            trusted: (d,) the server's own update, for rules that trust one.

        Raises:
            TooFewUpdates: n is below `min_n`.
            MalformedUpdate: X is not n vectors of one length, or more than f rows are not finite.

        Example:
            >>> from flwr_byzantine import rules
            >>> rules.NNM(f=1).transform(np.array([[1.0], [3.0], [90.0]])).tolist()
            [[2.0], [2.0], [46.5]]
        """
        updates, kind = wrap(X)
        rule, _, rest = self._for_finite(updates)
        rule.check(rest.n)
        view = view_of([rule], rest, rule.init(rest.d), server_of(rest.d, trusted))
        combine([rule], view)
        assert view.rows is not None
        rows = view.rows if len(view.rows) != rest.n else view.rows[np.argsort(view.order)]
        return kind.stack([view.updates.combine(weights)[0] for weights in rows])
