"""Theory as advice: what to declare and to sample in a given federation, and what that promises."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules import Krum, Rule
from flwr_byzantine.rules.parsing import parse
from flwr_byzantine.theory import SamplingPlan, krum_eta, plan_sampling
from flwr_byzantine.theory.resilience import CAVEAT


@dataclass(frozen=True)
class Advice:
    """The answer of `flwr-byzantine plan`.

    Attributes:
        rule: the rule as it should be declared.
        sampling: f, sample size and failure probability, or why it is impossible.
        silent: nodes that answer with errors or not at all and thereby stop a round; 0 where no round is possible.
        silence: the smallest sample in which f silent nodes stop no round, or None where the federation is too small for that.
        kappa: declared κ at this sample size, or None where none is known.
        noise_ratio: largest √d σ / ‖g‖ for which κ certifies resilience, or None.
        krum_noise_ratio: the same by Krum's η, for Krum only.
        batch_factor: how many times today's batch is needed at the given noise ratio, by κ, or None.
        krum_batch_factor: the same by η.
    """

    rule: str
    sampling: SamplingPlan
    silent: int
    silence: int | None
    kappa: float | None
    noise_ratio: float | None
    krum_noise_ratio: float | None
    batch_factor: int | None
    krum_batch_factor: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

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
        return found + self._certified() if plan.feasible else found

    def _silence(self) -> str:
        """What silence costs, and how many to sample for it to cost nothing."""
        stop = "so many that answer with errors or not at all stop a round, honest or not"
        if self.silent > self.sampling.f:
            return stop
        return f"{stop}; " + ("no sample bears f of them" if self.silence is None else f"a sample of {self.silence} bears f of them")

    def _certified(self) -> list[tuple[str, str, str]]:
        """What the theory certifies at this sample size, and what it takes to get there."""
        kappa = "none known" if self.kappa is None else f"{self.kappa:.3g}"
        found = [("κ", kappa, "bound on the squared error, in honest variances")]
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


def advise(
    clients: int,
    malicious: int,
    sample: int | None,
    rounds: int,
    epsilon: float,
    rule: str = "nnm+trimmed-mean",
    noise: float | None = None,
) -> Advice:
    """Advice for a federation.

    Args:
        clients: nodes in the federation.
        malicious: suspected bad ones.
        sample: nodes sampled a round; None finds the smallest that works.
        rounds: rounds of the run.
        epsilon: acceptable probability that some round has more bad nodes than f.
        rule: a rule or chain by name.
        noise: today's √d σ / ‖g‖, if it is known.

    Example:
        >>> advise(100, 10, None, 50, 0.01, "krum").sampling.feasible
        True
    """
    if noise is not None and not noise > 0:
        raise InvalidParameter(f"plan: noise must be a number > 0, got {noise!r}")
    sampling = plan_sampling(clients, malicious, sample, rounds, epsilon, parse(rule, 0))
    chosen = parse(rule, sampling.f)
    kappa = chosen.kappa(sampling.sample_size) if sampling.feasible else None
    silent = max(0, sampling.sample_size - sampling.min_n + 1)
    silence = next((size for size in range(1, clients + 1) if _bears_silence(clients, malicious, size, rounds, epsilon, chosen)), None)
    ratio = _noise_ratio(kappa, sampling)
    by_eta = _krum_ratio(chosen, sampling)
    return Advice(str(chosen), sampling, silent, silence, kappa, ratio, by_eta, _factor(noise, ratio), _factor(noise, by_eta))


def _bears_silence(clients: int, malicious: int, size: int, rounds: int, epsilon: float, rule: Rule) -> bool:
    """Whether a sample is large enough for the f that it needs though f of its nodes are silent; a sample that needs none is no answer."""
    plan = plan_sampling(clients, malicious, size, rounds, epsilon, rule)
    return size - plan.f >= plan.min_n and (plan.f >= 1 or malicious == 0)


def _factor(noise: float | None, ratio: float | None) -> int | None:
    """The least whole b with noise / √b < ratio."""
    if noise is None or ratio is None:
        return None
    return math.floor((noise / ratio) ** 2 + 1e-9) + 1 if math.isfinite(ratio) else 1


def _noise_ratio(kappa: float | None, sampling: SamplingPlan) -> float | None:
    if kappa is None:
        return None
    factor = kappa * (1 - 1 / (sampling.sample_size - sampling.f))
    return 1 / math.sqrt(factor) if factor > 0 else math.inf


def _krum_ratio(rule: Rule, sampling: SamplingPlan) -> float | None:
    return 1 / krum_eta(sampling.sample_size, sampling.f) if isinstance(rule, Krum) and sampling.feasible else None
