"""Figures of detection against their definitions, on made-up rounds, on a federation's, and in the report of a sweep."""

import json
import math
from itertools import product

import numpy as np
import pytest

from flwr_byzantine.experiments import detection, report
from flwr_byzantine.experiments.detection import Verdict, figures, mean_roc, roc, verdicts
from flwr_byzantine.experiments.measures import History
from flwr_byzantine.experiments.report import detection as shown
from flwr_byzantine.experiments.report.study import study
from flwr_byzantine.experiments.sweep.cell import Cell, run
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from tests.support.reports import cells_of, line, store


def rounds_of(*texts):
    """Rounds of attackers a, b, ... and honest clients h, i, ...: "A" is left out, "a" is kept, "." did not take part."""
    return [[Verdict(ord(c.lower()), c.lower() < "h", c.isupper()) for c in text if c != "."] for text in texts]


def made(seed, n=30, bad=8, ties=False):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n) + np.arange(n).__lt__(bad)
    scores = np.round(scores) if ties else scores
    return [Verdict(k, k < bad, bool(score > 1), float(score)) for k, score in enumerate(scores)]


def same(found, expected):
    return (math.isnan(found) and math.isnan(expected)) or found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rounds", "precision", "recall", "first", "good", "lost"),
    [
        (("AHijk", "ABhi"), 3 / 4, 1.0, 1.0, 1.0, 0.0),  # h was out in one of two rounds, which is not more than half
        (("abHi", "AbHi", "ABhi"), 3 / 5, 3 / 6, 2.5, 2.5, 0.5),
        (("Ah", "ah", "Ah"), 1.0, 2 / 3, 1.0, 3.0, 0.0),  # out for good since its third
        (("Ah", "ah"), 1.0, 0.5, 1.0, math.inf, 0.0),  # let in again
        (("a.h", "Ah", ".h", "Ah"), 1.0, 2 / 3, 2.0, 2.0, 0.0),  # only its own rounds count
        (("abch", "abCh", "abch"), 1.0, 1 / 9, math.inf, math.inf, 0.0),  # most are never found
        (("ah",), math.nan, 0.0, math.inf, math.inf, 0.0),  # nobody left out: no precision
        (("Hi", "Hi"), math.nan, math.nan, math.nan, math.nan, 0.5),  # nobody attacks
    ],
)
def test_the_figures_are_what_they_are_defined_to_be(rounds, precision, recall, first, good, lost):
    found = figures(rounds_of(*rounds))
    expected = (precision, recall, math.nan, first, good, lost)
    assert tuple(found) == detection.SCALARS
    assert all(same(value, wanted) for value, wanted in zip(found.values(), expected, strict=True)), found


@pytest.mark.parametrize(("seed", "ties"), list(product(range(4), (False, True))))
def test_auc_is_the_share_of_pairs_in_the_right_order_and_the_area_under_the_curve(seed, ties):
    seen = made(seed, ties=ties)
    bad, good = ([v.score for v in seen if v.malicious is which] for which in (True, False))
    pairs = [(x > y) + (x == y) / 2 for x in bad for y in good]
    assert detection.auc(seen) == pytest.approx(sum(pairs) / len(pairs))
    fine = np.linspace(0, 1, 20_001)
    thresholds = sorted({*bad, *good}, reverse=True)
    points = [(0.0, 0.0), *((np.mean([y >= t for y in good]), np.mean([x >= t for x in bad])) for t in thresholds)]
    assert np.trapezoid(np.interp(fine, *zip(*points, strict=True)), fine) == pytest.approx(detection.auc(seen), abs=1e-3)
    assert roc(seen) == pytest.approx(np.interp(detection.RATES, *zip(*points, strict=True)))


def test_whoever_has_no_score_is_in_no_curve_and_a_round_without_both_kinds_is_none():
    seen = made(1)
    assert detection.auc([*seen, Verdict(99, True, True)]) == detection.auc(seen)
    assert math.isnan(detection.auc([v for v in seen if v.malicious]))
    assert mean_roc([[v for v in seen if v.malicious], []]) == []
    assert mean_roc([seen, made(2)]) == pytest.approx(np.mean([roc(seen), roc(made(2))], axis=0), abs=1e-4)


def report_of(nodes, aggregated=True):
    return RoundReport(1, len(nodes), len(nodes), len(nodes), 1, "", True, aggregated, nodes=dict(enumerate(nodes)))


def test_left_out_is_who_came_and_has_no_part_in_the_aggregate():
    nodes = [
        NodeReport("kept", score=1.0),
        NodeReport("rejected", score=9.0),
        NodeReport("invalid"),
        NodeReport("failed"),
        NodeReport("missing"),
    ]
    found = verdicts(report_of(nodes), {k: k for k in range(5)}, {1, 2})
    assert [(v.client, v.malicious, v.out) for v in found] == [(0, False, False), (1, True, True), (2, True, True)]
    assert [v.score for v in found[:2]] == [1.0, 9.0]
    assert math.isnan(found[2].score)
    assert verdicts(report_of(nodes, aggregated=False), {0: 0}, ()) == [], "in a skipped round nobody was judged"


@pytest.fixture(scope="module")
def cells():
    """Multi-Krum and the median under a loud attack, and the average."""
    given = {"num_malicious": 3, "num_clients": 10, "rounds": 3, "local_epochs": 1, "attack": ("sign-flip", {"scale": 20.0})}
    return {name: run(Cell.of({**given, "strategy": (name, {})})) for name in ("multi-krum", "median", "fedavg")}


def test_a_rule_that_selects_detects(cells):
    found = cells["multi-krum"]
    assert found.ok, found.error
    assert (found.final["precision"], found.final["recall"], found.final["auc"]) == (1.0, 1.0, 1.0)
    assert (found.final["rounds_to_first"], found.final["rounds_to_good"], found.final["honest_lost"]) == (1.0, 1.0, 0.0)
    assert found.history["precision"] == found.history["recall"] == found.history["auc"] == [1.0] * 3
    assert found.history["false_alarms"] == [0.0] * 3
    assert found.roc == [1.0] * 21
    assert type(found).of(json.loads(json.dumps(found.to_json()))) == found
    assert found.flat()["final_recall"] == 1.0


def test_a_median_has_no_scores_and_an_average_no_verdicts(cells):
    assert (cells["median"].final["auc"], cells["median"].roc) == (None, [])
    assert cells["median"].final["honest_lost"] == 0.0
    assert "recall" not in cells["fedavg"].final
    assert "recall" not in cells["fedavg"].history
    assert History().roc() == []


def judged(strategy, attack, seed=0, **final):
    record = line(strategy, attack, 0.5, seed)
    record["final"] |= {"honest_lost": 0.0, **final}
    return record | {"roc": [0.2 * seed + 0.5] * 21}


def test_the_report_has_the_figures_of_each_rule_under_each_attack():
    found = {"precision": 0.5, "recall": 1.0, "auc": 0.75, "rounds_to_first": 1.0, "rounds_to_good": 3.0}
    records = [line("fedavg", "alie", 0.5), judged("krum", "none"), judged("krum", "alie", **found)]
    records += [judged("krum", "alie", 1, **found | {"precision": None, "rounds_to_first": 2.0, "rounds_to_good": None})]
    (table,) = shown.tables(study(cells_of(records)))
    assert table.header == shown.HEADER
    assert [[item.full for item in row] for row in table.rows] == [
        ["krum", "none", "–", "–", "–", "–", "–", "0.0"],
        ["krum", "alie", "50.0", "100.0 ± 0.0", "75.0 ± 0.0", "1.5", "3 (1 of 2 seeds)", "0.0 ± 0.0"],
    ]
    never = shown.rounds(cells_of([judged("krum", "alie", recall=0.0, rounds_to_first=None)]), "rounds_to_first")
    assert never.text == "never"
    assert shown.tables(study(cells_of(records[:1]))) == [], "an average judges nobody"


def test_the_roc_curves_are_means_over_seeds():
    records = [judged("krum", "alie", seed, recall=1.0) for seed in (0, 1)]
    (drawing,) = shown.rocs(study(cells_of(records)))
    krum, diagonal = drawing.figure.axes[0].get_lines()
    assert krum.get_ydata() == pytest.approx([60.0] * 21)
    assert list(krum.get_xdata()) == pytest.approx(list(np.linspace(0, 100, 21)))
    assert list(diagonal.get_ydata()) == [0, 100]


def test_page_and_tables_show_them_where_there_are_any(tmp_path):
    records = [judged("krum", "alie", recall=0.25, precision=0.5)]
    written = report.write(store(records, tmp_path / "found.jsonl"), tmp_path / "out")
    assert "Who is left out" in (tmp_path / "out" / "tables.md").read_text()
    assert 'id="detection"' in written.page.read_text()
    assert (tmp_path / "out" / "roc.svg").exists()
    report.write(store([line("krum", "alie", 0.5)], tmp_path / "none.jsonl"), tmp_path / "without")
    assert 'id="detection"' not in (tmp_path / "without" / "index.html").read_text()
