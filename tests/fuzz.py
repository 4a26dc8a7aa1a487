"""`python -m tests.fuzz --cases 100000 --seed 0`: mutated replies through strategies of both APIs, in training and evaluation.

Each case is one reply of a hostile node. Of each federation of two rounds it is checked that it did not end, that no honest node
was blamed, that no reply was used which NumPy itself cannot read as the model, that metrics are finite and fit to print, and that
the model is as near the goal as honest replies put it.
"""

from __future__ import annotations

import argparse
import io
import logging
import random
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import Server

import flwr_byzantine as ours
from flwr_byzantine import legacy
from flwr_byzantine.experiments.audit.battery import Case, PlainReply
from flwr_byzantine.experiments.audit.federation import GOAL, ROUNDS, _message, start, update
from flwr_byzantine.experiments.audit.legacy import Clients, Proxy
from flwr_byzantine.experiments.audit.wire import Letter, Wire
from flwr_byzantine.flower.compat import ensure_task_identity
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.words import is_printable
from tests.support import mutations

NODES, HOSTILE = 40, 12
CASES = 2 * ROUNDS * HOSTILE  # of one federation: each hostile node's replies to training and to evaluation
RULES = ("Krum", "FedTrimmedAvg", "FedMedian", "MultiKrum")
NEAR = 0.1  # of the model that honest replies give, which spread by 0.01


class Mutants:
    """The hostile nodes of a federation.

    Attributes:
        fit: node -> for each round, whether it sent something that may be used.
    """

    def __init__(self, seed: str) -> None:
        self.nodes = tuple(sorted(random.Random(seed).sample(range(1, NODES + 1), HOSTILE)))
        self.draws = {node: random.Random(f"{seed} {node}") for node in self.nodes}
        self.fit: dict[int, list[bool]] = {node: [] for node in self.nodes}

    def spoil(self, node: int, reply: PlainReply) -> PlainReply:
        """Change a reply in place, of a hostile node."""
        if node in self.draws:
            mutations.spoil(self.draws[node], reply)
        return reply

    def tamper(self, letter: Letter) -> list[Any]:
        """Change a message of a hostile node."""
        node, training = letter.asked.metadata.dst_node_id, letter.asked.metadata.message_type == "train"
        found = mutations.tamper(self.draws[node], letter)
        if training:
            self.fit[node].append(any(map(_holds_model, found)))
        return found


def _holds_model(item: Any) -> bool:
    try:
        records = [record for record in item.content.values() if isinstance(record, ArrayRecord)]
        return len(records) == 1 and list(sorted(records[0])) == sorted(GOAL) and _are_model(records[0][name].data for name in GOAL)
    except Exception:
        return False


def _are_model(data: Iterable[bytes]) -> bool:
    """Whether NumPy reads these bytes, in the model's order, as arrays that the model's can hold."""
    found = list(data)
    return len(found) == len(GOAL) and all(_is_array(one, like) for one, like in zip(found, GOAL.values(), strict=True))


def _is_array(data: bytes, like: np.ndarray) -> bool:
    stream = io.BytesIO(data)
    try:
        value = np.lib.format.read_array(stream, allow_pickle=False)
    except Exception:
        return False
    if value.shape != like.shape or value.dtype.kind not in "iuf" or stream.read():
        return False
    held = value.astype(like.dtype)
    exact = value.dtype.kind == "f" or [int(number) for number in held.ravel().tolist()] == value.ravel().tolist()
    return exact and bool(np.isfinite(held).all())


def by_message(strategy: Any, mutants: Mutants) -> tuple[Any, dict[str, Any]]:
    """A federation of the Message API: its model, and all metrics."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        model = {name: array.numpy() for name, array in message.content["arrays"].items()}
        reply = update(context.node_id, message.content["config"]["server-round"], model)
        return _message(mutants.spoil(context.node_id, reply), message)

    @app.evaluate()
    def evaluate(message, context):
        reply = PlainReply({}, {"num-examples": 10, "loss": 1.0}, {})
        return _message(mutants.spoil(context.node_id, reply), message, with_arrays=False)

    grid = Wire(LocalGrid(app, NODES), mutants.nodes, mutants.tamper)
    result = strategy.start(grid, ArrayRecord({name: Array(value) for name, value in start().items()}), ROUNDS)
    records = [*result.train_metrics_clientapp.values(), *result.evaluate_metrics_clientapp.values()]
    return [array.numpy() for array in result.arrays.values()], {name: value for record in records for name, value in record.items()}


def by_legacy(strategy: Any, mutants: Mutants) -> tuple[Any, dict[str, Any]]:
    """A federation of the legacy API, in Flower's server loop."""
    clients = Clients()
    for node in range(1, NODES + 1):
        clients.register(Proxy(node, Case("fuzz", lambda reply, node=node: _legacy_spoil(mutants, node, reply)), node in mutants.nodes))
    strategy.initial_parameters = ndarrays_to_parameters(list(start().values()))
    server = Server(client_manager=clients, strategy=strategy)
    server.set_max_workers(1)
    history, _ = server.fit(ROUNDS, timeout=None)
    found = {**history.metrics_distributed_fit, **history.metrics_distributed, "loss": history.losses_distributed}
    return parameters_to_ndarrays(server.parameters), {name: value for name, pairs in found.items() for _, value in pairs}


def _legacy_spoil(mutants: Mutants, node: int, reply: PlainReply) -> None:
    training = bool(reply.arrays)
    mutants.spoil(node, reply)
    if training:
        mutants.fit[node].append(not reply.failure and _are_model(reply.arrays.values()))


def check(seed: str) -> None:
    """One federation; an AssertionError or whatever it raises says what went wrong."""
    draw = random.Random(seed)
    name, run, module = draw.choice(RULES), *draw.choice([(by_message, ours), (by_legacy, legacy)])
    strategy, mutants = getattr(module, name)(f=HOSTILE), Mutants(seed)
    model, metrics = run(strategy, mutants)
    assert len(strategy.reports) == ROUNDS, "a round is missing"
    for place, report in enumerate(strategy.reports):
        assert report.aggregated, report.note
        for node, entry in report.nodes.items():
            used = entry.status in ("kept", "rejected")
            assert used or node in mutants.nodes, f"an honest node is {entry.status}: {entry.reason}"
            assert not used or node not in mutants.nodes or mutants.fit[node][place], f"used what is no model, under {name}"
            assert is_printable(entry.reason), repr(entry.reason)
        assert len(report.nodes) == NODES, "not one verdict for each node"
    expected = [(1 - 0.5**ROUNDS) * goal for goal in GOAL.values()]
    off = max(float(np.abs(value - goal).max()) for value, goal in zip(model, expected, strict=True))
    assert [value.dtype for value in model] == [goal.dtype for goal in GOAL.values()], "dtypes changed"
    assert off < NEAR, f"{name}: the model is {off} off"
    assert all(is_printable(key) and np.isfinite(value).all() for key, value in metrics.items()), f"metrics {str(metrics)[:200]}"


def fuzz(cases: int, seed: int) -> dict[str, list[str]]:
    """What went wrong -> the seeds of the federations where it did."""
    ensure_task_identity()
    logging.getLogger("flwr").setLevel(logging.CRITICAL + 1)
    wrong: dict[str, list[str]] = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # what NumPy, as an oracle, says of odd headers
        for number in range(-(-cases // CASES)):
            try:
                check(f"{seed}/{number}")
            except Exception as error:
                frame = traceback.extract_tb(error.__traceback__)[-1]
                what = f"{type(error).__name__}: {str(error)[:150]} ({frame.filename.rpartition('/')[2]}:{frame.lineno})"
                wrong.setdefault(what, []).append(f"{seed}/{number}")
    return wrong


def main() -> None:
    """Print what went wrong, where, and what it cost; exit status 1 if anything did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    begun, wrong = time.process_time(), fuzz(given.cases, given.seed)
    for what, seeds in wrong.items():
        print(f"{len(seeds)} times {what!r}: python -c 'from tests.fuzz import check; check({seeds[0]!r})'")
    failed = Counter(seed for seeds in wrong.values() for seed in seeds)
    federations, minutes = -(-given.cases // CASES), (time.process_time() - begun) / 60
    print(f"{CASES * federations} cases in {minutes:.1f} CPU minutes; {len(failed)} of {federations} federations went wrong")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
