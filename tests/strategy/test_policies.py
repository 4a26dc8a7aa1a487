"""Policies and quarantine: defaults, edges, and the records of nodes."""

from dataclasses import FrozenInstanceError, fields

import pytest

from flwr_byzantine import InvalidParameter, LoRA
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.quarantine import Ledger, Quarantine
from flwr_byzantine.strategy.report import NodeReport, RoundReport

DEFAULTS = {
    "on_infeasible": "skip",
    "max_skipped_rounds": 5,
    "on_missing": "keep-f",
    "weighting": "uniform",
    "report_path": None,
    "on_report": None,
    "certificate": False,
    "node_timeout": 600.0,
    "reply_timeout": None,
    "min_valid_replies": None,
    "grace": None,
    "checkpoint": None,
    "resume": False,
    "run_name": None,
    "quarantine": None,
    "server_update": None,
    "server_loss": None,
    "server_predict": None,
    "spill": None,
    "judge": "trained",
    "shared": None,
    "scale": None,
    "lora": None,
    "reproducible": False,
    "replies_path": None,
    "replies_kept": 10,
}
EDGES = {
    "on_infeasible": (["skip", "error"], ["raise", None]),
    "max_skipped_rounds": ([1], [0, 1.5]),
    "on_missing": (["keep-f", "lower-f"], ["skip", None]),
    "judge": (["all", "*.weight", ["a", "b.*"], [0, 2], bool], ["", [], [None], [True], 3, None]),
    "shared": (["all", "trained", "body.*", ["a", "b.*"], [0, 2], bool, None], ["", [], [None], [True], 3]),
    "scale": (["per-array", None], ["per-layer", True]),
    "node_timeout": ([0.0], [-1e-9, None]),
    "weighting": (["uniform", "capped"], ["examples"]),
    "certificate": ([True, False], [1]),
    "reply_timeout": ([1e-9, None, max], [0.0, -1.0, "long"]),
    "min_valid_replies": ([1, None], [0]),
    "on_report": ([print, [print, repr], (), None], [3, [print, 3], "print", RoundReport]),
    "grace": ([0.0, None], [-1e-9, "long"]),
    "resume": ([True], [1]),
    "run_name": (["seed 1", None], [1]),
    "quarantine": ([Quarantine(), None], [True]),
    "lora": ([LoRA(alpha=8), None], [8, "svd"]),
    "reproducible": ([True, False], [1, None]),
    "replies_kept": ([1], [0, 1.5, None]),
}


def test_the_defaults_are_those_that_are_documented():
    assert {item.name: item.default for item in fields(Policy)} == DEFAULTS
    expected = {"invalid": 1.0, "rejected": 0.0, "failed": 0.0, "missing": 0.0, "decay": 0.9, "threshold": 2.5, "rounds": 20, "limit": 10}
    expected["detected"] = 0.0
    assert vars(Quarantine()) == expected


@pytest.mark.parametrize("name", EDGES)
def test_a_policy_is_refused_just_beyond_its_range_and_not_before(name):
    taken, refused = EDGES[name]
    for value in taken:
        assert getattr(Policy(**{name: value}), name) == value
    policy = Policy()
    for value in refused:
        with pytest.raises(InvalidParameter, match=f"strategy: {name} must be"):
            setattr(policy, name, value)
        assert getattr(policy, name) == DEFAULTS[name]


def test_policies_that_do_not_go_together_are_refused(tmp_path):
    Policy(resume=True, checkpoint=tmp_path / "run", report_path=tmp_path / "log", spill=tmp_path, server_update=print).check_policy()
    for wrong, message in (
        ({"resume": True}, "resume=True needs checkpoint="),
        ({"server_update": 3}, "server_update must be a function"),
        ({"report_path": tmp_path / "no" / "log"}, "report_path must lie in a folder that exists"),
        ({"checkpoint": tmp_path / "no" / "run"}, "checkpoint must lie in a folder that exists"),
        ({"spill": tmp_path / "no"}, "spill must be a folder that exists"),
        ({"spill": 5}, "spill must be a folder that exists"),
    ):
        with pytest.raises(InvalidParameter, match=message):
            Policy(**wrong).check_policy()


QUARANTINE_EDGES = {
    **{name: ([0.0], [-0.1]) for name in ("invalid", "rejected", "failed", "missing")},
    "decay": ([0.0, 1.0], [-0.1, 1.1]),
    "threshold": ([1e-9], [0.0]),
    "rounds": ([0], [-1]),
    "limit": ([1], [0]),
}


@pytest.mark.parametrize("name", QUARANTINE_EDGES)
def test_conditions_of_quarantine(name):
    taken, refused = QUARANTINE_EDGES[name]
    for value in taken:
        assert getattr(Quarantine(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(InvalidParameter, match=f"Quarantine: {name} must be"):
            Quarantine(**{name: value})
    with pytest.raises(FrozenInstanceError):
        setattr(Quarantine(), name, 1)


def entered(ledger, number, **statuses):
    nodes = {int(name.removeprefix("n")): NodeReport(status) for name, status in statuses.items()}
    return ledger.update(RoundReport(number, len(nodes), len(nodes), len(nodes), 0, "", True, True, "", nodes))


def test_a_record_decays_and_adds_the_verdicts_weight():
    ledger = Ledger(Quarantine(invalid=1.0, rejected=0.25, failed=0.5, missing=0.125, decay=0.5, threshold=10.0))
    for status, expected in (("invalid", 1.0), ("rejected", 0.75), ("kept", 0.375), ("failed", 0.6875), ("missing", 0.46875)):
        assert entered(ledger, 1, n1=status) == []
        assert ledger.records == {1: expected}


def test_a_ban_begins_at_the_threshold_and_ends_after_its_rounds():
    ledger = Ledger(Quarantine(decay=1.0, threshold=2.0, rounds=3))
    assert entered(ledger, 1, n1="invalid", n2="kept") == []
    assert entered(ledger, 2, n1="invalid", n2="kept") == [1]
    assert ledger.banned == {1: 5}
    assert [ledger.allows(1, number) for number in (3, 5, 6)] == [False, False, True]
    assert entered(ledger, 5, n2="kept") == []
    assert ledger.banned
    entered(ledger, 6, n1="invalid")
    assert (ledger.banned, ledger.records[1]) == ({}, 1.0)
    forever = Ledger(Quarantine(threshold=1.0, rounds=0))
    assert entered(forever, 1, n1="invalid") == [1]
    assert not forever.allows(1, 10**9)
    assert forever.allows(2, 1)
    assert Ledger.from_json(forever.quarantine, forever.to_json()) == forever


def test_no_more_than_the_limit_are_banned_the_worst_first():
    ledger = Ledger(Quarantine(decay=1.0, threshold=1.0, rounds=5, limit=2))
    ledger.records |= {3: 2.0}
    assert entered(ledger, 1, n1="invalid", n2="invalid", n3="invalid") == [3, 1]
    assert entered(ledger, 2, n2="invalid") == []
    assert entered(ledger, 7, n2="invalid") == [2]
