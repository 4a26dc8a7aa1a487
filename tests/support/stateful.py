"""Strategies that keep something over the rounds, each by a maker that takes policy arguments."""

from flwr.serverapp import strategy as flower

import flwr_byzantine as ours
from flwr_byzantine import Robust, rules, theory
from flwr_byzantine.strategy.quarantine import Quarantine

MAKERS = {
    "Krum": lambda **policy: ours.Krum(f=2, **policy),
    "CenteredClipping": lambda **policy: ours.CenteredClipping(f=2, **policy),
    "FoolsGold": lambda **policy: ours.FoolsGold(f=2, **policy),
    "FedAdam": lambda **policy: Robust(rules.TrimmedMean(f=2), flower.FedAdam(), **policy),
    "FedAvgM": lambda **policy: Robust(rules.Median(f=2), flower.FedAvgM(server_momentum=0.9), **policy),
    "quarantine": lambda **policy: ours.FedMedian(quarantine=Quarantine(threshold=1.5), certificate=True, **policy),
    "SGD": lambda **policy: ours.ByzantineSGD(rules.Median(f=2), step_size=theory.Polynomial(0.1), momentum=0.9, **policy),
}


def median(path, **policy):
    """The median, whose run is kept at `path`."""
    return ours.FedMedian(checkpoint=path, **policy)
