"""Where time goes: each moment counts for the innermost part."""

import time
from threading import Thread

import pytest

from flwr_byzantine.flower import spans
from flwr_byzantine.flower.spans import profiled, span


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves on."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def on(seconds):
        now[0] += seconds

    return on


def test_parts_do_not_count_what_is_inside_them_and_add_up(clock):
    @span("rule")
    def rule():
        clock(1.0)

    with profiled() as found:
        clock(0.5)
        with span("strategy"):
            clock(2.0)
            rule()
            rule()
            clock(4.0)
    assert found.seconds == {"other": 0.5, "strategy": 6.0, "rule": 2.0}


def test_a_part_that_raises_has_ended(clock):
    @span("rule")
    def fails():
        clock(1.0)
        raise ValueError("no")

    with profiled() as found:
        with pytest.raises(ValueError, match="no"):
            fails()
        clock(3.0)
    assert found.seconds == {"other": 3.0, "rule": 1.0}


def test_nobody_looks_outside_nor_in_another_thread(clock):
    def other():
        with span("clients"):
            clock(1.0)

    other()
    with profiled() as found:
        thread = Thread(target=other)
        thread.start()
        thread.join()
    assert found.seconds == {"other": 1.0}
    assert spans._LOOKING.get() is None
