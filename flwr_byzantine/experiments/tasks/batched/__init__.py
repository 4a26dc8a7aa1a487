"""The engine "batched": a task's federation on arrays, in one process.

`federation` runs the rounds, `clients` trains, `stacked` trains many clients as one program.
"""

from flwr_byzantine.experiments.tasks.batched.federation import Federation, federate

__all__ = ["Federation", "federate"]
