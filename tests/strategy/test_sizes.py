"""What an array contributes: notes on one that decides alone or does not move, and distances in each array's own unit."""

import json
import logging

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine import InvalidParameter, Robust, rules
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.strategy.report import RoundReport
from flwr_byzantine.strategy.sizes import FARTHEST, per_array
from tests.support.batchnorm import BAD, EVERYONE, F, N, disguised, federate, legacy_federate, legacy_over, over, start
from tests.support.rules import data

JUDGED = "judged 6 arrays, 4,938 values; state: 3 BatchNorm arrays"


def test_the_report_names_a_small_array_that_decides_alone_and_the_log_does_once(caplog):
    strategy = over(rules.Krum(f=F), judge="all")
    with caplog.at_level(logging.WARNING, logger="flwr"):
        federate(strategy, disguised, raw=True, model=start(raw=True, counter=False), rounds=2, epochs=1)
    for report in strategy.reports:
        (note,) = report.notes
        assert note.startswith("array '0.running_var' has 1.3 % of the values of arrays in which clients differ and makes 100 % of the")
    assert sum("0.running_var" in record.getMessage() for record in caplog.records) == 1
    restored = RoundReport.from_json(strategy.reports[-1].to_json())
    assert restored == strategy.reports[-1]
    old = json.loads(strategy.reports[-1].to_json())
    del old["notes"]  # as lines were before they had any
    assert RoundReport.from_json(json.dumps(old)).notes == ()


@pytest.mark.parametrize("rule", ["krum", "cge", "median", "nnm+trimmed-mean"])
def test_an_ordinary_model_has_nothing_to_note_but_its_state(rule):
    strategy = over(rules.parse(rule, F))
    federate(strategy, rounds=2)
    assert [report.notes for report in strategy.reports] == [(JUDGED,)] * 2


def test_norms_are_looked_at_where_a_rule_compares_norms_and_nothing_where_it_compares_nothing():
    def noted(rule, **policy):
        strategy = over(rules.parse(rule, F), **policy)
        shift = {"big": np.zeros(90, np.float32), "b": np.zeros(10, np.float32)}

        def reply(got, node):
            noise = np.random.default_rng(node).normal(size=100).astype(np.float32)
            return {"big": got["big"] + noise[:90], "b": got["b"] + 50 + noise[90:]}

        federate(strategy, reply=reply, model=shift | {"big": np.zeros(90, np.float32)}, rounds=1)
        return " ".join(strategy.reports[0].notes)

    shift = "'b' has 10 % of"
    assert shift not in noted("krum")  # all are equally far: no distance comes of it
    assert noted("cge") == ""  # a tenth is not small
    assert noted("mean") == noted("median") == ""


def test_per_array_scales_keep_the_attackers_out_that_honest_statistics_hid():
    model = start(raw=True, counter=False)
    found = {}
    for scale in (None, "per-array"):
        strategy = over(rules.MultiKrum(f=F, m=N - F), judge="all", scale=scale)
        federate(strategy, disguised, raw=True, model=model, rounds=2, epochs=1)
        found[scale] = {node for report in strategy.reports for node in report.with_status("kept")} & set(BAD)
    assert found[None]
    assert not found["per-array"]


def test_the_typical_sizes_are_those_of_honest_rows_and_no_unit_matters():
    units = np.array([1e-200, 1e-3, 1.0, 1e250])
    rows = data(9, 40)
    rows[:4] = 1e40
    blocks = [Block(list(rows[:, 10 * k : 10 * k + 10] * unit)) for k, unit in enumerate(units)]
    scales = np.array([block.scale for block in per_array(blocks)])
    assert scales.tolist() == [FARTHEST] * 3 + [1]
    near = np.array([block.scale for block in per_array(blocks[1:3])])
    assert near[1] == 1
    assert 300 < near[0] < 3000


def test_an_array_in_which_the_honest_agree_is_no_place_to_hide():
    rows = data(9, 100)
    rows[:, 90:] = 0
    rows[4, 90:] = 9
    blocks = per_array([Block(list(rows[:, :90])), Block(list(rows[:, 90:]))])
    assert run(rules.MultiKrum(f=1, m=8), Updates(blocks)).weights[4] == 0
    assert [block.scale for block in per_array([Block([np.ones(3)] * 4)])] == [1.0]


@pytest.mark.parametrize("rule", ["trimmed-mean", "nnm+trimmed-mean", "multi-krum"])
def test_kappa_holds_in_the_scaled_norm_and_times_the_ratio_in_the_plain_one(rule):
    rng, made = np.random.default_rng(0), rules.parse(rule, F)
    kappa = made.kappa(11)
    for _ in range(50):
        X = rng.normal(size=(11, 6)) * rng.choice([1e-3, 1.0, 30.0], size=6)
        X[:F] *= rng.choice([-3, 1, 20])
        blocks = per_array([Block(list(X[:, :2])), Block(list(X[:, 2:4])), Block(list(X[:, 4:]))])
        aggregate, scales = np.concatenate(run(made, Updates(blocks)).blocks), np.repeat([block.scale for block in blocks], 2)
        for weights, factor in ((scales, 1.0), (1.0, (scales.max() / scales.min()) ** 2)):
            honest = X[F:] * weights
            spread = ((honest - honest.mean(0)) ** 2).sum(1).mean()
            assert ((aggregate * weights - honest.mean(0)) ** 2).sum() <= factor * kappa * spread * (1 + 1e-9)


TOUCHED = {node: np.flatnonzero(np.random.default_rng(node).random(40) < 0.2) for node in range(1, N + 1)}


def rows_of(got, node):
    table = got["emb"].copy()
    table[TOUCHED[node]] += 1
    return {"emb": table, "w": got["w"] + 1 + np.float32(node) / 100}


@pytest.mark.parametrize("api", ["message", "legacy"])
def test_the_report_notes_rows_that_no_median_moves(api):
    model = {"emb": np.zeros((40, 4), np.float32), "w": np.zeros(5, np.float32)}
    made, loop = (over, federate) if api == "message" else (lambda rule: legacy_over(rule, model=model), legacy_federate)
    median, both = made(rules.Median(f=F)), made(rules.parse("nnm+trimmed-mean", F))
    found = loop(median, reply=rows_of, model=model, rounds=2)
    assert not found["emb"].any()
    assert found["w"].all()
    name = "'emb'" if api == "message" else "'0'"
    for report in median.reports:
        assert any(f"changes 0 % of what clients changed in {name}: " in note for note in report.notes)
    assert loop(both, reply=rows_of, model=model, rounds=2)["emb"].any(axis=1).sum() > 30
    assert not any(note for report in both.reports for note in report.notes)


def test_attackers_who_touch_everything_or_nothing_hide_no_unmoved_rows():
    def reply(touch):
        return lambda got, node: (
            {"emb": got["emb"] + np.float32(touch)} if node in BAD else {"emb": rows_of(got | {"w": got["emb"]}, node)["emb"]}
        )

    noted = []
    for touch in (0.0, 1.0):
        strategy = over(rules.Median(f=F))
        federate(strategy, reply=reply(touch), model={"emb": np.zeros((40, 4), np.float32)}, rounds=1)
        noted += [
            note for note in strategy.reports[0].notes if "in 'emb': most of that is changed by fewer than half of the clients" in note
        ]
    assert len(noted) == 2


@pytest.mark.parametrize("rows", [100, 20_000])
def test_large_tables_of_which_each_client_changes_few_rows_are_seen(rows):
    """The sample would miss what they change: the note of a small array, of one that stays, and the scales depend on that."""

    def reply(size):
        def answer(got, node):
            rng, table = np.random.default_rng(node), np.zeros((rows, 4), np.float32)
            table[rng.choice(100, 20, replace=False)] = size
            honest = 1 + rng.normal(size=5_000).astype(np.float32) / 10
            return {"w": got["w"] - 3 if node in BAD else got["w"] + honest, "emb": got["emb"] + (0 if node in BAD else table)}

        return answer

    model = {"w": np.zeros(5_000, np.float32), "emb": np.zeros((rows, 4), np.float32)}
    kept, notes = {}, {}
    for scale in (None, "per-array"):
        strategy = over(rules.MultiKrum(f=F, m=N - F), scale=scale)
        federate(strategy, reply=reply(500), model=model, rounds=1)
        kept[scale], notes[scale] = set(strategy.reports[0].with_status("kept")), strategy.reports[0].notes
    assert set(BAD) <= kept[None]
    assert not kept["per-array"] & set(BAD)
    assert any("'emb' has" in note for note in notes[None]) == (rows == 100)  # else it has most of the values
    median = over(rules.Median(f=F))
    found = federate(median, reply=reply(1), model=model, rounds=1)
    assert not found["emb"].any()
    assert [note for note in median.reports[0].notes if "changes 0 % of what clients changed in 'emb': most of that" in note]


@pytest.mark.parametrize("touch", ["nothing", "everything", "decay"])
def test_nobody_can_hide_by_what_is_done_to_a_large_table(touch):
    """Not f attackers who add noise to all of it, nor honest clients whose weights decay everywhere."""
    few = BAD if touch == "everything" else range(1, N + 1) if touch == "decay" else ()

    def reply(got, node):
        rng, table = np.random.default_rng(node), np.zeros((20_000, 4), np.float32)
        if node in few:
            table += rng.normal(size=table.shape).astype(np.float32) / 1000
        if node not in BAD:
            table[rng.choice(100, 20, replace=False)] += 500
        return {"w": got["w"] - 3 if node in BAD else got["w"] + 1 + rng.normal(size=5_000) / 10, "emb": got["emb"] + table}

    strategy = over(rules.MultiKrum(f=F, m=N - F), scale="per-array")
    model = {"w": np.zeros(5_000, np.float32), "emb": np.zeros((20_000, 4), np.float32)}
    federate(strategy, reply=reply, model=model, rounds=1)
    assert strategy.reports[0].with_status("rejected") == list(BAD)


def test_no_array_that_nobody_changes_makes_another_look_small():
    model = {"frozen": np.ones(10_000, np.float32), "head": np.zeros(40, np.float32)}
    strategy = over(rules.MultiKrum(f=F, m=N - F))
    federate(
        strategy, reply=lambda got, node: got | {"head": got["head"] + np.random.default_rng(node).normal(size=40)}, model=model, rounds=1
    )
    assert strategy.reports[0].notes == ()


def test_what_rounding_undoes_is_not_said_to_be_changed_by_few():
    model = {"w": np.ones(100, np.float16)}
    strategy = over(rules.parse("nnm+trimmed-mean", F))
    federate(strategy, reply=lambda got, node: {"w": got["w"] + np.float16(1e-3 if node % 2 else -1e-3)}, model=model, rounds=1)
    (note,) = strategy.reports[0].notes
    assert note.endswith("or the changes cancel out or are lost in rounding to the array's dtype")


def test_a_certificate_is_of_the_plain_norm():
    with pytest.raises(InvalidParameter, match="certificate=True needs scale=None"):
        Robust("krum", f=F, scale="per-array", certificate=True)
    with pytest.raises(InvalidParameter, match="certificate=True needs weighting='uniform'"):
        Robust("multi-krum", f=F, weighting="capped", certificate=True)
    with pytest.raises(InvalidParameter, match="scale must be 'per-array' or None, got 'per-layer'"):
        Robust("krum", f=F, scale="per-layer")


@pytest.mark.parametrize("rule", ["krum", "nnm+trimmed-mean"])
def test_spilled_rounds_are_the_same(rule, tmp_path):
    found = [
        federate(Robust(rules.parse(rule, F), FedAvg(**EVERYONE), scale="per-array", spill=spill), rounds=1, epochs=1)
        for spill in (None, tmp_path)
    ]
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("size", [1e80, 1e154, 1e200, 1e308])
@pytest.mark.parametrize("bad", [1, 2, 4])
def test_scales_are_numbers_whatever_is_sent(size, bad):
    """With up to two of five they are those of the honest rows; beyond that, numbers still."""
    rows = np.random.default_rng(0).normal(size=(5, 6))
    rows[:bad] = size * np.sign(rows[:bad])
    first, second = per_array([Block(list(rows)), Block(list(np.random.default_rng(1).normal(size=(5, 6))))])
    assert np.isfinite([first.scale, second.scale]).all()
    assert bad > 2 or 0.1 < first.scale / second.scale < 10
