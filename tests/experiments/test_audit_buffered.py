"""Replies that are hostile by their form, through buffered rounds: as through rounds that wait."""

import pytest

from flwr_byzantine.experiments.audit.battery import BATTERY
from flwr_byzantine.experiments.audit.runner import audit, load_strategy

OPTIONS = {"rule": "trimmed-mean", "size": 9, "max_staleness": 0}  # replies to old models, honest as they are, would end elsewhere
FORMS = ("bytes: garbage", "one NaN", "no reply")
FORGED = ("forged: another node's reply", "not to be pulled: ValueError")
REPEATED = ("twice: the second far away",)


def survives(cases, where):
    found = audit(load_strategy("flwr_byzantine:Buffered", 2, OPTIONS), cases, f=2, where=where)
    assert {finding.case: finding.outcome for finding in found if finding.outcome != "survived"} == {}


def test_a_buffered_run_survives_hostile_forms():
    names = (*FORMS, *FORGED, *REPEATED)
    cases = tuple(case for case in BATTERY if case.name in names)
    assert len(cases) == len(names)
    survives(cases, [(12, 13)])


@pytest.mark.slow
def test_a_buffered_run_survives_the_whole_battery():
    survives(BATTERY, [(1, 2)])
