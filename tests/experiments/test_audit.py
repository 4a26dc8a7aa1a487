"""The audit is the test: our strategies survive every hostile reply, Flower's do not, and the command says so."""

import json
from functools import partial
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from flwr_byzantine import InvalidParameter, legacy, strategy
from flwr_byzantine.experiments import audit as audits
from flwr_byzantine.experiments.audit import BATTERY, audit, load_strategy, runner
from flwr_byzantine.experiments.audit.federation import GOAL, HONEST, N, message_run
from flwr_byzantine.experiments.audit.legacy import legacy_run
from flwr_byzantine.experiments.audit.runner import placements
from flwr_byzantine.experiments.cli import app
from flwr_byzantine.strategy import __all__ as names

INTEGERS = ("dtype: int", "dtype: uint8")  # which are numbers like others, on the way to zero
WEAKER = {  # rules that promise less by their own papers: what then bends the model
    "CGE": {"update times -1", "subnormal", *INTEGERS},  # keeps small rows, whatever their direction
    "CenteredClipping": {"all", "one", "update times", "subnormal", "huge", "forged", "20 times", *INTEGERS},  # all pull by the radius
    "ClippedClustering": {"update times 100"},  # rows in the honest direction are clipped, not dropped
    "FoolsGold": {"all", "one", "update times", "huge", "forged", "20 times", "subnormal", *INTEGERS},  # a single attacker is no Sybil
    "ZenoPlusPlus": {
        "all",
        "one",
        "subnormal",
        "huge",
        "forged",
        "20 times",
        *INTEGERS,
    },  # what goes along with the server counts at the server's length
    **{name: {""} for name in ("DeepSight", "FLANDERS", "FLDetector", "RLR")},  # what they let pass, in a first round anything, is averaged
}
OPTIONS: dict[str, dict[str, Any]] = {
    "CRFL": {"base": "trimmed-mean"},
    "Zeno": {
        "server_loss": lambda _round, arrays: sum(np.square(x - y).sum() for x, y in zip(arrays.values(), GOAL.values(), strict=True))
    },
    "ZenoPlusPlus": {"server_update": lambda server_round, arrays: half_way(server_round, arrays)},
}
# "Mean" withstands nobody, "FLTrust" needs a function of the server's: they have tests of their own; steps of "SignSGD" have one length
OTHERS = {"NodeReport", "Quarantine", "RoundReport", "LoRA", "Robust", "Buffered", "ByzantineSGD", "FLTrust", "Mean", "SignSGD"}
STRATEGIES = sorted(set(names) - OTHERS)
# Which replies are valid is decided before any rule sees them: rules differ in what they make of numbers, and of fewer replies
NUMBERS = ("all ", "one ", "update times ", "subnormal", "dtype: ", "float64 ", "huge ", "key missing", "error reply", "no reply")
FOR_RULES = tuple(case for case in BATTERY if case.name.startswith(NUMBERS))
FORGED = tuple(case for case in BATTERY if case.tamper is not None)
TAKEN = {  # on the Message API: what is no lie about the reply, or at most one reply of several
    *("forged: sent to another node", "forged: of another round", "forged: of another run", "forged: of type 'train'"),
    *("forged: of type 'evaluate'", "content: metrics beside", "content: a config beside", "content: other names of records"),
    *("content: a config in place of the metrics", "twice: the same", "twice: the second far away", "20 times far away"),
    *("the last reply again", "twice: an error, then far away"),
}
LOOP = ["initialize_parameters", "evaluate", "configure_fit", "aggregate_fit", "evaluate", "configure_evaluate", "aggregate_evaluate"]
places = pytest.mark.parametrize("where", [[(12, 13)], pytest.param([(1,)], marks=pytest.mark.slow)], ids=["two", "one"])
in_both_apis = pytest.mark.parametrize("legacy", [False, True], ids=["message", "legacy"])


@in_both_apis
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_survives_what_reaches_its_rule(name, legacy):
    assert len(FOR_RULES) == 38
    check_survives(name, legacy, FOR_RULES, where=[(12, 13)])


@pytest.mark.slow
@in_both_apis
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_survives_the_whole_battery(name, legacy):
    check_survives(name, legacy, BATTERY, where=[(1,), (12, 13)])


def check_survives(name, legacy, cases, where):
    module = "flwr_byzantine.legacy" if legacy else "flwr_byzantine"
    findings = audit(load_strategy(f"{module}:{name}", 2, OPTIONS.get(name)), cases, 2, legacy, where=where)
    assert len(findings) == len(where) * sum(case.legacy or not legacy for case in cases)
    bad = [finding for finding in findings if finding.outcome != "survived"]
    allowed = tuple(WEAKER.get(name, ()))
    assert [finding for finding in bad if not finding.case.startswith(allowed)] == []
    assert {finding.outcome for finding in bad} <= {"poisoned"} | ({"skipped"} if name == "FoolsGold" else set())  # kept from moving


def far_from_goal(arrays):
    """The server's loss."""
    return sum(np.square(value - goal).sum() for value, goal in zip(arrays.values(), GOAL.values(), strict=True))


def half_way(server_round, arrays):
    """The server's own training: half of the way, as the honest clients go."""
    if isinstance(arrays, list):
        return [(value + goal) / 2 for value, goal in zip(arrays, GOAL.values(), strict=True)]
    return {name: (array.numpy() + GOAL[name]) / 2 for name, array in arrays.items()}


@places
@pytest.mark.parametrize("api", [strategy, legacy], ids=["message", "legacy"])
def test_fltrust_bends_only_towards_rows_that_point_its_way_and_not_far(api, where):
    make = partial(api.FLTrust, f=2, server_update=half_way)
    bad = [finding for finding in audit(make, FOR_RULES, 2, api is legacy, where=where) if finding.outcome != "survived"]
    assert all(finding.case.startswith(("all", "one")) and finding.outcome == "poisoned" for finding in bad)
    assert all(float(finding.detail.split()[0]) < 7 for finding in bad)


@places
@pytest.mark.parametrize("api", [strategy, legacy], ids=["message", "legacy"])
def test_the_mean_is_never_malformed_but_poisoned(api, where):
    findings = audit(api.Mean, FOR_RULES, 2, api is legacy, where=where)
    assert {finding.outcome for finding in findings} == {"survived", "poisoned"}


@in_both_apis
@pytest.mark.parametrize("name", ["Krum", pytest.param("FedTrimmedAvg", marks=pytest.mark.slow)])
def test_a_rule_that_chooses_and_one_that_trims_survive_the_whole_battery(name, legacy):
    check_survives(name, legacy, BATTERY, where=[(1,)])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Krum", "FedTrimmedAvg"])
def test_they_survive_wherever_the_attackers_stand(name):
    findings = audit(load_strategy(f"flwr_byzantine:{name}", 2), BATTERY, 2)
    assert len({finding.nodes for finding in findings}) == len(placements(2)) == 6
    assert {finding.outcome for finding in findings} == {"survived"}


@pytest.mark.parametrize(
    ("name", "legacy"), [("serverapp.strategy:Krum", False), ("serverapp.strategy:FedMedian", False), ("server.strategy:Krum", True)]
)
def test_flowers_own_strategies_do_not(name, legacy):
    findings = audit(load_strategy(f"flwr.{name}", 2), BATTERY, 2, legacy, where=[(1,)])
    crashed = {finding.case for finding in findings if finding.outcome == "crashed"}
    assert {"key missing", "bytes: garbage", "header: shape: 10^12 elements"} <= crashed
    if not legacy:
        assert len(crashed) > 20


def test_flowers_strategies_end_where_a_reply_cannot_be_pulled_and_take_what_is_forged():
    """The Grid of an audit does as Flower's: it believes what replies say, and raises for all where one cannot be read."""
    for name in ("FedTrimmedAvg", "FedAvg"):
        findings = audit(load_strategy(f"flwr.serverapp.strategy:{name}", 2), FORGED, 2, where=[(1,)])
        crashed = {finding.case for finding in findings if finding.outcome == "crashed"}
        assert {case.name for case in FORGED if case.name.startswith("not to be pulled")} <= crashed
        assert {"content: an Array", "content: text"} <= crashed
    poisoned = {finding.case for finding in findings if finding.outcome == "poisoned"}
    assert {"twice: the second far away", "forged: another node's reply"} <= poisoned


@pytest.mark.parametrize("start", [1, 12])
def test_the_hostile_node_is_named_and_nobody_else_whatever_it_writes_on_its_reply(start):
    nodes = (start, start + 1)
    for case in FORGED:
        built = strategy.FedTrimmedAvg(f=2)
        message_run(built, case, nodes)
        for report in built.reports:
            assert report.n_valid >= N - len(nodes), case.name
            bad = {node for status in ("invalid", "failed", "missing") for node in report.with_status(status)}
            assert bad <= set(nodes), case.name
            assert bad == set(nodes) or case.name in TAKEN, case.name


def test_legacy_strategies_are_driven_by_flowers_own_loop():
    calls = []

    class Watched(legacy.FedMedian):
        def __getattribute__(self, name):
            if name in LOOP:
                calls.append(name)
            return super().__getattribute__(name)

    assert legacy_run(Watched(f=2), HONEST, ())[0] is not None
    assert [name for name in calls if name in LOOP] == [*LOOP[:2], *2 * LOOP[2:]]


def test_every_outcome_can_be_found():
    """The judge tells poisoned, non-finite, changed and skipped from survived, on strategies that show them."""
    found = {finding.outcome for finding in audit(load_strategy("flwr.serverapp.strategy:FedAvg", 2), BATTERY, 2, where=[(1,)])}
    assert found >= {"survived", "crashed", "poisoned", "non-finite", "metrics spoilt"}
    cases = [case for case in BATTERY if case.name == "keys in another order"]
    everywhere = audit(load_strategy("flwr.serverapp.strategy:FedMedian", 2), cases, 2, where=[(node,) for node in range(1, 14)])
    assert "structure changed" in {finding.outcome for finding in everywhere}  # where it answers first
    half = [case for case in BATTERY if case.name == "dtype: float64"]
    (finding,) = audit(load_strategy("flwr.serverapp.strategy:FedMedian", 2), half, 2, where=[(1,)])
    assert finding.outcome == "dtype changed"


def test_the_command_says_what_broke_by_its_exit_status(monkeypatch):
    monkeypatch.setattr(runner, "placements", lambda f: [(1,)])
    monkeypatch.setattr(audits, "BATTERY", BATTERY[::7])
    clean = CliRunner().invoke(app, ["audit", "flwr_byzantine:FedMedian", "--json"])
    assert clean.exit_code == 0
    assert {finding["outcome"] for finding in json.loads(clean.output)} == {"survived"}
    said = CliRunner().invoke(app, ["audit", "flwr_byzantine.legacy:FedMedian", "--legacy"])
    legacy = sum(case.legacy for case in BATTERY[::7])
    assert said.output == f"flwr_byzantine.legacy:FedMedian: {legacy} of {legacy} kinds of hostile reply survived\n"
    broken = CliRunner().invoke(app, ["audit", "flwr.serverapp.strategy:FedMedian", "--f", "1"])
    assert broken.exit_code == 1
    assert "crashed" in broken.output


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("no.such.module:X", "{}", "expected MODULE:STRATEGY"),
        ("flwr_byzantine", "{}", "expected MODULE:STRATEGY"),
        ("flwr_byzantine:Krumm", "{}", "the module flwr_byzantine has no 'Krumm'; did you mean 'Krum'? expected MODULE:STRATEGY"),
        ("flwr_byzantine:Krum", '{"no_such": 1}', "unknown option of 'flwr_byzantine:Krum' 'no_such'; choose one of: "),
        ("flwr_byzantine:Krum", '{"spil": 1}', "did you mean 'spill'?"),
        ("flwr_byzantine:Krum", '{"grace": -1}', "cannot be made with"),
        ("flwr_byzantine:Krum", "{", "--options must be JSON"),
    ],
)
def test_mistakes_on_the_command_line_get_one_clear_sentence(name, options, message):
    result = CliRunner().invoke(app, ["audit", name, "--options", options])
    assert isinstance(result.exception, InvalidParameter)
    assert message in str(result.exception)


def test_a_strategy_is_judged_by_where_honest_replies_take_it():
    """SLSGD goes half of the way: its own end is no fault, and hostile replies that bend a mean that goes as far are seen."""
    cases = [case for case in BATTERY if case.name.startswith("update times")]
    assert {finding.outcome for finding in audit(load_strategy("flwr_byzantine:SLSGD", 2), cases, 2, where=[(12, 13)])} == {"survived"}
    none = load_strategy("flwr_byzantine:SLSGD", 0)  # half of the way to the mean
    assert {finding.outcome for finding in audit(none, cases, 2, where=[(12, 13)])} == {"poisoned"}


def test_a_strategy_that_moves_nowhere_is_not_audited():
    with pytest.raises(InvalidParameter, match="fails when all replies are honest: skipped the model stayed as it was"):
        audit(partial(strategy.FLTrust, server_update=lambda _round, arrays: arrays), [], 2)
