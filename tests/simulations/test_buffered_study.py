"""The study of buffered rounds, small: they reach the accuracy of rounds that wait in a third of the time."""

import pytest

from simulations.buffered.__main__ import trial
from simulations.buffered.federation import Setting

SMALL = Setting(nodes=20, hostile=3, silent=2)


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["sign-flip", "alie"])
def test_buffers_take_a_third_of_the_time(attack):
    found = trial(SMALL, attack, {"buffers": (8, 1.5)}, rounds=20)
    assert found["accuracy"] > 0.8
    assert found["buffers"] <= found["waiting"] / 3
