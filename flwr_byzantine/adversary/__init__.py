"""Attackers who see all honest updates of a round: on the Grid, and around a strategy of Flower's legacy API."""

from flwr_byzantine.adversary.colluders import Adversary, Harm, Trained
from flwr_byzantine.adversary.grid import AdversarialGrid
from flwr_byzantine.adversary.nodes import Nodes, by_partition
from flwr_byzantine.adversary.strategy import AdversarialStrategy

__all__ = ["AdversarialGrid", "AdversarialStrategy", "Adversary", "Harm", "Nodes", "Trained", "by_partition"]
