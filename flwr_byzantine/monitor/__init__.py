"""What is seen of a run: its reports as a page, live in a terminal, and in other people's dashboards.

`reading` takes the file of reports apart, `records` says what became of each node, `page` and `live` show it, `callbacks` hand each
report to TensorBoard, MLflow, Weights & Biases and Prometheus, whose libraries are loaded when a callback is made. `show` has the tables,
terminal lines and pages, which experiments are shown in too; it stands alone, and nothing here is loaded before it is used.

May import `strategy`, `flower.words`, `declare.extras` and `errors`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flwr_byzantine.monitor.callbacks import MLflow, TensorBoard, WandB
    from flwr_byzantine.monitor.prometheus import Prometheus
    from flwr_byzantine.monitor.quantities import measures
    from flwr_byzantine.monitor.reading import read

__all__ = ["MLflow", "Prometheus", "TensorBoard", "WandB", "measures", "read"]

_PLACES = {"Prometheus": "prometheus", "measures": "quantities", "read": "reading"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Load what is public here at its first use."""
        if name in __all__:
            return getattr(importlib.import_module(f"{__name__}.{_PLACES.get(name, 'callbacks')}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
