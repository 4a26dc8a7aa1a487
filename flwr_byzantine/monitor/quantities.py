"""A round's report as named numbers, the same in every dashboard."""

from __future__ import annotations

from collections import Counter

from flwr_byzantine.strategy.report import RoundReport


def measures(report: RoundReport, per_node: bool = False) -> dict[str, float]:
    """Name -> number; what is not known is absent.

    Args:
        report: of a round.
        per_node: also the score, weight and seconds of each node, as "node/ID/score" and so on.

    Example:
        >>> found = measures(RoundReport(3, 5, 5, 5, 1, "Krum(f=1)", True, True))
        >>> found["f"], found["valid"], found["spare"]
        (1.0, 5.0, 5.0)
    """
    counts = Counter(entry.status for entry in report.nodes.values())
    known: dict[str, float | None] = {
        "sampled": report.n_sampled,
        "replied": report.n_replied,
        "valid": report.n_valid,
        **{status: counts[status] for status in ("kept", "rejected", "invalid", "failed", "missing")},
        "f": report.f,
        "spare": report.n_valid - report.min_n,
        "kappa": report.kappa,
        "aggregated": report.aggregated,
        "quarantined": len(report.banned),
        "seconds": report.seconds,
    }
    if report.certificate is not None:
        known |= {"holds": report.certificate.holds, "sin_alpha": report.certificate.sin_alpha, "margin": report.certificate.margin}
    if per_node:
        for node, entry in report.nodes.items():
            known |= {f"node/{node}/{name}": getattr(entry, name) for name in ("score", "weight", "seconds")}
    return {name: float(value) for name, value in known.items() if value is not None}


def evaluated(where: str, metrics: dict[str, float]) -> dict[str, float]:
    """An evaluation's metrics under names that say where it was."""
    return {f"{where}/{name}": float(value) for name, value in metrics.items()}
