"""A run that is started again goes on as if nothing had been, or is told in one sentence why it cannot: both APIs."""

import json
import logging
import os
import random
import resource
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters
from flwr.server import SimpleClientManager
from flwr.serverapp import strategy as flower

import flwr_byzantine as ours
from flwr_byzantine import InfeasibleRound, InvalidParameter, Robust, legacy, rules
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy import checkpoint, lock
from flwr_byzantine.strategy.report import RoundReport
from flwr_byzantine.strategy.wrapper import Delegating
from tests.support.federation import N, client_app, start, values
from tests.support.legacy import MODEL, Clients, one_round, proxies
from tests.support.replies import nan, spoiled
from tests.support.stateful import MAKERS

SEED, DRAW = np.random.seed, np.random.rand  # of the global generator, which Flower draws from


def run(strategy, rounds, **grid):
    return strategy.start(LocalGrid(client_app(), N, **grid), start(), rounds)


def median(path, **policy):
    return ours.FedMedian(checkpoint=path, **policy)


@pytest.mark.parametrize("name", MAKERS)
def test_a_resumed_run_ends_bit_for_bit_as_one_that_was_not_interrupted(name, tmp_path):
    seen = []

    def measure(server_round, arrays):
        seen.append(server_round)

    def rounds(count, **policy):
        strategy = MAKERS[name](**policy)
        return strategy, strategy.start(LocalGrid(client_app(), N, spoil=spoiled(nan, (4,))), start(), count, evaluate_fn=measure)

    whole, expected = rounds(6)
    path = tmp_path / "run.npz"
    rounds(2, checkpoint=path)
    rounds(3, checkpoint=path, resume=True)
    seen.clear()
    resumed, result = rounds(6, checkpoint=path, resume=True)
    np.testing.assert_array_equal(values(result.arrays), values(expected.arrays))
    assert resumed.reports == whole.reports
    assert len({report.run for report in resumed.reports}) == 1
    assert seen == [3, 4, 5, 6]
    assert list(result.train_metrics_clientapp) == [4, 5, 6]
    _, same = rounds(6, checkpoint=path, resume=True)
    np.testing.assert_array_equal(values(same.arrays), values(expected.arrays))
    assert [item.name for item in tmp_path.iterdir()] == ["run.npz"]


def test_nothing_left_to_do_is_said(tmp_path, caplog):
    path = tmp_path / "run.npz"
    run(median(path), 2)
    with caplog.at_level(logging.INFO, "flwr"):
        run(median(path, resume=True), 2)
    assert f"already complete: 2 of 2 rounds are in {path}; nothing is left to do" in caplog.text
    with caplog.at_level(logging.INFO, "flwr"):
        assert [legacy.FedMedian(checkpoint=path, resume=True).rounds_left(count) for count in (5, 2, 1)] == [3, 0, 0]
    assert caplog.text.count("already complete") == 3
    assert legacy.FedMedian(checkpoint=tmp_path / "none", resume=True).rounds_left(5) == 5


def test_a_legacy_strategy_resumes_from_its_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    strategy = legacy.FedMedian(checkpoint=path)
    parameters, _ = one_round(strategy)
    resumed = legacy.FedMedian(checkpoint=path, resume=True, initial_parameters=ndarrays_to_parameters(MODEL))
    model = resumed.initialize_parameters(Clients())
    assert model.tensors == parameters.tensors
    one_round(resumed)
    assert [report.server_round for report in resumed.reports] == [1, 2]
    with pytest.raises(InvalidParameter, match="another run of this process writes"):
        one_round(strategy)
    other = legacy.FedMedian(checkpoint=path, resume=True, initial_parameters=ndarrays_to_parameters([np.zeros((2, 4)), MODEL[1]]))
    with pytest.raises(
        InvalidParameter, match=r"another model: array '0' is float32 of shape \(2, 3\) there, float64 of shape \(2, 4\) here"
    ):
        other.initialize_parameters(Clients())


def changed(**arrays):
    return ArrayRecord({**start(), **{name: Array(value) for name, value in arrays.items()}})


@pytest.mark.parametrize(
    ("again", "said"),
    [
        (lambda **policy: ours.FedTrimmedAvg(f=2, **policy), "another strategy: 'FedMedian' there, 'FedTrimmedAvg' here"),
        (lambda **policy: ours.FedMedian(f=2, **policy), r"another rule: 'Median\(f=24\) at 50 .* there, 'Median\(f=2\)' here"),
        (lambda **policy: Robust(rules.Median(f=2), flower.FedAdam(), **policy), "'FedMedian' there, 'Robust over FedAdam' here"),
        (lambda **policy: ours.FedMedian(run_name="b", **policy), "another run name: None there, 'b' here"),
    ],
)
def test_a_checkpoint_of_another_strategy_rule_or_run_is_refused_and_both_are_named(again, said, tmp_path):
    path = tmp_path / "run.npz"
    run(median(path), 1)
    with pytest.raises(InvalidParameter, match=said) as caught:
        run(again(checkpoint=path, resume=True), 2)
    assert str(path) in str(caught.value)
    run(median(path, resume=True), 2)  # it is as it was, and free


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (changed(w=np.zeros((3, 2), np.float32)), r"array 'w' is float32 of shape \(2, 3\) there, float32 of shape \(3, 2\) here"),
        (changed(w=np.zeros((2, 3))), r"array 'w' is float32 of shape \(2, 3\) there, float64"),
        (changed(x=np.zeros(2)), r"array 'x' is nothing there, float64 of shape \(2,\) here"),
        (ArrayRecord({name: array for name, array in start().items() if name != "n"}), "array 'n' is int64 .* there, nothing here"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_and_both_are_named(model, said, tmp_path):
    path = tmp_path / "run.npz"
    run(median(path), 1)
    with pytest.raises(InvalidParameter, match=f"another model: {said}.*; give the model that the run began with"):
        median(path, resume=True).start(LocalGrid(client_app(), N), model, 2)


class AppGrid(LocalGrid):
    def __init__(self, app):
        super().__init__(client_app(), N)
        self.run = SimpleNamespace(fab_id=app, run_id=1)


def test_two_apps_with_one_model_and_rule_cannot_have_one_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    median(path).start(AppGrid("us/mri"), start(), 1)
    with pytest.raises(InvalidParameter, match="another app: 'us/mri' there, 'us/ct' here; two apps cannot have one checkpoint"):
        median(path, resume=True).start(AppGrid("us/ct"), start(), 2)
    median(path, resume=True).start(LocalGrid(client_app(), N), start(), 2)  # outside `flwr run` no app is known
    median(path, resume=True).start(AppGrid("us/mri"), start(), 3)


def test_the_legacy_api_knows_the_app_by_its_clients(tmp_path, monkeypatch):
    path, app = tmp_path / "run.npz", SimpleNamespace(run=SimpleNamespace(fab_id="us/mri"))
    monkeypatch.setattr(Clients, "sample", lambda *_, **__: [SimpleNamespace(**vars(proxy), grid=app) for proxy in proxies()])
    one_round(legacy.FedMedian(checkpoint=path))
    resumed = legacy.FedMedian(checkpoint=path, resume=True)
    resumed.initialize_parameters(Clients())
    app.run.fab_id = "us/ct"
    with pytest.raises(InvalidParameter, match="another app: 'us/mri' there, 'us/ct' here"):
        one_round(resumed)


def test_without_resume_no_checkpoint_is_overwritten(tmp_path):
    path = tmp_path / "run.npz"
    early = median(path)
    run(median(path), 1)
    said = "exists, and would be overwritten; pass resume=True to go on from it, move it away, or give another path"
    for build in (median, lambda path: legacy.FedMedian(checkpoint=path)):
        with pytest.raises(InvalidParameter, match=said):
            build(path)
    with pytest.raises(InvalidParameter, match=said):
        run(early, 1)
    elsewhere = median(tmp_path / "other", resume=True)
    run(elsewhere, 1)
    elsewhere.checkpoint = path
    with pytest.raises(InvalidParameter, match=said):
        elsewhere.core.keep(2, {"w": np.ones(2)})  # at the end of the next round
    assert checkpoint.load(path).facts["run"] != elsewhere.core.state.run


def private(inner):
    return flower.DifferentialPrivacyServerSideFixedClipping(inner, 0.1, 1.0, N)


def test_under_a_strategy_around_this_one_resume_is_refused_and_its_change_of_the_model_is_said_once(tmp_path, caplog):
    with pytest.raises(InvalidParameter, match=r"resume=True goes on in start\(\).*a strategy around this one"):
        run(private(median(tmp_path / "run", resume=True)), 1)
    with caplog.at_level(logging.WARNING, "flwr"):
        run(private(median(tmp_path / "run")), 3)
    assert caplog.text.count("the model of round 1 was changed before it was sent") == 1
    caplog.clear()
    run(median(tmp_path / "plain"), 3)
    assert "was changed" not in caplog.text


def test_a_second_run_at_the_same_time_is_refused_and_the_first_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    path, refused = tmp_path / "run.npz", []

    def meanwhile(server_round, arrays):
        with pytest.raises(InvalidParameter, match=f"process {os.getpid()} on .* writes"):
            run(median(path, resume=True), 3)
        refused.append(server_round)

    median(path).start(LocalGrid(client_app(), N), start(), 2, evaluate_fn=meanwhile)
    assert refused == [0, 1, 2]
    assert checkpoint.load(path).server_round == 2


SAMPLED = {"fraction_train": 0.5, "fraction_evaluate": 0.3, "min_available_nodes": N}


def asked(build, cuts, path, noise=None):
    """The nodes asked in each round, and the last model, of a run that is cut after these rounds; `noise` draws in between."""
    rng, evaluated = random.Random(0), []

    class Grid(LocalGrid):
        def get_node_ids(self):
            nodes = super().get_node_ids()
            rng.shuffle(nodes)  # a SuperLink names its nodes in no order
            random.random()  # Flower's heartbeats and retries draw too
            return nodes

        def send_and_receive(self, messages, *, timeout=None):
            sent = list(messages)
            evaluated.extend(message.metadata.dst_node_id for message in sent if message.metadata.message_type.startswith("eval"))
            return super().send_and_receive(sent, timeout=timeout)

    for rounds in cuts:
        random.seed(7)
        SEED(7)
        strategy = build(checkpoint=path, resume=path is not None)
        result = strategy.start(Grid(client_app(), N), start(), rounds, evaluate_fn=noise)
    return [sorted(report.nodes) for report in strategy.reports], values(result.arrays), evaluated


@pytest.mark.parametrize(
    "build",
    [
        lambda **policy: ours.FedTrimmedAvg(f=1, **SAMPLED, **policy),
        lambda **policy: Robust(rules.Median(f=1), flower.FedAdam(**SAMPLED), **policy),
    ],
)
def test_a_seeded_run_samples_the_same_nodes_whether_or_not_it_was_cut(build, tmp_path):
    def noise(server_round, arrays):
        random.random()

    nodes, model, evaluated = asked(build, (5,), None)
    again, found, seen = asked(build, (2, 3, 5), tmp_path / "run.npz", noise)
    assert nodes == again
    assert evaluated == seen
    np.testing.assert_array_equal(model, found)
    assert len({tuple(row) for row in nodes}) > 1
    assert {len(row) for row in nodes} == {5}


def test_who_seeds_python_alone_has_the_same_nodes_again():
    def nodes():
        random.seed(4)
        strategy = ours.FedMedian(**SAMPLED)
        run(strategy, 3)
        return [sorted(report.nodes) for report in strategy.reports]

    DRAW(5)  # of a generator that nobody seeds
    assert nodes() == nodes()


def test_a_node_that_comes_back_late_changes_no_sample():
    class Late(LocalGrid):
        calls = 0

        def get_node_ids(self):
            self.calls += 1
            return super().get_node_ids()[: N - (self.calls == 1)]

    strategy = ours.FedMedian(**{**SAMPLED, "fraction_train": 1.0})
    strategy.start(Late(client_app(), N), start(), 1)
    assert sorted(strategy.reports[0].nodes) == list(range(1, N + 1))


def test_a_program_s_own_generators_are_not_moved_by_sampling(tmp_path):
    random.seed(3)
    strategy = ours.FedMedian(**SAMPLED)
    run(strategy, 1)
    first = random.random()
    random.seed(3)
    run(ours.FedMedian(**SAMPLED), 4)
    assert random.random() == first


def test_generators_of_the_program_go_on_where_they_were(tmp_path):
    """Clients of a LocalGrid that draw from the global generators."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        model = {"w": Array(message.content["arrays"]["w"].numpy() + DRAW(2) + random.random())}
        return Message(RecordDict({"arrays": ArrayRecord(model), "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    def rounds(count, **policy):
        random.seed(5)
        SEED(5)
        strategy = ours.FedMedian(fraction_evaluate=0.0, min_evaluate_nodes=0, **policy)
        return strategy.start(LocalGrid(app, 5), ArrayRecord({"w": Array(np.zeros(2))}), count).arrays

    path = tmp_path / "run.npz"
    rounds(2, checkpoint=path)
    np.testing.assert_array_equal(values(rounds(4, checkpoint=path, resume=True)), values(rounds(4)))


class Manager(SimpleClientManager):
    def __init__(self, order):
        super().__init__()
        for proxy in sorted(proxies(), key=lambda proxy: (proxy.node_id * order) % 13):
            self.register(proxy)


def test_the_legacy_api_samples_the_same_nodes_whatever_the_order_in_which_they_came(tmp_path):
    parameters = ndarrays_to_parameters(MODEL)

    def nodes(strategy, number, order):
        sampled = strategy.configure_fit(number, parameters, Manager(order))
        evaluated = strategy.configure_evaluate(number, parameters, Manager(order))
        return [[proxy.node_id for proxy, _ in given] for given in (sampled, evaluated)]

    def build(**policy):
        random.seed(9)
        policy |= {"fraction_fit": 0.5, "fraction_evaluate": 0.3, "initial_parameters": parameters}
        made = legacy.FedMedian(checkpoint=tmp_path / "run.npz", **policy)
        made.initialize_parameters(Manager(1))
        return made

    whole = build()
    expected = [nodes(whole, number, 1) for number in (1, 2, 3)]
    whole.core.asked = []
    one_round(whole)
    resumed = build(resume=True)
    random.random()
    assert [nodes(resumed, number, 5) for number in (1, 2)] == expected[1:]
    assert len(expected[0][0]) == 5
    assert expected[0] != expected[1]


class Schedule:
    def __init__(self):
        self.calls = 0


class Decaying(flower.FedAvg):
    """Keeps a number, a list, a generator and an object over the rounds."""

    def __init__(self):
        super().__init__()
        self.rate, self.history, self.rng, self.schedule = 1.0, [], np.random.default_rng(0), Schedule()

    def aggregate_train(self, server_round, replies):
        self.rate *= 0.9
        self.history.append((server_round, float(self.rng.random())))
        return super().aggregate_train(server_round, replies)


def test_the_wrapped_strategy_s_numbers_lists_and_generators_are_the_run_s_and_what_is_not_saved_is_named_once(tmp_path, caplog):
    def rounds(count, **policy):
        strategy = Robust(rules.Median(f=2), Decaying(), **policy)
        run(strategy, count)
        return strategy.strategy

    whole, path = rounds(4), tmp_path / "run.npz"
    with caplog.at_level(logging.WARNING, "flwr"):
        rounds(2, checkpoint=path)
    assert caplog.text.count("not in the checkpoint: Decaying.schedule (Schedule)") == 1
    resumed = rounds(4, checkpoint=path, resume=True)
    assert (resumed.rate, resumed.history) == (whole.rate, whole.history)


class Cooling(Delegating):
    """A user's strategy over an optimiser, with a number of its own that changes from round to round."""

    def __init__(self, strategy):
        self.strategy, self.heat = strategy, 0.1

    def aggregate_train(self, server_round, replies):
        self.heat /= 2
        self.strategy.eta = self.heat
        return self.strategy.aggregate_train(server_round, replies)

    def aggregate_evaluate(self, server_round, replies):
        return self.strategy.aggregate_evaluate(server_round, replies)


def test_a_schedule_over_an_optimiser_goes_on(tmp_path):
    def rounds(count, **policy):
        SEED(1)
        cooling = Cooling(flower.FedAdam())
        random.seed(1)
        return cooling, run(Robust(rules.Median(f=2), cooling, **policy), count).arrays

    (whole, expected), path = rounds(4), tmp_path / "run.npz"
    rounds(2, checkpoint=path)
    resumed, found = rounds(4, checkpoint=path, resume=True)
    assert resumed.heat == whole.heat == 0.1 / 16
    np.testing.assert_array_equal(values(found), values(expected))


def test_a_report_line_is_in_the_file_once_whatever_was_killed_when(tmp_path):
    path, lines = tmp_path / "run.npz", tmp_path / "rounds.jsonl"
    old = json.loads(RoundReport(9, 1, 1, 1, 0, "Mean()", True, True).to_json())
    old.pop("run")
    others = f"{json.dumps(old)}\nno JSON at all\n"
    lines.write_text(others)
    run(median(path, report_path=lines), 2)
    written = lines.read_text()
    assert written.startswith(others)
    mine = written.removeprefix(others).splitlines()
    assert [json.loads(line)["server_round"] for line in mine] == [1, 2]
    later = mine[1].replace('"server_round": 2', '"server_round": 3')
    for damage in (f"{written}{later}\n{mine[0]}\n", written[:-20], f"{others}{mine[0]}\n", f"{written}{mine[0][:12]}", others):
        lines.write_text(damage)
        run(median(path, report_path=lines, resume=True), 2)
        assert lines.read_text() == written
    lines.write_text(f"{written}{later}\n")
    run(median(path, report_path=lines, resume=True), 4)
    found = lines.read_text().removeprefix(others).splitlines()
    assert [json.loads(line)["server_round"] for line in found] == [1, 2, 3, 4]
    assert len({json.loads(line)["run"] for line in found}) == 1
    assert RoundReport.from_json(json.dumps(old)).run == ""


def test_the_line_of_a_round_comes_after_its_checkpoint(tmp_path):
    lines, seen = tmp_path / "rounds.jsonl", []
    strategy = median(tmp_path / "run.npz", report_path=lines)
    strategy.core.keeper.save = lambda make: seen.append(lines.exists() and len(lines.read_text().splitlines()))
    run(strategy, 2)
    assert seen == [False, 1]


def test_a_round_that_ends_the_run_is_in_the_file_and_its_model_is_kept(tmp_path):
    lines, everyone = tmp_path / "rounds.jsonl", range(1, N + 1)

    def late(reply):
        return nan(reply) if reply.metadata.message_type.startswith("train") and strategy.reports else reply

    strategy = ours.FedMedian(report_path=lines, on_infeasible="error")
    with pytest.raises(InfeasibleRound) as caught:
        run(strategy, 3, spoil=spoiled(late, everyone))
    assert len(lines.read_text().splitlines()) == 2
    assert caught.value.__notes__ == ["the model after round 1 is the strategy's last_model"]
    expected = run(ours.FedMedian(), 1).arrays
    np.testing.assert_array_equal(np.concatenate([value.ravel() for value in strategy.last_model.values()]), values(expected))


@pytest.fixture
def full_disk():
    """A function after which no file of this process grows beyond so many bytes; undone in the end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_for_a_while_costs_loud_lines_and_nothing_else(tmp_path, caplog, full_disk):
    path, lines, unlimited = tmp_path / "run.npz", tmp_path / "rounds.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)[0]

    def disk(server_round, arrays):
        full_disk({1: 100, 2: 100, 3: unlimited}.get(server_round, unlimited))

    strategy = median(path, report_path=lines)
    with caplog.at_level(logging.INFO, "flwr"):
        result = strategy.start(LocalGrid(client_app(), N), start(), 4, evaluate_fn=disk)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [sum(f"round {number} could not be saved to {path}" in text for text in said) for number in (1, 2, 3, 4)] == [0, 1, 1, 0]
    assert sum("the run goes on, but a restart would go on after round 1" in text for text in said) == 2
    assert sum(f"reports could not be written to {lines}" in text for text in said) == 2
    assert f"round 4 is saved to {path} again" in caplog.text
    np.testing.assert_array_equal(values(result.arrays), values(run(ours.FedMedian(), 4).arrays))
    assert [json.loads(line)["server_round"] for line in lines.read_text().splitlines()] == [1, 2, 3, 4]
    assert checkpoint.load(path).server_round == 4
    assert sorted(item.name for item in tmp_path.iterdir()) == ["rounds.jsonl", "run.npz"]


@pytest.mark.parametrize("name", ["checkpoint", "report_path"])
def test_places_that_cannot_be_written_are_refused_before_the_first_round(name, tmp_path, full_disk):
    (tmp_path / "folder").mkdir()
    for value, said in (
        (tmp_path / "folder", "must be a file"),
        ("/dev/null", "must be a file"),
        (5, "must be the path of a file"),
        ("a\0b", "must be the path of a file"),
        (tmp_path / "no" / "file", "must lie in a folder that exists"),
    ):
        with pytest.raises(InvalidParameter, match=f"{name} {said}"):
            ours.FedMedian(**{name: value})
    with pytest.raises(InvalidParameter, match="must be two files"):
        ours.FedMedian(checkpoint=tmp_path / "x", report_path=tmp_path / "x")
    full_disk(100)
    with pytest.raises(InvalidParameter, match=f"{name} must be where it can be written to, got .*: File too large"):
        ours.FedMedian(**{name: tmp_path / "x"})
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


def test_relative_paths_are_taken_from_the_folder_at_construction_and_logged_absolute(tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    strategy = ours.FedMedian(checkpoint="run.npz", report_path="rounds.jsonl")
    assert (strategy.checkpoint, strategy.report_path) == (str(tmp_path / "run.npz"), str(tmp_path / "rounds.jsonl"))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    with caplog.at_level(logging.INFO, "flwr"):
        run(strategy, 1)
    assert f"after each round the run is saved to {tmp_path / 'run.npz'}, and reported in {tmp_path / 'rounds.jsonl'}" in caplog.text
    assert sorted(item.name for item in tmp_path.iterdir()) == ["other", "rounds.jsonl", "run.npz"]


def test_what_a_killed_writer_left_is_cleared_away(tmp_path):
    path = tmp_path / "run.npz"
    run(median(path), 1)
    (tmp_path / ".run.npz.tmp").write_bytes(b"half")
    (tmp_path / "run.npz.lock").write_text("process 1 on nowhere")
    run(median(path, resume=True), 2)
    assert [item.name for item in tmp_path.iterdir()] == ["run.npz"]
