"""The audit: sends hostile replies of every kind to any Flower strategy and says what becomes of the model.

May import `errors`, `arrays`, `flower` and `show.table`: the strategies under audit are given to it.
"""

from flwr_byzantine.experiments.audit.battery import BATTERY, Case, PlainReply
from flwr_byzantine.experiments.audit.runner import OUTCOMES, Finding, audit, load_strategy
from flwr_byzantine.experiments.audit.table import summary, table
from flwr_byzantine.experiments.audit.wire import Letter, Wire

__all__ = ["BATTERY", "OUTCOMES", "Case", "Finding", "Letter", "PlainReply", "Wire", "audit", "load_strategy", "summary", "table"]
