"""Hostile replies of every kind against any Flower strategy, and what becomes of the run."""

from flwr_byzantine.experiments.audit.battery import BATTERY, Case, Reply
from flwr_byzantine.experiments.audit.runner import OUTCOMES, Finding, audit, load_strategy
from flwr_byzantine.experiments.audit.table import table

__all__ = ["BATTERY", "OUTCOMES", "Case", "Finding", "Reply", "audit", "load_strategy", "table"]
