"""`on_report=`: called once a round in both APIs, and no end of the run whatever it does; the times and bounds that reports have."""

import json
import logging

import pytest
from flwr.common import ndarrays_to_parameters

import flwr_byzantine as ours
from flwr_byzantine import legacy, rules
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.quarantine import Quarantine
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from tests.support.federation import N, client_app, start
from tests.support.grids import SlowGrid
from tests.support.legacy import MODEL, server
from tests.support.replies import nan, spoiled


class Listener:
    """Notes all that it is told."""

    def __init__(self):
        self.reports, self.evaluations = [], []

    def __call__(self, report):
        self.reports.append(report)

    def evaluated(self, *told):
        self.evaluations.append(told)


def broken(report):
    raise RuntimeError("no\x1b[2Jnetwork")


def run(strategy, rounds=3, **arguments):
    strategy.start(LocalGrid(client_app(), N, spoil=spoiled(nan, (4,))), start(), rounds, **arguments)
    return strategy


def test_callbacks_are_told_of_each_round_and_each_evaluation_once():
    listener, plain = Listener(), []
    strategy = run(ours.Krum(f=2, on_report=[listener, plain.append]), evaluate_fn=lambda number, _: {"accuracy": number / 10})
    assert listener.reports == plain == strategy.reports
    assert [report.server_round for report in plain] == [1, 2, 3]
    at_clients = [(number, "clients", {"accuracy": 0.5}) for number in (1, 2, 3)]
    on_server = [(number, "server", {"accuracy": number / 10}) for number in (0, 1, 2, 3)]
    assert sorted(listener.evaluations) == sorted(at_clients + on_server)
    assert [report.evaluation.get("server") for report in plain] == [{"accuracy": number / 10} for number in (0, 1, 2)]


def test_callbacks_are_told_under_the_legacy_api():
    listener, model = Listener(), ndarrays_to_parameters(MODEL)
    given = {"initial_parameters": model, "min_available_clients": 7, "fraction_evaluate": 0.0}
    strategy = legacy.FedMedian(f=1, on_report=listener, evaluate_fn=lambda *_: (0.25, {"accuracy": 0.75}), **given)
    server(strategy).fit(num_rounds=2, timeout=None)
    assert listener.reports == strategy.reports
    assert [(number, where) for number, where, _ in listener.evaluations] == [(0, "server"), (1, "server"), (2, "server")]
    assert listener.evaluations[-1][2] == {"loss": 0.25, "accuracy": 0.75}


def test_a_callback_that_raises_is_logged_and_noted_and_the_others_are_called(tmp_path, caplog):
    listener, path = Listener(), tmp_path / "rounds.jsonl"
    with caplog.at_level(logging.ERROR, "flwr"):
        strategy = run(ours.FedMedian(f=2, on_report=[broken, listener], report_path=path))
    said = "on_report: broken raised RuntimeError: no\\x1b[2Jnetwork"
    assert [report.notes[-1] for report in strategy.reports] == [said] * 3
    assert [json.loads(line)["notes"][-1] for line in path.read_text().splitlines()] == [said] * 3
    assert [record.getMessage() for record in caplog.records] == [f"flwr-byzantine: round {n}: {said}; the run goes on" for n in (1, 2, 3)]
    assert len(listener.reports) == 3


def test_an_interruption_by_the_user_is_no_failure_of_a_callback(tmp_path):
    def interrupt(report):
        raise KeyboardInterrupt

    path = tmp_path / "rounds.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(ours.FedMedian(f=2, on_report=interrupt, report_path=path))
    assert len(path.read_text().splitlines()) == 1


def test_a_run_that_goes_on_tells_of_its_own_rounds_only(tmp_path):
    first, second, path = Listener(), Listener(), tmp_path / "run.npz"
    run(ours.Krum(f=2, checkpoint=path, on_report=first), 2)
    run(ours.Krum(f=2, checkpoint=path, resume=True, on_report=second), 4)
    assert [[report.server_round for report in found.reports] for found in (first, second)] == [[1, 2], [3, 4]]


def test_a_round_that_ends_the_run_is_told_of():
    listener = Listener()
    strategy = ours.Krum(f=5, on_infeasible="error", on_report=listener)
    with pytest.raises(ours.InfeasibleRound):
        run(strategy)
    assert [report.aggregated for report in listener.reports] == [False]


def test_a_report_says_how_long_each_node_took():
    strategy = ours.FedMedian(f=1, grace=0.2, fraction_evaluate=0.0, min_available_nodes=5)
    strategy.start(SlowGrid([0.0, 0.0, 0.3, 0.0, None]), start(), 2)
    report = strategy.reports[1]  # in the first round the clients start
    seconds = {node: entry.seconds for node, entry in report.nodes.items()}
    assert seconds[5] is None
    assert max((node for node in seconds if node != 5), key=seconds.get) == 3
    assert 0.3 <= seconds[3] <= report.seconds
    assert report.ended > 1e9


def test_a_report_says_what_the_rule_needs_and_declares():
    report = run(ours.Krum(f=2)).reports[-1]
    assert (report.n_valid, report.min_n, report.kappa) == (N - 1, rules.Krum(f=2).min_n(), rules.Krum(f=2).kappa(N - 1))
    assert report.planned == 3


def test_a_report_says_who_went_into_quarantine_and_until_when():
    strategy = run(ours.FedMedian(f=2, quarantine=Quarantine(threshold=1.5, rounds=4)), 5)
    assert [report.banned for report in strategy.reports] == [{}, {4: 6}, {}, {}, {}]
    assert [4 in report.nodes for report in strategy.reports] == [True, True, False, False, False]


def test_a_line_of_another_version_is_read():
    report = run(ours.FedMedian(f=2, certificate=True)).reports[-1]
    line = json.loads(report.to_json())
    newer = {**line, "weather": "fine", "nodes": {node: {**entry, "mood": 1} for node, entry in line["nodes"].items()}}
    newer["certificate"] = {**line["certificate"], "stamp": "x"}
    assert RoundReport.from_json(json.dumps(newer)) == report
    older = {name: line[name] for name in ("server_round", "n_sampled", "n_replied", "n_valid", "f", "rule", "feasible", "aggregated")}
    older["nodes"] = {"7": {"status": "kept", "reason": "", "score": None, "weight": 1.0}}
    found = RoundReport.from_json(json.dumps(older))
    assert (found.certificate, found.notes, found.nodes) == (None, (), {7: NodeReport("kept", weight=1.0)})
