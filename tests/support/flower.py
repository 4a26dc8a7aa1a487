"""The in-process Grid under the name the tests know it by."""

from flwr.supercore.task_identity import TaskIdentity

from flwr_byzantine.flower.local import LocalGrid

TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1  # Message() asks for it before the first Grid is there
__all__ = ["LocalGrid"]
