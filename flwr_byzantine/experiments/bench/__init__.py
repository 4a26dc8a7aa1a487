"""The benchmark: times the rules against the peers found installed and against the machine's own limits, in one run.

May import `arrays`, `declare`, `rules`, the strategies, `flower` and `show.table`.
"""

from __future__ import annotations

from flwr_byzantine.experiments.bench.contestants import CONTESTS, Contest, peers
from flwr_byzantine.experiments.bench.measure import Timing, measure
from flwr_byzantine.experiments.bench.runner import Measurement, Size, bench

__all__ = ["CONTESTS", "Contest", "Measurement", "Size", "Timing", "bench", "measure", "peers"]
