"""A page of the run's numbers that a Prometheus server scrapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flwr_byzantine.monitor.callbacks import Dashboard
from flwr_byzantine.strategy.report import RoundReport

NAME = "flwr_byzantine"


class Prometheus(Dashboard):
    """Serves the last round's numbers at `http://ADDRESS:PORT/metrics` from its making on, until it is closed.

    Gauges `flwr_byzantine_round`, `flwr_byzantine_kept`, `flwr_byzantine_f` and so on, as `monitor.measures` names them;
    `flwr_byzantine_evaluation{where, metric}`; for each node, by label, `flwr_byzantine_node_replies_total{node, status}`,
    `flwr_byzantine_node_score{node}` and `_weight`, `_seconds`; `flwr_byzantine_node_banned_until{node}`, 0 for good.

    Args:
        port: 0 takes a free one.
        address: to listen on; the default is this machine's alone.
        per_node: whether nodes have their own numbers.

    Attributes:
        port: that is listened on.

    Example:
        >>> Prometheus(port=9101)  # doctest: +SKIP
    """

    library, extra = "prometheus_client", "prometheus"

    def __init__(self, port: int = 9101, address: str = "127.0.0.1", per_node: bool = True) -> None:
        super().__init__(per_node)
        self._registry = self._module.CollectorRegistry()
        self._gauges: dict[str, Any] = {}
        self._by_label: dict[str, Any] = {}
        self._replies = self._module.Counter(f"{NAME}_node_replies", "Replies", ["node", "status"], registry=self._registry)
        self._server, self._thread = self._module.start_http_server(port, address, self._registry)
        self.port: int = self._server.server_port

    def __call__(self, report: RoundReport) -> None:
        """Show a round, and nothing of the one before."""
        for gauge in self._gauges.values():
            gauge.set(math.nan)
        for name in ("node_score", "node_weight", "node_seconds"):
            self._labelled(name, "node").clear()
        super().__call__(report)
        for node, entry in report.nodes.items() if self.per_node else ():
            self._replies.labels(str(node), entry.status).inc()
        for node, until in report.banned.items():
            self._labelled("node_banned_until", "node").labels(str(node)).set(until)

    def close(self) -> None:
        """Serve no more."""
        self.run = ""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def _open(self, report: RoundReport) -> None:
        """The page is there from the beginning."""

    def _log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in {"round": step, **numbers}.items():
            kind, _, rest = name.partition("/")
            if kind == "node":
                node, _, what = rest.rpartition("/")
                self._labelled(f"node_{what}", "node").labels(node).set(value)
            elif rest:
                self._labelled("evaluation", "where", "metric").labels(kind, rest).set(value)
            else:
                self._made(self._gauges, name).set(value)

    def _labelled(self, name: str, *labels: str) -> Any:
        return self._made(self._by_label, name, labels)

    def _made(self, known: dict[str, Any], name: str, labels: Sequence[str] = ()) -> Any:
        if name not in known:
            known[name] = self._module.Gauge(f"{NAME}_{name}", name.replace("_", " "), labels, registry=self._registry)
        return known[name]

    def _end(self) -> None:
        """It goes on with the next run."""
