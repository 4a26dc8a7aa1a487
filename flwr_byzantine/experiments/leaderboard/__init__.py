"""Leaderboards: rules ranked over tasks by what attacks leave of their accuracy, from the results of sweeps.

May import what `experiments.report` may, and that; it loads neither flwr nor torch.
"""

from flwr_byzantine.experiments.leaderboard.ranking import Leaderboard, Standing, leaderboard
from flwr_byzantine.experiments.leaderboard.tables import ranked
from flwr_byzantine.experiments.leaderboard.tasks import Board, Curve, Point
from flwr_byzantine.experiments.leaderboard.writing import write

__all__ = ["Board", "Curve", "Leaderboard", "Point", "Standing", "leaderboard", "ranked", "write"]
