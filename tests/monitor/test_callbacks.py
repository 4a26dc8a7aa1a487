"""Each callback against the real library: what it wrote is read back by that library's own means, or scraped."""

import copy
import importlib.util
import json
import struct
import sys
import urllib.request

import pytest

import flwr_byzantine as ours
from flwr_byzantine import monitor
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.quarantine import Quarantine
from tests.support.federation import N, client_app, start
from tests.support.replies import nan, spoiled


def needs(library, extra):
    missing = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(missing, reason=f"needs {library}: pip install -e '.[{extra}]'")


def run(on_report, rounds=3, **policy):
    strategy = ours.Krum(f=2, on_report=on_report, **policy)
    grid = LocalGrid(client_app(), N, spoil=spoiled(nan, (4,)))
    strategy.start(grid, start(), rounds, evaluate_fn=lambda number, _: {"accuracy": number / 10})
    return strategy


@needs("tensorboard", "tensorboard")
def test_tensorboard_reads_back_what_was_written(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with monitor.TensorBoard(tmp_path, per_node=True) as board:
        strategy = run(board)
    events = EventAccumulator(str(tmp_path)).Reload()

    def series(name):
        points = events.Tensors(f"byzantine/{name}")
        return {point.step: round(float(point.tensor_proto.float_val[0]), 5) for point in points}

    assert series("valid") == {1: 10, 2: 10, 3: 10}
    assert series("invalid") == {1: 1, 2: 1, 3: 1}
    assert series("server/accuracy") == {0: 0.0, 1: 0.1, 2: 0.2, 3: 0.3}
    assert series("node/3/score")[2] == pytest.approx(strategy.reports[1].nodes[3].score, rel=1e-3, abs=1e-5)


@needs("mlflow", "mlflow")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_mlflow_reads_back_what_was_written_and_a_run_that_goes_on_goes_on_there(tmp_path):
    import mlflow

    uri, path = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "run.npz"
    for rounds in (2, 3):
        with monitor.MLflow("federation", uri, "first try") as log:
            strategy = run(log, rounds, checkpoint=path, resume=rounds == 3)
    client = mlflow.MlflowClient(uri)
    (found,) = client.search_runs([client.get_experiment_by_name("federation").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params == {"rule": str(strategy.reports[-1].rule)}
    assert found.data.tags["mlflow.runName"] == "first try"
    assert [(each.step, each.value) for each in client.get_metric_history(found.info.run_id, "byzantine/invalid")] == [
        (1, 1),
        (2, 1),
        (3, 1),
    ]
    assert found.data.metrics["byzantine/server/accuracy"] == 0.3


@needs("wandb", "wandb")
@pytest.mark.slow
def test_weights_and_biases_reads_back_what_was_written_offline(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    with monitor.WandB("federation", mode="offline", dir=str(tmp_path)) as log:
        strategy = run(log)
    wandb.teardown()  # its process writes the file, and may go on doing so for a moment
    rows = list(offline_rows(next(tmp_path.rglob("*.wandb"))))
    assert [row["byzantine/invalid"] for row in rows if "byzantine/invalid" in row] == [1, 1, 1]
    accuracy = {row["server_round"]: row["byzantine/server/accuracy"] for row in rows if "byzantine/server/accuracy" in row}
    assert accuracy == {0: 0.0, 1: 0.1, 2: 0.2, 3: 0.3}
    assert strategy.reports[-1].notes == strategy.reports[0].notes  # no callback raised


def offline_rows(path):
    """The rows of a file of Weights & Biases: its messages in the frames of LevelDB's log, after a head of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    data, place, message = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := -place % 32768) < 7:  # the rest of a block is too small for a frame
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        message += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole message, or the last part of one
            record = wandb_internal_pb2.Record.FromString(message)
            message = b""
            if record.HasField("history"):
                yield {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}


@needs("prometheus_client", "prometheus")
def test_a_prometheus_page_is_scraped_on_loopback():
    from prometheus_client.parser import text_string_to_metric_families

    with monitor.Prometheus(port=0) as page:
        strategy = run(page, quarantine=Quarantine(threshold=1.5, rounds=4))
        text = urllib.request.urlopen(f"http://127.0.0.1:{page.port}/metrics", timeout=10).read().decode()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    found = {(each.name, *sorted(each.labels.values())): each.value for each in samples}
    assert found["flwr_byzantine_round",] == 3
    assert found["flwr_byzantine_kept",] == 1
    assert found["flwr_byzantine_node_replies_total", "4", "invalid"] == 2
    assert found["flwr_byzantine_node_banned_until", "4"] == 6
    assert found["flwr_byzantine_evaluation", "accuracy", "server"] == 0.3
    assert found["flwr_byzantine_node_score", "3"] == pytest.approx(strategy.reports[-1].nodes[3].score)
    assert ("flwr_byzantine_node_score", "4") not in found
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{page.port}/metrics", timeout=10)


CALLBACKS = [("TensorBoard", "tensorboard", "logs"), ("MLflow", "mlflow", "x"), ("WandB", "wandb", "x"), ("Prometheus", "prometheus", 0)]


@pytest.mark.parametrize(("name", "extra", "argument"), CALLBACKS)
def test_a_missing_library_is_said_when_the_callback_is_made(name, extra, argument, monkeypatch):
    library = getattr(monitor, name).library
    for part in (library, library.split(".")[0]):
        monkeypatch.setitem(sys.modules, part, None)
    with pytest.raises(ModuleNotFoundError, match=rf"{name} needs the library [\w-]+ \(.*\): pip install [\w-]+, or .*\[{extra}\]"):
        getattr(monitor, name)(argument)


@needs("tensorboard", "tensorboard")
def test_copies_of_a_strategy_log_to_one_place(tmp_path):
    board = monitor.TensorBoard(tmp_path)
    assert copy.deepcopy(board) is board
