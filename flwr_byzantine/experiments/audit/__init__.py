"""The audit: sends hostile replies of every kind to any Flower strategy and says what becomes of the model.

May import `errors`, `arrays`, `flower` and `experiments.table`: the strategies under audit are given to it.
"""

from flwr_byzantine.experiments.audit.battery import BATTERY, Case, PlainReply
from flwr_byzantine.experiments.audit.runner import OUTCOMES, Finding, audit, load_strategy
from flwr_byzantine.experiments.audit.table import table

__all__ = ["BATTERY", "OUTCOMES", "Case", "Finding", "PlainReply", "audit", "load_strategy", "table"]
