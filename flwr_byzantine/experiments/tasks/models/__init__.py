"""The models: `model` makes a task's from its seed, by name or by a function of one's own.

`experiments.models` says which examples each takes. A family of models has a file here.
"""

from __future__ import annotations

from flwr_byzantine.experiments.tasks.models.making import MAKERS, model

__all__ = ["MAKERS", "model"]
