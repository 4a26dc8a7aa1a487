"""No reply and no silence ends, bends or stalls a run: a real federation of five, one node of which plays each mode in turn.

The hostile node has a registered key, and no use for a SuperNode (`tests/deployment/hostile/`). Honest nodes all send what they
were sent plus one, so that the right model is known bit for bit, whoever of them is mixed.
"""

import json
import re
import sys
from functools import cached_property
from pathlib import Path

import pytest

from tests.deployment.hostile.modes import FORGED, MODES
from tests.support.deployment import Federation, needs_keys, write_app

pytestmark = [pytest.mark.slow, needs_keys]
HERE = Path(__file__).parent / "hostile"
HONEST, HOSTILE, AGAIN = 4, 4, 5  # honest nodes; indices of the hostile node, and of the id under which it comes back
GRACE, SLACK = 3.0, 5.0  # seconds
BASE = 100 << 20  # bytes that a round may take, whatever comes
STATUS = {  # of the hostile node, "invalid" where nothing is said here
    **dict.fromkeys(("honest", "twice"), "kept"),
    **dict.fromkeys(("silent", "late", "last-round", "announced", "drip"), "missing"),
    **dict.fromkeys(("error-text", "reconnect"), "failed"),
    "forged-by-guess": "rejected",
}
PLAYS = {  # API and kind of exchange: the mode of each round
    ("message", "train"): """honest replay twice forged-source forged-reply-id forged-by-guess other-type garbage-body no-content
        no-message unknown-child content-config record-deep npy-dims pickle chunk-index array-names metric-keys late silent
        last-round announced drip error-text repeated many-objects chunk-bomb big reconnect garbage-body""",
    ("message", "evaluate"): """honest forged-both garbage-body no-content content-metrics record-names metric-names metric-list
        config-huge announced error-text""",
    ("legacy", "train"): "honest forged-source garbage-body content-array chunk-bomb late announced",
    ("legacy", "evaluate"): "honest garbage-body content-metrics announced",
}
EXCHANGES = [(*play, number, mode) for play, modes in PLAYS.items() for number, mode in enumerate(modes.split(), 1)]
HOSTILE_EXCHANGES = [exchange for exchange in EXCHANGES if exchange[3] != "honest"]  # the first of all compiles as well
each_api = pytest.mark.parametrize("api", ["message", "legacy"])
each_exchange = pytest.mark.parametrize(("api", "kind", "number", "mode"), EXCHANGES)
each_hostile = pytest.mark.parametrize(("api", "kind", "number", "mode"), HOSTILE_EXCHANGES)
each_round = pytest.mark.parametrize(("api", "kind", "number", "mode"), [exchange for exchange in EXCHANGES if exchange[1] == "train"])
each_evaluation = pytest.mark.parametrize(("api", "kind", "number", "mode"), [each for each in EXCHANGES if each[1] == "evaluate"])


class Played:
    """One run that has ended, and what is known of its exchanges."""

    def __init__(self, federation, api):
        texts = [(HERE / f"{name}.py").read_text() + f"\napp = {api}\n" for name in ("server_app", "client_app")]
        app = write_app(federation.folder / api, *texts, train="", evaluate="", grace=0.0)
        self.run = federation.run(app, grace=GRACE, train=PLAYS[api, "train"], evaluate=PLAYS[api, "evaluate"])
        self.indices, self.found = {str(node): index for index, node in federation.node_ids.items()}, self.run.result(timeout=600)
        self.folder, self.status = self.run.results.with_suffix(".told"), self.run.status()

    @cached_property
    def exchanges(self):
        """(kind, round) -> what the ServerApp noted."""
        return {(each["kind"], each["round"]): each for each in self.found["exchanges"] if "decided" in each}

    @cached_property
    def diary(self):
        """(kind, round) -> what the hostile node noted."""
        diary = map(json.loads, (self.folder / "diary").read_text().splitlines())
        return {(each["phase"], each["round"]): each for each in diary}

    def honest(self, kind, number):
        """When the last honest client had made its reply."""
        return max(json.loads(path.read_text()) for path in self.folder.glob(f"{kind}-{number}-*.done"))

    def report(self, number):
        """Index of a node -> what the report of a round of training says of it."""
        report = next(report for report in self.found["reports"] if report["server_round"] == number)
        return {self.indices[node]: entry for node, entry in report["nodes"].items()}


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    with Federation(tmp_path_factory.mktemp("federation"), nodes=HONEST) as made:
        keys = [made.register(index) and f"node{index}" for index in (HOSTILE, AGAIN)]
        program = (sys.executable, "-m", "tests.deployment.hostile.node", f"127.0.0.1:{made.port}", "ca.crt", *keys)
        made.launch("hostile", *program)
        yield made


@pytest.fixture(scope="module")
def played(federation):
    """API -> its run."""
    return {api: Played(federation, api) for api in ("message", "legacy")}


def test_every_mode_has_its_round():
    assert {mode for *_, mode in EXCHANGES} == set(MODES)


@each_exchange
def test_the_mode_was_played(played, api, kind, number, mode):
    noted = played[api].diary[kind, number]
    assert [noted["mode"], noted["error"]] == [mode, ""]


@each_api
def test_the_run_ends_as_any_other(played, api):
    assert played[api].status == "finished:completed"
    assert set(played[api].exchanges) == {(kind, number) for name, kind, number, _ in EXCHANGES if name == api}
    assert not (played[api].folder / "pickled").exists()


@each_exchange
def test_what_comes_of_it_is_what_comes_without_the_attacker(played, api, kind, number, mode):
    expected = {"train": [float(number)], "evaluate": {"message": {"acc": 0.5}, "legacy": {"loss": 0.5, "acc": 0.5}}[api]}
    assert played[api].exchanges[kind, number]["found"] == expected[kind]


@each_hostile
def test_nobody_waits_longer_than_the_grace_period(played, api, kind, number, mode):
    assert played[api].exchanges[kind, number]["decided"] - played[api].honest(kind, number) <= GRACE + SLACK


@each_hostile
def test_the_server_holds_three_times_what_was_uploaded_at_most(played, api, kind, number, mode):
    exchange = played[api].exchanges[kind, number]
    most, before = played[api].run.peak(exchange["start"], exchange["decided"])
    assert most - before <= 3 * played[api].diary[kind, number]["uploaded"] + BASE


@each_round
def test_the_hostile_node_is_named_and_nobody_else(played, api, kind, number, mode):
    report = played[api].report(number)
    assert [report.pop(index)["status"] for index in range(HONEST)] == ["kept"] * HONEST
    (entry,) = report.values()
    assert entry["status"] == STATUS.get(mode, "invalid")
    assert entry["reason"].isprintable()
    assert len(entry["reason"]) <= 200
    assert bool(entry["reason"]) == (entry["status"] != "kept")


@each_evaluation
def test_the_log_names_it_in_an_evaluation_and_nobody_else(played, api, kind, number, mode):
    named = re.findall(rf"round {number}, evaluation: node (\d+) (\w+): \S", played[api].run.log)
    status = STATUS.get(mode, "invalid")
    assert [(played[api].indices[node] >= HONEST, said) for node, said in named] == ([] if status == "kept" else [(True, status)])


@each_api
def test_the_log_is_of_the_server_alone(played, api):
    lines = played[api].run.log.replace("\x1b[92m", "").replace("\x1b[93m", "").replace("\x1b[91m", "").replace("\x1b[0m", "").splitlines()
    assert all(line.replace("\t", "").isprintable() for line in lines)
    assert not any(line.startswith(FORGED[:4]) and FORGED[5:] in line[:60] for line in lines)
    assert max(map(len, lines)) <= 1000
