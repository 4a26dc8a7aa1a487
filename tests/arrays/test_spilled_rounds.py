"""Rounds out of core: the same model as in memory, little of the replies resident, and nothing left behind."""

import gc
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from flwr_byzantine import Robust, legacy, rules
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.replies import Reply, drop_arrays
from tests.support.federation import client_app, start
from tests.support.grids import SlowGrid
from tests.support.legacy import one_round
from tests.support.spilling import RULES, needs_proc, open_files


class Watching(LocalGrid):
    """Keeps the replies it handed out."""

    def send_and_receive(self, messages, *, timeout=None):
        replies = super().send_and_receive(messages, timeout=timeout)
        if replies and replies[0].metadata.message_type.startswith("train"):
            self.replies = replies
        return replies


def values(record):
    return {name: array.data for name, array in record.items()}


def broken(reply):
    if reply.metadata.src_node_id == 4:
        reply.content["arrays"] = ArrayRecord({"w": Array(np.zeros(3))})
    return reply


@needs_proc
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_strategies_end_with_the_same_bits_and_leave_nothing(rule, tmp_path):
    expected = Robust(rule).start(LocalGrid(client_app(), 11, spoil=broken), start(), 3)
    grid, strategy = Watching(client_app(), 11, spoil=broken), Robust(rule, spill=tmp_path, certificate=True)
    result = strategy.start(grid, start(), 3)
    assert values(result.arrays) == values(expected.arrays)
    assert strategy.reports[-1].nodes[4].status == "invalid"
    assert strategy.reports[-1].n_valid == 10
    assert dict(result.train_metrics_clientapp[3]) == dict(expected.train_metrics_clientapp[3])
    assert not any(reply.content.array_records for reply in grid.replies)  # the bytes are dropped, the metrics stay
    assert all(reply.content["metrics"]["num-examples"] == 10 for reply in grid.replies)
    assert not open_files(tmp_path)
    assert os.listdir(tmp_path) == []


@needs_proc
def test_replies_are_moved_when_they_arrive(tmp_path):
    """On Flower's own Grids few replies are pulled at a time, and each is in the file before the next ones come."""
    held = []

    class Counting(SlowGrid):
        def pull_messages(self, message_ids):
            assert len(message_ids) <= 4
            held.append(sum(bool(reply.content.array_records) for reply in self.seen))
            replies = super().pull_messages(message_ids)
            self.seen += [reply for reply in replies if reply.metadata.message_type.startswith("train")]
            return replies

    grid = Counting([0.0] * 11)
    grid.seen = []
    strategy = Robust(rules.TrimmedMean(f=2), spill=tmp_path)
    result = strategy.start(grid, start(), 2)
    assert len(grid.seen) == 22
    assert max(held) == 0
    assert values(result.arrays) == values(Robust(rules.TrimmedMean(f=2)).start(LocalGrid(client_app(), 11), start(), 2).arrays)
    assert not open_files(tmp_path)


@needs_proc
def test_the_legacy_api_spills_too(tmp_path):
    plain, _ = one_round(legacy.MultiKrum(num_malicious_clients=2))
    spilled, _ = one_round(legacy.MultiKrum(num_malicious_clients=2, spill=str(tmp_path)))
    assert spilled.tensors == plain.tensors
    assert not open_files(tmp_path)


@needs_proc
def test_the_file_is_gone_after_an_exception_too(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("broken rule")

    monkeypatch.setattr(rules.Krum, "mix", fail)
    for run_it in (
        lambda: Robust(rules.Krum(f=2), spill=tmp_path).start(LocalGrid(client_app(), 11), start(), 1),
        lambda: one_legacy(tmp_path),
    ):
        with pytest.raises(RuntimeError, match="broken rule") as caught:
            run_it()
        del caught
        gc.collect()
        assert not open_files(tmp_path)


def one_legacy(folder):
    one_round(legacy.Krum(num_malicious_clients=2, spill=folder))


@needs_proc
def test_a_round_that_never_reaches_aggregation_leaves_nothing(tmp_path):
    strategy, grid = Robust(rules.Krum(f=2), spill=tmp_path), LocalGrid(client_app(), 11)
    replies = grid.send_and_receive(strategy.configure_train(1, start(), ConfigRecord(), grid))
    strategy._arrived(replies[0])
    assert open_files(tmp_path)
    strategy.configure_train(2, start(), ConfigRecord(), grid)
    gc.collect()
    assert not open_files(tmp_path)


@pytest.mark.parametrize("folder", [None, "."])
def test_replies_are_freed_with_the_round_not_with_the_next_garbage_collection(folder, tmp_path):
    """Also where some are invalid, whose errors know the frames that hold the others."""
    strategy, grid = Robust(rules.Krum(f=2), spill=folder and tmp_path / folder), LocalGrid(client_app(), 11, spoil=broken)
    replies = grid.send_and_receive(strategy.configure_train(1, start(), ConfigRecord(), grid))
    for reply in replies[:6]:
        strategy._arrived(reply)
    arrays = [weakref.ref(array) for reply in replies for array in reply.content["arrays"].values()] if folder is None else []
    arrays += [weakref.ref(row) for _, found in strategy.core.inspector._found.values() if isinstance(found, list) for row in found]
    assert len(arrays) > 10
    gc.collect()
    gc.disable()
    try:
        strategy.aggregate_train(1, replies)
        del replies, reply
        assert [array() for array in arrays if array() is not None] == []
    finally:
        gc.enable()


def test_content_that_cannot_be_read_is_emptied_without_harm():
    class Broken(RecordDict):
        def items(self):
            raise ValueError("does not inflate")

    strategy, grid = Robust(rules.Krum(f=2)), LocalGrid(client_app(), 11)
    (reply, *_) = grid.send_and_receive(strategy.configure_train(1, start(), ConfigRecord(), grid))
    drop_arrays(Reply(1, source=reply))
    assert list(reply.content) == ["metrics"]
    reply.content = Broken({"metrics": MetricRecord({"loss": 1.0})})
    drop_arrays(Reply(1, source=reply))
    assert list(reply.content) == []


RESIDENT = """
import os, sys
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr_byzantine import Robust, rules
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.replies import Reply, drop_arrays

folder, spilling, n, d = sys.argv[1], sys.argv[2] == "spill", 60, 2_500_000
chosen = {"Krum": rules.Krum(f=5), "CenteredClipping": rules.CenteredClipping(f=5),
          "NNM": rules.chain(rules.NNM(f=5), rules.TrimmedMean(f=5))}[sys.argv[3]]
block = np.random.default_rng(0).normal(size=d).astype(np.float32)
model = lambda value: ArrayRecord({"large": Array(value[: d * 3 // 4]), "small": Array(value[d * 3 // 4 :])})

def highest():
    return next(int(line.split()[1]) / 1000 for line in open("/proc/self/status") if line.startswith("VmHWM"))

class Nodes(LocalGrid):
    def send_and_receive(self, messages, *, timeout=None):
        for k, message in enumerate(messages):
            content = {"arrays": model(block * np.float32(1 + k / 100)), "metrics": MetricRecord({"num-examples": 1})}
            yield Message(RecordDict(content), reply_to=message)

def round_of(n):
    strategy, grid = Robust(chosen, spill=folder if spilling else None), Nodes(None, n)
    replies = grid.send_and_receive(strategy.configure_train(1, model(0 * block), ConfigRecord(), grid))
    arrays, _ = strategy.aggregate_train(1, replies)
    return arrays

assert round_of(15) is not None  # so that libraries and the work of a round do not count
before = highest()
assert round_of(n) is not None
print(highest() - before)
"""


def resident(folder, how, rule):
    """MB by which a round of 60 replies (600 MB) is above one of 15, both at their peaks."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", RESIDENT, folder, how, rule], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return float(done.stdout)


@needs_proc
@pytest.mark.parametrize(
    "rule", ["NNM", pytest.param("Krum", marks=pytest.mark.slow), pytest.param("CenteredClipping", marks=pytest.mark.slow)]
)
def test_little_of_a_round_is_resident(rule, tmp_path):
    assert resident(tmp_path, "spill", rule) < 120
    if rule == "Krum":
        assert resident(tmp_path, "memory", rule) > 400  # what it would be else
