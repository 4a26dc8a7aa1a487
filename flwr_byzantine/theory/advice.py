"""Theory as advice: what to declare and to sample in a given federation, and what that promises."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules import Krum, Rule
from flwr_byzantine.rules.parsing import parse
from flwr_byzantine.theory import SamplingPlan, krum_eta, plan_sampling, smallest_f
from flwr_byzantine.theory.curve import Point, cheapest, curve, shown, smallest_kappa
from flwr_byzantine.theory.resilience import CAVEAT

NNM = "nnm+"


@dataclass(frozen=True)
class Advice:
    """The answer of `flwr-byzantine plan`.

    Attributes:
        rule: the rule as it should be declared.
        sampling: f, sample size and failure probability, or why it is impossible.
        absent: nodes of a sample that do not answer, at most, by what was said of the federation; κ is of the replies that come.
        silent: nodes that answer with errors or not at all and thereby stop a round; 0 where no round is possible.
        silence: the smallest sample in which f silent nodes stop no round, or None where the federation is too small for that.
        kappa: declared κ at this sample size, or None where none is known.
        smallest: the rule of the smallest declared κ at this n and f, and that κ; None where no sample is possible.
        without_nnm, with_nnm: κ of the rule without and with NNM before it, or None where none is known.
        points: κ against the sample size.
        noise_ratio: largest √d σ / ‖g‖ for which κ certifies resilience, or None.
        krum_noise_ratio: the same by Krum's η, for Krum only.
        batch_factor: how many times today's batch is needed at the given noise ratio, by κ, or None.
        krum_batch_factor: the same by η.
    """

    rule: str
    sampling: SamplingPlan
    absent: int
    silent: int
    silence: int | None
    kappa: float | None
    smallest: tuple[str, float] | None
    without_nnm: float | None
    with_nnm: float | None
    points: tuple[Point, ...]
    noise_ratio: float | None
    krum_noise_ratio: float | None
    batch_factor: int | None
    krum_batch_factor: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, None for what is infinite."""
        return asdict(self, dict_factory=lambda items: {name: None if value == math.inf else value for name, value in items})

    def rows(self) -> list[tuple[str, str, str]]:
        """What to do, its value, and what that means, a line each."""
        plan = self.sampling
        found = [
            ("rule", self.rule, plan.reason),
            ("declare f", str(plan.f), "the most bad replies that a round may hold"),
            ("sample size", str(plan.sample_size), f"the rule needs {plan.min_n} at least"),
            ("silent nodes", str(self.silent), self._silence()),
            ("failure", f"{plan.failure:.2g}", "probability that some round of the run has more bad replies than f"),
        ]
        return found + self._promised() + self._certified() if plan.feasible else found

    def curve_rows(self) -> list[tuple[str, ...]]:
        """κ against the sample size, a line each; the replies of the whole run are relative to the least there."""
        least = min((point.cost for point in self.points), default=math.inf)
        return [
            (str(point.sample_size), str(point.silent), str(point.f), _shown(point.kappa), f"× {point.cost / least:.1f}")
            for point in self.points
            if math.isfinite(point.cost)
        ]

    def _silence(self) -> str:
        """What silence costs, and how many to sample for it to cost nothing."""
        stop = "so many that answer with errors or not at all stop a round, honest or not"
        if self.silent > self.sampling.f:
            return stop
        return f"{stop}; " + ("no sample bears f of them" if self.silence is None else f"a sample of {self.silence} bears f of them")

    def _promised(self) -> list[tuple[str, str, str]]:
        """κ, which rule has the smallest, and what NNM costs and brings."""
        n = self.sampling.sample_size - self.absent
        found = [("κ", _shown(self.kappa), f"bound on the squared error, in honest variances, over the {n} replies that come")]
        if self.smallest is not None:
            found.append(("smallest κ", f"{self.smallest[1]:.3g}", f"of {self.smallest[0]}: no rule can have less at this n and f"))
        if self.without_nnm is not None and self.with_nnm is not None:
            meaning = "κ without and with NNM: in the worst case it costs; in experiments where clients hold different data it helps"
            found.append(("NNM", f"{_shown(self.without_nnm)} → {_shown(self.with_nnm)}", meaning))
        return found

    def _certified(self) -> list[tuple[str, str, str]]:
        """What the theory certifies at this sample size, and what it takes to get there."""
        found = []
        for ratio, source in ((self.noise_ratio, f"κ; {CAVEAT}"), (self.krum_noise_ratio, "Krum's own η, the more demanding route")):
            if ratio is not None:
                found.append(("√d σ/‖g‖ below", f"{ratio:.3g}", f"certified by {source}"))
        for route, factor in (("κ", self.batch_factor), ("η", self.krum_batch_factor)):
            if factor is not None:
                meaning = "brings today's noise below that limit, since σ falls with √b"
                found.append((f"batch size, {route} certificate", f"× {factor}", meaning))
        if self.batch_factor is None and self.noise_ratio is not None:
            found.append(("batch size", "× (today / limit)²", "pass today's √d σ/‖g‖ as --noise to have it computed"))
        return found


def _shown(kappa: float | None) -> str:
    return "none known" if kappa is None else f"{kappa:.3g}"


def advise(
    clients: int,
    malicious: int,
    sample: int | None,
    rounds: int,
    epsilon: float,
    rule: str = "nnm+trimmed-mean",
    noise: float | None = None,
    max_kappa: float | None = None,
    silent: float = 0,
) -> Advice:
    """Advice for a federation.

    Args:
        clients: nodes in the federation.
        malicious: suspected bad ones.
        sample: nodes sampled a round; None finds one: the smallest whose κ is at most `max_kappa`, or without that the one
            for which the run needs the fewest replies, see `theory.curve`.
        rounds: rounds of the run.
        epsilon: acceptable probability that some round has more bad nodes than f.
        rule: a rule or chain by name.
        noise: today's √d σ / ‖g‖, if it is known.
        max_kappa: the largest κ to accept.
        silent: honest nodes that do not answer: how many of the federation, or below 1 which share of it.

    Raises:
        InvalidParameter: a value that cannot be, or an unknown rule.

    Example:
        >>> found = advise(100, 10, None, 100, 0.01)
        >>> found.sampling.sample_size, found.sampling.f, round(found.kappa, 2)
        (60, 10, 1.0)
    """
    for name, value in (("noise", noise), ("max_kappa", max_kappa)):
        if value is not None and not value > 0:
            raise InvalidParameter(f"plan: {name} must be a number > 0, got {value!r}")
    asked = parse(rule, 0)
    sampling = plan_sampling(clients, malicious, sample, rounds, epsilon, asked)
    points = curve(clients, malicious, _silent(silent, clients), rounds, epsilon, asked, at=sample)
    best = cheapest([point for point in points if sample in (None, point.sample_size)], max_kappa)
    if best is not None:
        sampling = plan_sampling(clients, malicious, best.sample_size, rounds, epsilon, asked)
    elif sampling.feasible:
        sampling = replace(sampling, feasible=False, reason=_unreached(points, sample, max_kappa))
    chosen = parse(rule, sampling.f)
    bears = (size for size in range(1, clients + 1) if _bears_silence(clients, malicious, size, rounds, epsilon, chosen))
    return _advice(rule, sampling, best, next(bears, None), tuple(shown(points, best)), noise)


def _advice(
    rule: str, sampling: SamplingPlan, best: Point | None, silence: int | None, points: tuple[Point, ...], noise: float | None
) -> Advice:
    """The advice of a sample, or with None for `best` that there is none."""
    chosen, f, silent = parse(rule, sampling.f), sampling.f, max(0, sampling.sample_size - sampling.min_n + 1)
    if best is None:
        return Advice(str(chosen), sampling, 0, silent, silence, None, None, None, None, points, None, None, None, None)
    found, bare = smallest_kappa(best.replies, f), rule.lower().removeprefix(NNM)
    without, mixed = (parse(name, f).kappa(best.replies) for name in (bare, NNM + bare))
    ratio, by_eta = _noise_ratio(best), 1 / krum_eta(best.replies, f) if isinstance(chosen, Krum) else None
    return Advice(
        str(chosen),
        sampling,
        best.silent,
        silent,
        silence,
        best.kappa,
        None if found is None else (str(found[0]), found[1]),
        without,
        mixed,
        points,
        ratio,
        by_eta,
        _factor(noise, ratio),
        _factor(noise, by_eta),
    )


def _silent(silent: float, clients: int) -> int:
    """The number of silent nodes in the federation."""
    if not silent >= 0 or (silent >= 1 and silent != int(silent)):
        raise InvalidParameter(f"plan: silent must be a count, or a share below 1, got {silent!r}")
    return math.ceil(silent * clients) if silent < 1 else int(silent)


def _unreached(points: list[Point], sample: int | None, max_kappa: float | None) -> str:
    """Why no sample will do though the rule withstands the f that it needs."""
    enough = [point for point in points if sample in (None, point.sample_size)]
    known = [point for point in enough if point.kappa is not None]
    if max_kappa is None or not enough:
        return f"too few are left of {'any sample' if sample is None else f'a sample of {sample}'} when the silent nodes do not answer"
    if not known:
        return f"no κ of {max_kappa:g} or less: none is known for this rule; take another"
    best = min(known, key=lambda point: point.kappa or 0.0)
    return f"no κ of {max_kappa:g} or less: the smallest is {best.kappa:.3g}, with a sample of {best.sample_size}; take another rule"


def _bears_silence(clients: int, malicious: int, size: int, rounds: int, epsilon: float, rule: Rule) -> bool:
    """Whether a sample is large enough for the f that it needs though f of its nodes are silent; a sample that needs none is no answer."""
    f = smallest_f(clients, malicious, size, rounds, epsilon)
    return rule.takes(f, size - f) and (f >= 1 or malicious == 0)


def _factor(noise: float | None, ratio: float | None) -> int | None:
    """The least whole b with noise / √b < ratio."""
    if noise is None or ratio is None:
        return None
    return math.floor((noise / ratio) ** 2 + 1e-9) + 1 if math.isfinite(ratio) else 1


def _noise_ratio(best: Point) -> float | None:
    if best.kappa is None:
        return None
    factor = best.kappa * (1 - 1 / (best.replies - best.f))
    return 1 / math.sqrt(factor) if factor > 0 else math.inf
