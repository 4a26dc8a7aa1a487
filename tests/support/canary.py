"""What this package expects of Flower's inside: one sentence and one probe for each function of `flower.compat`.

Needs no pytest, so that `python -m tests.compat` can run it with any version of Flower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters
from flwr.server import LegacyContext, Server, ServerConfig, SimpleClientManager
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp.strategy import FedAvg, FedMedian

from flwr_byzantine.errors import ByzantineError
from flwr_byzantine.flower import codec, compat, console, loops
from flwr_byzantine.flower.grids import wait_for_all
from flwr_byzantine.flower.local import LocalGrid
from tests.support.superlink import Link, http_grid, reply_to, upload


class Expectation(NamedTuple):
    """Something of Flower's inside that a function relies on.

    Attributes:
        function: the function of `flower.compat` to mend.
        sentence: completes "this package expects ...".
        holds: whether it is so.
    """

    function: str
    sentence: str
    holds: Callable[[], bool]


def message() -> Message:
    compat.ensure_task_identity()
    return Message(RecordDict({"arrays": ArrayRecord([np.ones(2)]), "config": ConfigRecord({"lr": [0.5]})}), 7, "train")


def identity_is_enough() -> bool:
    compat.ensure_task_identity()
    made = Message(RecordDict(), 7, "train")
    return Message(Error(1, "gone"), reply_to=made).metadata.src_node_id == 7


def content_is_apart() -> bool:
    old = message()
    new = compat.with_content(old, RecordDict())
    return len(old.content) == 2 and len(new.content) == 0 and new.metadata.dst_node_id == 7


def metadata_can_be_set() -> bool:
    made = compat.set_metadata(message(), src_node_id=3, message_id="a", reply_to_message_id="b").metadata
    return (made.src_node_id, made.message_id, made.reply_to_message_id) == (3, "a", "b")


def copies_share_nothing() -> bool:
    old = message().content
    new = compat.copy_content(old)
    equal = new == old
    new["config"]["lr"][0] = 1.0
    new["arrays"]["0"].data = b""
    new["more"] = MetricRecord({"x": 1})
    return equal and old == message().content


def averages_are_flowers() -> bool:
    fitting = (FedAvg().train_metrics_aggr_fn, FedMedian().evaluate_metrics_aggr_fn)
    return all(map(compat.is_flowers_average, fitting)) and not compat.is_flowers_average(copies_share_nothing)


def legacy_aggregations_aggregate() -> bool:
    rows = [([np.full(2, value)], 1) for value in (1.0, 2.0, 4.0)]
    krum = compat.aggregation("aggregate_krum")
    values = [compat.aggregation(name)(rows)[0].tolist() for name in ("aggregate", "aggregate_median")]
    values += [krum(rows, 0, 0)[0].tolist(), compat.aggregation("aggregate_trimmed_avg")(rows, 0.34)[0].tolist()]
    values.append(compat.aggregation("aggregate_bulyan")(rows, 0, krum, to_keep=0)[0].tolist())
    return np.allclose(values, [[7 / 3] * 2, [2.0] * 2, [1.0] * 2, [2.0] * 2, [7 / 3] * 2])


def multikrum_selects() -> bool:
    rows = [RecordDict({"arrays": ArrayRecord([np.full(2, value)])}) for value in (1.0, 2.0, 2.5, 9.0)]
    kept = compat.aggregation("select_multikrum")(rows, 1, 2)
    closest = compat.aggregation("aggregate_n_closest_weights")([np.array([2.0])], [[np.array([value])] for value in (1.0, 2.5, 9.0)], 1)
    return any(kept[0] is row for row in rows) and len(kept) == 2 and closest[0].tolist() == [2.5]


def apps_know_their_functions() -> bool:
    app = ClientApp()
    app.train()(lambda message, context: message)
    known = [compat.handles(app, "train"), not compat.handles(app, "query"), not compat.is_legacy(app)]
    return all(known) and compat.is_legacy(ClientApp(client_fn=lambda context: None))


def packed_is_flowers() -> bool:
    value = {"w": np.eye(2, dtype=np.float32), "n": np.array(3)}
    return codec.pack(value) == ArrayRecord({name: Array(array) for name, array in value.items()})


def fast_arrays_read() -> bool:
    record = codec.pack({"w": np.arange(3.0)})
    codec.FastArray.make(record)
    return record.to_numpy_ndarrays()[0].tolist() == [0.0, 1.0, 2.0] and not record["w"].numpy().flags.writeable


def fedavg_has_its_hooks() -> bool:
    """The hooks that users override: each is called by the method that FedAvg is known by."""
    called = set(FedAvg.configure_train.__code__.co_names) | set(FedAvg.aggregate_train.__code__.co_names)
    known = FedAvg._check_and_log_replies.__code__.co_varnames[:4]
    return {"_construct_messages", "_check_and_log_replies"} <= called and known == ("self", "replies", "is_train", "validate")


def legacy_replies_convert() -> bool:
    made = message()
    asked = compat.set_metadata(made, message_id="m")
    said = {"fitres.num_examples": {"num_examples": 3}, "fitres.metrics": {}, "fitres.status": {"code": 0, "message": ""}}
    arrays = {"fitres.parameters": ArrayRecord([np.ones(2)])}
    metrics = {"fitres.num_examples": MetricRecord({"num_examples": 3})}
    configs = {name: ConfigRecord(value) for name, value in said.items() if name not in metrics}
    found = compat.legacy_result(Message(RecordDict({**arrays, **metrics, **configs}), reply_to=asked))
    return found.num_examples == 3 and len(found.parameters.tensors) == 1


def proxies_know_their_grid() -> bool:
    grid: Any = object()
    proxy = compat.inside("flwr.server.compat.grid_client_proxy", "GridClientProxy", "grids_of")
    return compat.grids_of([proxy(7, grid, 1), proxy(8, grid, 1), object()]) == [grid]


def lines_are_flowers() -> bool:
    """The texts of the lines that are left out are those that Flower logs."""
    functions = (FedAvg._check_and_log_replies, LegacyFedAvg.aggregate_fit, LegacyFedAvg.aggregate_evaluate, FedAvg.summary)
    return {text for function in functions for text in function.__code__.co_consts} >= {*console.OF_ONE_REPLY, *console.WEIGHTED}


class Asking:
    """Answers Flower's loops with what `compat` knows of them when a round begins."""

    def __init__(self) -> None:
        self.known: list[tuple[int | None, bool]] = []

    def ask(self, *_: object, **__: object) -> list[object]:
        self.known.append((loops.planned_rounds(), loops.aggregates_securely()))
        return []


def loops_tell_their_rounds() -> bool:
    """Strategy.start, Server.fit, the default workflow, and the default workflow with secure aggregation."""
    asking = Asking()
    strategy = FedAvg(fraction_evaluate=0.0)
    strategy.configure_train = asking.ask  # type: ignore[method-assign, assignment]
    grid = LocalGrid(None, 2)
    strategy.start(grid, ArrayRecord([np.ones(1)]), 3)  # type: ignore[arg-type]
    for workflow in (None, DefaultWorkflow(), DefaultWorkflow(SecAggPlusWorkflow(3, 2))):
        legacy = LegacyFedAvg(fraction_evaluate=0.0, initial_parameters=ndarrays_to_parameters([np.ones(1)]))
        legacy.configure_fit = asking.ask  # type: ignore[method-assign, assignment]
        if workflow is None:
            Server(client_manager=SimpleClientManager(), strategy=legacy).fit(4, None)
        else:
            context = Context(1, 0, {}, RecordDict(), {})
            workflow(grid, LegacyContext(context, ServerConfig(num_rounds=5), legacy))  # type: ignore[arg-type]
    return asking.known == [(3, False)] * 3 + [(4, False)] * 4 + [(5, False)] * 5 + [(5, True)] * 5


def superlinks_give_replies_one_by_one() -> bool:
    sent = [message()]
    (reply,) = wait_for_all(http_grid(Link(lambda metadata: upload(reply_to(metadata)))), sent, 20.0)
    return reply.has_content() and reply.content["arrays"]["w"].numpy().size == 1000


EXPECTED = [
    Expectation(
        "inside, or flower.superlink", "HttpGrid to pull replies part by part through its client", superlinks_give_replies_one_by_one
    ),
    Expectation("legacy_result", "recorddict_to_fitres(content, keep_input=True) to make a FitRes", legacy_replies_convert),
    Expectation("is_legacy", "a ClientApp to keep its functions in _call and _registered_funcs", apps_know_their_functions),
    Expectation("handles", "a ClientApp to keep its functions in _call and _registered_funcs", apps_know_their_functions),
    Expectation("grids_of", "a legacy GridClientProxy to have its Grid as the attribute grid", proxies_know_their_grid),
    Expectation("ensure_task_identity", "Message(...) to need run, node and task of TaskIdentity and nothing else", identity_is_enough),
    Expectation("with_content", "a copy of a Message to keep its content apart from the old one's", content_is_apart),
    Expectation("set_metadata", "Metadata to keep each value in the attribute _<name>", metadata_can_be_set),
    Expectation("copy_content", "records to keep their items in the attribute _data", copies_share_nothing),
    Expectation("strategy.fedavg", "FedAvg to call its hooks _construct_messages and _check_and_log_replies", fedavg_has_its_hooks),
    Expectation("is_flowers_average", "strategies to average metrics by strategy_utils.aggregate_metricrecords", averages_are_flowers),
    Expectation("console.without_lines", "FedAvg to log the lines OF_ONE_REPLY and WEIGHTED", lines_are_flowers),
    Expectation("loops.planned_rounds", "loops to be called start, fit and __call__, and know num_rounds", loops_tell_their_rounds),
    Expectation("loops.aggregates_securely", "a workflow of secure aggregation to be a SecAggPlusWorkflow", loops_tell_their_rounds),
    Expectation("aggregation", "flwr.server.strategy.aggregate to take [(layers, examples)]", legacy_aggregations_aggregate),
    Expectation("aggregation", "select_multikrum to take contents, and aggregate_n_closest_weights layers", multikrum_selects),
    Expectation("copy_content, as codec.pack uses it", "Array(value) to hold npy bytes, as codec.pack writes them", packed_is_flowers),
    Expectation("copy_content, or codec.FastArray", "Flower to read an Array by its method numpy()", fast_arrays_read),
]


def complaint(expectation: Expectation) -> str:
    """One sentence on what has changed in Flower; "" where it is as expected."""
    try:
        holds = expectation.holds()
    except ByzantineError as error:
        return str(error)
    except Exception as error:
        sentence = f"{expectation.sentence}, but the probe raised {type(error).__name__} ({error})"
        return str(compat.changed(sentence, expectation.function))
    return "" if holds else str(compat.changed(expectation.sentence, expectation.function))
