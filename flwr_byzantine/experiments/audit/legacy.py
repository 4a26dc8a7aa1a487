"""The federation of an audit in Flower's legacy API: Flower's own server loop, and proxies that answer in process."""

from __future__ import annotations

from typing import Any

from flwr.common import Code, EvaluateRes, FitRes, GetParametersRes, Parameters, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import Server, SimpleClientManager
from flwr.server.client_proxy import ClientProxy

from flwr_byzantine.experiments.audit.battery import Case, PlainReply
from flwr_byzantine.experiments.audit.federation import GOAL, ROUNDS, SILENT, N, Outcome, evaluation, start, update

OK = Status(Code.OK, "")


def legacy_run(strategy: Any, case: Case, nodes: tuple[int, ...], rounds: int = ROUNDS) -> Outcome:
    """Rounds of a strategy of the legacy API as Flower's server runs them, in which `nodes` are hostile."""
    clients = Clients()
    for node in range(1, N + 1):
        clients.register(Proxy(node, case, node in nodes))
    server = Server(client_manager=clients, strategy=strategy)
    server.set_max_workers(1)  # NumPy parses headers by Python's parser, which in 3.11 is not for several threads (gh-106905)
    first = ndarrays_to_parameters(list(start().values()))
    history, _ = server.fit(rounds, timeout=None)
    found: list[tuple[str, Any]] = [*history.metrics_distributed_fit.items(), *history.metrics_distributed.items()]
    metrics = [(name, value) for name, values in [*found, ("loss", history.losses_distributed)] for _, value in values]
    moved = server.parameters.tensors != first.tensors
    return (dict(zip(GOAL, parameters_to_ndarrays(server.parameters), strict=False)) if moved else None), metrics


class Clients(SimpleClientManager):
    """Flower's own client manager, but for waiting: nobody comes later."""

    def wait_for(self, num_clients: int, timeout: int = 0) -> bool:
        """Whether there are so many clients."""
        return super().wait_for(num_clients, 0)


class Proxy(ClientProxy):
    """A client that answers in this process."""

    def __init__(self, node: int, case: Case, hostile: bool) -> None:
        super().__init__(str(node))
        self.node_id, self.case, self.hostile = node, case, hostile

    def fit(self, ins: Any, timeout: float | None, group_id: int | None) -> FitRes:
        """Train, and answer what the case makes of it."""
        model = dict(zip(GOAL, parameters_to_ndarrays(ins.parameters), strict=True))
        reply = update(self.node_id, group_id or 0, model)
        if self.hostile:
            self.case.spoil(reply)
        examples = reply.metrics.pop("num-examples", 10)
        return FitRes(_status(reply), Parameters(list(reply.arrays.values()), "numpy.ndarray"), examples, reply.metrics)

    def evaluate(self, ins: Any, timeout: float | None, group_id: int | None) -> EvaluateRes:
        """Evaluate, and answer what the case makes of it."""
        reply = evaluation(self.case, self.hostile)
        return EvaluateRes(_status(reply), reply.metrics.get("loss", 1.0), reply.metrics.get("num-examples", 10), dict(reply.metrics))

    def get_parameters(self, ins: Any, timeout: float | None, group_id: int | None) -> GetParametersRes:
        """The model before the first round, which no client of an audit spoils."""
        return GetParametersRes(OK, ndarrays_to_parameters(list(start().values())))

    def get_properties(self, ins: Any, timeout: float | None, group_id: int | None) -> Any:
        """Flower's server does not ask for them."""
        raise NotImplementedError("clients of an audit have no properties")

    def reconnect(self, ins: Any, timeout: float | None, group_id: int | None) -> Any:
        """Flower's server asks for this when it ends."""
        raise NotImplementedError("clients of an audit do not reconnect")


def _status(reply: PlainReply) -> Status:
    """Whether it is an error reply.

    Raises:
        ConnectionError: there is no reply at all.
    """
    if reply.silent:
        raise ConnectionError(SILENT)
    return Status(Code.FIT_NOT_IMPLEMENTED, reply.failure) if reply.failure else OK
