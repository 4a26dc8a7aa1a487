"""Who competes: our rules, and the same rules of the peers that are installed, on the same arrays."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr_byzantine import rules
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.flower.compat import aggregation

Make = Callable[[int], Callable[[Array], Any]]  # f -> aggregation of an (n, d) array
PEERS = {"Flower": "flwr", "ByzFL": "byzfl", "ByzPy": "byzpy"}


@dataclass(frozen=True)
class Contest:
    """One rule or chain, and who has it.

    Attributes:
        name: as in a configuration, e.g. "nnm+geometric-median".
        ours: the rule for f.
        peers: the same by a peer's name.
        limit: largest n at which peers, or we, are asked (exponential rules).
    """

    name: str
    ours: Callable[[int], rules.Rule]
    peers: Mapping[str, Make] = field(default_factory=dict)
    limit: int = 10_000


def peers() -> list[str]:
    """Names of the peers installed here."""
    return [name for name, module in PEERS.items() if importlib.util.find_spec(module) is not None]


def _flower(name: str, *arguments: Callable[[int], Any]) -> Make:
    """A function of `flwr.server.strategy.aggregate`, which takes a list of (layers, number of examples)."""

    def make(f: int) -> Callable[[Array], Any]:
        return lambda X: aggregation(name)([([row], 1) for row in X], *(argument(f) for argument in arguments))

    return make


def _bulyan(f: int) -> Callable[[Array], Any]:
    krum = aggregation("aggregate_krum")
    return lambda X: aggregation("aggregate_bulyan")([([row], 1) for row in X], f, krum, to_keep=0)


def _trimmed(f: int) -> Callable[[Array], Any]:
    return lambda X: aggregation("aggregate_trimmed_avg")([([row], 1) for row in X], (f + 0.5) / len(X))


def _byzfl(name: str, **arguments: Any) -> Make:
    def make(f: int) -> Callable[[Array], Any]:
        given = {key: value(f) if callable(value) else value for key, value in arguments.items()}
        return lambda X: getattr(importlib.import_module("byzfl"), name)(**given)(X)

    return make


def _byzfl_chain(first: Make, second: Make) -> Make:
    return lambda f: lambda X: second(f)(first(f)(X))


def _byzpy(module: str, name: str, **arguments: Any) -> Make:
    def make(f: int) -> Callable[[Array], Any]:
        given = {key: value(f) if callable(value) else value for key, value in arguments.items()}
        cls = getattr(importlib.import_module(f"byzpy.aggregators.{module}"), name)
        tensor = importlib.import_module("torch").from_numpy  # its NumPy path does not run; the memory is the same
        return lambda X: cls(**given).aggregate([tensor(row) for row in X])

    return make


def own(f: int) -> int:
    """The number f as it is: the argument of peers that take f."""
    return f


NNM, TRIM, GEO = _byzfl("NNM", f=own), _byzfl("TrMean", f=own), _byzfl("GeometricMedian")

CONTESTS = [
    Contest("mean", lambda f: rules.Mean(), {"Flower": _flower("aggregate"), "ByzFL": _byzfl("Average")}),
    Contest(
        "krum",
        lambda f: rules.Krum(f=f),
        {
            "Flower": _flower("aggregate_krum", own, lambda f: 0),
            "ByzFL": _byzfl("Krum", f=own),
            "ByzPy": _byzpy("geometric_wise.krum", "Krum", f=own),
        },
    ),
    Contest(
        "multi-krum",
        lambda f: rules.MultiKrum(f=f, m=max(1, f)),
        {
            "Flower": _flower("aggregate_krum", own, lambda f: max(1, f)),
            "ByzFL": _byzfl("MultiKrum", f=own),
            "ByzPy": _byzpy("geometric_wise.krum", "MultiKrum", f=own, q=lambda f: max(1, f)),
        },
    ),
    Contest("bulyan", lambda f: rules.Bulyan(f=f), {"Flower": _bulyan}),
    Contest(
        "median",
        lambda f: rules.Median(f=f),
        {
            "Flower": _flower("aggregate_median"),
            "ByzFL": _byzfl("Median"),
            "ByzPy": _byzpy("coordinate_wise.median", "CoordinateWiseMedian"),
        },
    ),
    Contest(
        "trimmed-mean",
        lambda f: rules.TrimmedMean(f=f),
        {"Flower": _trimmed, "ByzFL": TRIM, "ByzPy": _byzpy("coordinate_wise.trimmed_mean", "CoordinateWiseTrimmedMean", f=own)},
    ),
    Contest(
        "geometric-median",
        lambda f: rules.GeometricMedian(f=f),
        {"ByzFL": GEO, "ByzPy": _byzpy("geometric_wise.geometric_median", "GeometricMedian")},
    ),
    Contest(
        "meamed",
        lambda f: rules.MeaMed(f=f),
        {"ByzFL": _byzfl("Meamed", f=own), "ByzPy": _byzpy("coordinate_wise.mean_of_medians", "MeanOfMedians", f=own)},
    ),
    Contest("phocas", lambda f: rules.Phocas(f=f)),
    Contest(
        "centered-clipping",
        lambda f: rules.CenteredClipping(tau=100.0),
        {
            "ByzFL": _byzfl("CenteredClipping", tau=100.0),
            "ByzPy": _byzpy("norm_wise.center_clipping", "CenteredClipping", c_tau=100.0, M=1),
        },
    ),
    Contest(
        "cge",
        lambda f: rules.CGE(f=f),
        {"ByzPy": _byzpy("norm_wise.comparative_gradient_elimination", "ComparativeGradientElimination", f=own)},
    ),
    Contest(
        "monna",
        lambda f: rules.MoNNA(f=f),
        {"ByzFL": _byzfl("MoNNA", f=own, idx=0), "ByzPy": _byzpy("geometric_wise.monna", "MoNNA", f=own)},
    ),
    Contest(
        "mda",
        lambda f: rules.MDA(f=f),
        {"ByzFL": _byzfl("MDA", f=own), "ByzPy": _byzpy("geometric_wise.minimum_diameter_average", "MinimumDiameterAveraging", f=own)},
        32,
    ),
    Contest("smea", lambda f: rules.SMEA(f=f), {"ByzFL": _byzfl("SMEA", f=own), "ByzPy": _byzpy("geometric_wise.smea", "SMEA", f=own)}, 16),
    Contest("caf", lambda f: rules.CAF(f=f), {"ByzFL": _byzfl("CAF", f=own), "ByzPy": _byzpy("norm_wise.caf", "CAF", f=own)}, 200),
    Contest("dnc", lambda f: rules.DnC(f=f)),
    Contest("foolsgold", lambda f: rules.FoolsGold()),
    Contest("signguard", lambda f: rules.SignGuard()),
    Contest("clipped-clustering", lambda f: rules.ClippedClustering()),
    Contest("flame", lambda f: rules.FLAME(noise=0.0)),
    Contest("lasa", lambda f: rules.LASA()),
    Contest("fltrust", lambda f: rules.FLTrust()),
    Contest("aksel", lambda f: rules.Aksel(f=f)),
    Contest("autogm", lambda f: rules.AutoGM(f=f)),
    Contest("ctma(median)", lambda f: rules.CTMA(f=f)),
    Contest("gas(krum)", lambda f: rules.GAS(f=f, p=10), {}, 100),
    Contest("fedrdf", lambda f: rules.FedRDF(f=f), {}, 100),
    Contest("signsgd", lambda f: rules.SignSGD(f=f)),
    Contest("rlr(mean)", lambda f: rules.RLR(f=f)),
    Contest("slsgd", lambda f: rules.SLSGD(f=f)),
    Contest("crfl(mean)", lambda f: rules.CRFL()),
    Contest("foundationfl+trimmed-mean", lambda f: rules.chain(rules.FoundationFL(), rules.TrimmedMean(f=f))),
    Contest("nnm+geometric-median", lambda f: rules.chain(rules.NNM(f=f), rules.GeometricMedian(f=f)), {"ByzFL": _byzfl_chain(NNM, GEO)}),
    Contest("nnm+krum", lambda f: rules.chain(rules.NNM(f=f), rules.Krum(f=f)), {"ByzFL": _byzfl_chain(NNM, _byzfl("Krum", f=own))}),
    Contest("nnm+trimmed-mean", lambda f: rules.chain(rules.NNM(f=f), rules.TrimmedMean(f=f)), {"ByzFL": _byzfl_chain(NNM, TRIM)}),
    Contest(
        "arc+krum",
        lambda f: rules.chain(rules.ARC(f=f), rules.Krum(f=f)),
        {"ByzFL": _byzfl_chain(_byzfl("ARC", f=own), _byzfl("Krum", f=own))},
    ),
    Contest(
        "clipping+mean",
        lambda f: rules.chain(rules.Clipping(radius=2.0), rules.Mean()),
        {"ByzFL": _byzfl_chain(_byzfl("Clipping", c=2.0), _byzfl("Average"))},
    ),
    Contest(
        "bucketing+median",
        lambda f: rules.chain(rules.Bucketing(s=2), rules.Median(f=f)),
        {"ByzFL": _byzfl_chain(_byzfl("Bucketing", s=2), _byzfl("Median"))},
    ),
]
