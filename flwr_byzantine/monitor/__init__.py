"""What a run in production shows of itself: its reports as a page, live in a terminal, and in other people's dashboards.

`reading` takes the file of reports apart, `records` says what became of each node, `page` and `live` show it, `callbacks` hand each
report to TensorBoard, MLflow, Weights & Biases and Prometheus, whose libraries are loaded when a callback is made.

May import `strategy`, `show`, `flower.words` and `errors`.
"""

from flwr_byzantine.monitor.callbacks import MLflow, TensorBoard, WandB
from flwr_byzantine.monitor.prometheus import Prometheus
from flwr_byzantine.monitor.quantities import measures
from flwr_byzantine.monitor.reading import read

__all__ = ["MLflow", "Prometheus", "TensorBoard", "WandB", "measures", "read"]
