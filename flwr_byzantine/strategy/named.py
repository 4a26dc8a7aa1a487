"""Strategies by name for Flower's Message API: change one import."""

from __future__ import annotations

from typing import ClassVar

from flwr.serverapp import strategy as flower

from flwr_byzantine import rules
from flwr_byzantine.strategy import arguments
from flwr_byzantine.strategy.message import Robust


class Named(arguments.Named, Robust):
    """`Robust` over a plain FedAvg, with the arguments of Flower's class of the same name."""

    like: ClassVar[type] = flower.FedAvg
    average: ClassVar[type] = flower.FedAvg


class Krum(Named):
    """Krum with Flower's arguments (`num_malicious_nodes`), or f: a count, or a share of the replies that arrive.

    See `rules.Krum` for the rule and `Robust` for `on_infeasible`, `weighting`, `report_path`.

    Example:
        >>> Krum(num_malicious_nodes=2).core.rule(10)
        Krum(f=2, neighbors='n-f-2')
    """

    like, make = flower.Krum, staticmethod(arguments.krum)


class MultiKrum(Named):
    """Multi-Krum with Flower's arguments (`num_nodes_to_select`, 1 by default as in Flower), or f and m.

    Unlike Flower's, the mean of the selected does not weigh by the num-examples that clients claim.
    """

    like, options, make = flower.MultiKrum, ("m",), staticmethod(arguments.multi_krum)


class Bulyan(Named):
    """Bulyan with Flower's arguments, or f. The paper's iterated selection, which Flower's does not do."""

    like, make = flower.Bulyan, staticmethod(arguments.bulyan)


class FedMedian(Named):
    """Coordinate-wise median with Flower's arguments; f only declares the guarantee, (n - 1) // 2 by default."""

    like, make = flower.FedMedian, staticmethod(arguments.simple(rules.Median))


class FedTrimmedAvg(Named):
    """Trimmed mean with Flower's `beta`, of which int(beta n) are cut on each side, or f."""

    like, make = flower.FedTrimmedAvg, staticmethod(arguments.trimmed)


class FLTrust(Named):
    """FLTrust with FedAvg's arguments: replies weighted by their cosine with the server's own update, at its length.

    Args:
        server_update: function of the round's number and the broadcast ArrayRecord that returns the model as trained on the
            server's own clean data (the paper: some hundred examples), as an ArrayRecord, a list or name -> array.

    Source: Cao, Fang, Liu, Gong, NDSS 2021.

    Example:
        >>> def train(server_round, arrays):  # some steps on the server's data
        ...     return [array - 0.1 for array in arrays.to_numpy_ndarrays()]
        >>> FLTrust(server_update=train).core.rule(5)
        FLTrust(f=2)
    """

    make, trusting = staticmethod(arguments.simple(rules.FLTrust)), True


class Mean(Named):
    """The unweighted mean of the replies that pass inspection: FedAvg without trust in num-examples, not robust.

    Example:
        >>> Mean().core.rule(5)
        Mean()
    """

    make = staticmethod(arguments.simple(rules.Mean))


CATALOGUE = arguments.catalogue(Named, __name__)
globals().update(CATALOGUE)
