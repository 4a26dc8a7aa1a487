"""What is shared over a whole run: from a checkpoint, and where it is set anew between two rounds."""

import logging

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine import ByzantineSGD, rules
from tests.support.batchnorm import EVERYONE, F, N, federate, over, same


def body(name, value):
    return name in ("a", "b")


WIDE = {"head": np.ones(2, np.float32), "a": np.zeros(3, np.float32), "b": np.zeros(3, np.float32)}


def drift(strategy, rounds):
    return federate(strategy, model=WIDE, rounds=rounds, reply=lambda got, node: {name: got[name] + 1 + 0.1 * node for name in got})


@pytest.mark.parametrize("shared", [body, ["a", "b"], [1, 2]])
def test_a_run_goes_on_from_its_checkpoint(shared, tmp_path):
    def made(path):
        return over(rules.CenteredClipping(f=F), checkpoint=tmp_path / path, resume=True, shared=shared)

    drift(made("one"), 2)
    assert same(drift(made("one"), 4), drift(made("two"), 4))


def test_a_run_that_goes_on_may_share_more_or_less(tmp_path):
    before = WIDE
    for rounds, shared in ((2, "a"), (4, ["a", "b"]), (6, None), (8, "b")):
        found = drift(over(rules.CenteredClipping(f=F), checkpoint=tmp_path / "run", resume=True, shared=shared), rounds)
        assert [name for name in WIDE if not np.array_equal(found[name], before[name])] == [*(shared or WIDE)]
        before = found


@pytest.mark.parametrize("made", [over, lambda rule, **policy: ByzantineSGD(rule, 0.1, 0.9, FedAvg(**EVERYONE), **policy)])
def test_what_is_shared_may_be_set_between_two_rounds(made, caplog):
    class Setting:
        def __init__(self):
            self.round = 0

        def __call__(self, got, node):
            self.round += node == N
            if node == N:
                strategy.shared = {1: ["a", "b"], 2: None}.get(self.round)
            return {name: got[name] + 1 for name in got}

    strategy = made(rules.CenteredClipping(f=F), shared="a")
    with caplog.at_level(logging.INFO, logger="flwr"):
        found = federate(strategy, model=WIDE, rounds=3, reply=Setting())
    said = [record.getMessage().split("judged ")[1] for record in caplog.records if "judged" in record.getMessage()]
    assert said == ["1 array, 3 values; not shared: 2 arrays", "2 arrays, 6 values; not shared: 1 array"]
    assert not any(np.array_equal(found[name], WIDE[name]) for name in WIDE)
