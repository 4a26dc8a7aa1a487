"""How sure a mean accuracy is, and which of several cannot be told from the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flwr_byzantine.experiments.datasets import held_back
from flwr_byzantine.experiments.report.scores import Score
from flwr_byzantine.experiments.results import Result

T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)  # Student's two-sided 95 % quantile for 1, 2, ... degrees of freedom


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and its standard error.

    Attributes:
        mean: -inf where it is no number.
        error: the larger of two standard errors: over seeds, where there are two at least, and of counting right answers on
            so many examples (binomial); 0 where neither is known.
        freedom: degrees of freedom of the error over seeds; infinite where the error is the binomial one.
    """

    mean: float
    error: float = 0.0
    freedom: float = math.inf

    @classmethod
    def of(cls, cells: Sequence[Result], measure: str) -> Estimate:
        """Of cells that differ in their seed only; the examples of the validation split are counted for its accuracy.

        Where a seed failed, as runs of robust rules that diverge do, there is no number: leaving it out would flatter the others.
        """
        score = Score.of(cells, measure)
        if not score.known or score.failed:
            return cls(-math.inf)
        seeds = len(score.values)
        counted = seeds * min(map(held_back, (cell.config for cell in cells))) if measure == "validation_accuracy" else 0
        over_seeds = score.std / math.sqrt(seeds) if seeds > 1 else 0.0
        of_counting = binomial_error(score.mean, counted) if counted else 0.0
        return cls(score.mean, max(over_seeds, of_counting), seeds - 1 if over_seeds > of_counting else math.inf)

    def clearly_above(self, other: Estimate) -> bool:
        """Whether the difference is more than noise: beyond its two-sided 95 % interval, the errors taken as independent.

        Example:
            >>> [Estimate(0.65, 0.04).clearly_above(Estimate(mean, 0.04)) for mean in (0.6, 0.5)]
            [False, True]
        """
        freedom = self.freedom + other.freedom
        quantile = T95[int(freedom) - 1] if freedom <= len(T95) else 1.96
        return self.mean - other.mean > quantile * math.hypot(self.error, other.error)


def binomial_error(share: float, examples: int) -> float:
    """The standard error of a share of so many examples, above 0 for a share of 0 or 1 too.

    Source: two successes and two failures are added before: Agresti, Coull, The American Statistician, 1998.

    Example:
        >>> round(binomial_error(0.5, 135), 3)
        0.042
    """
    share, examples = (share * examples + 2) / (examples + 4), examples + 4
    return math.sqrt(share * (1 - share) / examples)
