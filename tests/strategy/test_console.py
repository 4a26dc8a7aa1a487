"""What a run says on the console is what it did: how many replies came, how they are weighted, how far the round went."""

import logging
import threading

import pytest
from flwr.common import log
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import strategy as flower

from flwr_byzantine import Krum, MultiKrum, Robust, legacy, rules
from flwr_byzantine.flower import console
from flwr_byzantine.flower.local import LocalGrid
from tests.support.federation import N, client_app, start
from tests.support.legacy import one_round


def said(strategy, caplog, rounds=1):
    caplog.set_level(logging.INFO, logger="flwr")
    grid = LocalGrid(client_app(), N, spoil=lambda reply: None if reply.metadata.src_node_id == 4 else reply)
    strategy.start(grid, start(), rounds)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("make", [lambda: Robust(rules.Krum(f=2), flower.FedAdam()), lambda: Krum(f=2)], ids=["wrapped", "named"])
def test_the_replies_that_came_are_counted_and_not_the_aggregate(make, caplog):
    lines = said(make(), caplog)
    assert [line for line in lines if "results" in line and "failures" in line] == [
        "flwr-byzantine: aggregate_train: received 10 results and 0 failures",
        "flwr-byzantine: aggregate_evaluate: received 10 results and 0 failures",
    ]


def test_what_counts_of_num_examples_is_said(caplog):
    lines = said(Robust(rules.Krum(f=2), flower.FedAvg()), caplog)
    assert "flwr-byzantine: weighting: uniform; what clients say of their number of examples counts for nothing" in lines
    assert not any("Weighted by" in line for line in lines)
    assert any("ArrayRecord key" in line for line in lines), "the rest of Flower's summary is there"
    caplog.clear()
    lines = said(MultiKrum(f=2, m=5, weighting="capped", weighted_by_key="num-examples"), caplog)
    assert "flwr-byzantine: weighting: by 'num-examples', of which at most twice the median counts" in lines


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        (Robust("nnm+krum", f=2), "robust rule: NNM(f=2) + Krum(f=2); over FedAvg"),
        (Robust("krum", f=0.2), "depends on how many replies a round has: with 10, Krum(f=2); with 100, Krum(f=20); over FedAvg"),
        (Robust({100: rules.Krum(f=2)}.__getitem__), "with 10, there is no rule for 10 replies: KeyError: 10; with 100, Krum(f=2)"),
    ],
    ids=["a count", "a share", "a function that has none for 10"],
)
def test_the_rule_is_named_before_the_number_of_replies_is_known(strategy, told, caplog):
    caplog.set_level(logging.INFO, logger="flwr")
    strategy.summary()
    assert told in caplog.text


def test_a_wrapped_legacy_strategy_does_not_speak_of_the_aggregate(caplog):
    caplog.set_level(logging.INFO, logger="flwr")
    one_round(legacy.Robust(rules.TrimmedMean(f=2), LegacyFedAvg()))
    assert not any("metrics_aggregation_fn" in record.getMessage() for record in caplog.records)


def test_only_these_lines_of_this_thread_are_left_out_and_only_meanwhile(caplog):
    caplog.set_level(logging.INFO, logger="flwr")
    filters = list(logging.getLogger("flwr").filters)
    with console.without_lines(["%s: gone"]):
        log(logging.INFO, "%s: gone", "here")
        log(logging.INFO, "%s: there", "here")
        other = threading.Thread(target=log, args=(logging.INFO, "%s: gone", "elsewhere"))
        other.start()
        other.join()
    log(logging.INFO, "%s: gone", "later")
    assert [record.getMessage() for record in caplog.records] == ["here: there", "elsewhere: gone", "later: gone"]
    assert logging.getLogger("flwr").filters == filters
