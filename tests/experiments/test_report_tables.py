"""The report of a sweep: reading results, and numbers against naive computations."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments import cli, report
from flwr_byzantine.experiments.report.study import study
from flwr_byzantine.experiments.report.tables import worst_case_table
from flwr_byzantine.experiments.results import Result
from tests.support.reports import ATTACKS, RULES, cells_of, failed, line, naive_mean, store, synthetic


def test_a_torn_last_line_is_ignored_and_a_later_line_replaces_an_earlier_one(tmp_path: Path) -> None:
    first = line("krum", "alie", 0.5)
    path = store([first, line("krum", "ipm", 0.6), first | {"final": {"accuracy": 0.7}}], tmp_path / "r.jsonl")
    whole = path.read_text()
    path.write_text(whole + whole.splitlines()[0][:60], encoding="utf-8")
    cells = report.load(path)
    assert sorted((cell.attack, cell.value()) for cell in cells) == [("alie", 0.7), ("ipm", 0.6)]


def test_names_carry_options() -> None:
    cell = Result.of(line("bucketing+krum", "alie", 0.5, strategy_options={"s": 2}, attack_options={"z": 1.5}))
    assert (cell.rule, cell.attack) == ("bucketing+krum (s=2)", "alie (z=1.5)")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot read"),
        ("", "holds no cell"),
        ("{\n{}\n", "line 1 is no result"),
        ('{"a": 1}\n', "line 1 is no result of a sweep"),
        ("[1]\n", "line 1 is no result of a sweep"),
        (json.dumps(failed(line("krum", "alie", 0.5))) + "\n", "none of the 1 cells"),
    ],
)
def test_results_that_cannot_be_used_say_why(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "results.jsonl"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidParameter, match=says) as caught:
        report.load(path)
    assert "\n" not in str(caught.value)


def test_the_keys_that_tell_settings_apart() -> None:
    settings = tuple({"f": f, "num_malicious": f, "num_clients": 10 + f, "gamma": g} for f in (1, 2) for g in (0.0, 1.0))
    records = synthetic(settings=settings)
    for record in records:
        record["config"]["lr"] = 0.1 if record["config"]["strategy"] == "krum" else 0.2
        if record["config"]["attack"] == "none":
            record["config"]["num_malicious"] = 0
    assert report.varying(cells_of(records)) == ["gamma", "f"]


def test_a_learning_rate_that_varies_within_a_rule_tells_settings_apart() -> None:
    records = [line("krum", "alie", 0.5, lr=lr, f=f) for lr in (0.1, 0.2) for f in (1, 2)]
    assert report.varying(cells_of(records)) == ["f", "lr"]


def test_means_deviations_worst_cases_and_costs_by_hand() -> None:
    records = [
        *(line("fedavg", "none", value, seed) for seed, value in enumerate((0.90, 0.92))),
        *(line("krum", "none", value, seed) for seed, value in enumerate((0.80, 0.84))),
        *(line("krum", "alie", value, seed) for seed, value in enumerate((0.30, 0.50))),
        *(line("krum", "ipm", value, seed) for seed, value in enumerate((0.10, 0.60))),
    ]
    (table,) = report.worst_case(cells_of(records))
    krum = table.row("krum")
    assert table.attacks == ("none", "alie", "ipm")
    assert (krum.worst_attack, krum.complete) == ("ipm", True)
    assert krum.worst.mean == pytest.approx(0.35)
    assert krum.worst.std == pytest.approx(0.5 / math.sqrt(2))
    assert krum.scores["alie"].mean == pytest.approx(0.4)
    assert krum.cost == pytest.approx(0.91 - 0.82)
    assert [item.full for item in worst_case_table(table).rows[1]] == [
        "krum",
        "82.0 ± 2.8",
        "40.0 ± 14.1",
        "35.0 ± 35.4",
        "35.0 ± 35.4",
        "9.0",
    ]


def test_rounds_with_more_attackers_than_f_have_a_column_where_there_were_any() -> None:
    records = [line(rule, attack, 0.5) for rule in ("fedavg", "krum", "median") for attack in ("none", "alie")]
    shares = {("krum", "none"): 0.9, ("krum", "alie"): 0.25, ("median", "alie"): 0.0}
    for record in records:
        record["final"]["over_f"] = shares.get((record["config"]["strategy"], record["config"]["attack"]))
    grid = worst_case_table(report.worst_case(cells_of(records))[0])
    assert [row[-1].text for row in grid.rows] == ["–", "25.0", "0.0"]
    assert grid.header[-1] == "rounds over f"
    assert "more attackers than f" in grid.notes[-1]
    records[3]["final"]["over_f"] = 0.0
    assert "rounds over f" not in worst_case_table(report.worst_case(cells_of(records))[0]).header


def test_tables_equal_a_naive_computation() -> None:
    settings = tuple({"f": f, "gamma": g} for f in (1, 4) for g in (0.0, 0.5))
    records = synthetic(RULES, ATTACKS, 3, settings, spoil=True)
    tables = report.worst_case(cells_of(records))
    assert len(tables) == 4
    for table in tables:
        setting = dict(table.setting)
        clean = naive_mean(records, strategy="fedavg", attack="none", **setting)
        for row in table.rows:
            means = {attack: naive_mean(records, strategy=row.rule, attack=attack, **setting) for attack in ATTACKS}
            assert {attack: score.mean for attack, score in row.scores.items()} == pytest.approx(means, nan_ok=True)
            known = [means[attack] for attack in ("alie", "sign-flip") if not math.isnan(means[attack])]
            assert row.worst.mean == pytest.approx(min(known, default=math.nan), nan_ok=True)
            assert row.cost == pytest.approx(clean - means["none"], nan_ok=True)


def test_a_worst_case_with_a_missing_attack_is_a_bound_and_never_the_best() -> None:
    records = [line("krum", "alie", 0.5), line("krum", "ipm", 0.6), line("median", "alie", 0.9), failed(line("median", "ipm", 0.1))]
    (table,) = report.worst_case(cells_of(records))
    rows = {row[0].text: row for row in worst_case_table(table).rows}
    assert not table.row("median").complete
    assert [item.text for item in rows["median"][1:4]] == ["90.0", "failed", "≤ 90.0"]
    assert rows["krum"][3].best
    assert not rows["median"][3].best


def test_a_seed_without_a_number_is_not_left_out_of_the_mean_and_a_failed_one_is_marked() -> None:
    records = [
        line("krum", "alie", 0.9),
        line("krum", "alie", None, 1),
        line("median", "alie", 0.8),
        failed(line("median", "alie", 0.1, 1)),
    ]
    (table,) = report.worst_case(cells_of(records))
    grid = worst_case_table(table)
    assert [row[1].text for row in grid.rows] == ["NaN", "80.0†"]
    assert any("failed" in note for note in grid.notes)


def test_the_best_of_each_column_is_bold_and_all_equals_with_it() -> None:
    records = [line(rule, attack, value) for rule, value in (("a", 0.5), ("b", 0.50004), ("c", 0.3)) for attack in ("none", "alie")]
    (table,) = report.worst_case(cells_of([*records, line("fedavg", "none", 0.6)]))
    rows = {row[0].text: [item.best for item in row] for row in worst_case_table(table).rows}
    assert rows["a"] == rows["b"] == [False, False, True, True, False]
    assert rows["fedavg"] == [False, True, False, False, True]


def test_the_reference_is_taken_from_another_f_where_its_own_is_missing() -> None:
    records = [line("fedavg", "none", 0.9, f=1), line("krum", "none", 0.8, f=1), line("krum", "none", 0.7, f=2)]
    assert [table.row("krum").cost for table in report.worst_case(cells_of(records))] == pytest.approx([0.1, 0.2])


def test_by_gives_a_table_to_each_value_and_names_the_rest_in_the_rows() -> None:
    records = [line("krum", "alie", 0.1 * f + 0.01 * lr, f=f, lr=lr) for f in (1, 2) for lr in (1, 2)]
    tables = study(cells_of(records), by=["f"]).tables()
    assert [dict(table.setting) for table in tables] == [{"f": 1}, {"f": 2}]
    assert {row.rule: row.worst.mean for row in tables[1].rows} == pytest.approx({"krum · lr=1": 0.21, "krum · lr=2": 0.22})
    with pytest.raises(InvalidParameter, match=r"'colour'.*f, .*lr"):
        study(cells_of(records), by=["colour"])


def test_runs_without_attack_that_are_of_no_attacked_configuration_are_in_no_mean() -> None:
    """num_malicious = [0, 4]: nobody attacks in runs with 0, and in some with 4."""
    records = [line("fedavg", "none", 0.9), line("krum", "alie", 0.6), line("fedavg", "alie", 0.1), line("median", "none", 0.4, f=0)]
    records += [line("krum", "none", 0.9, num_malicious=0, f=0), line("krum", "none", 0.7)]
    content = study(cells_of(records))
    (table,) = content.tables()
    honest = {row.rule: row.scores["none"].values for row in table.rows}
    assert honest == {"fedavg": (0.9,), "krum": (0.7,), "median": (0.4,)}
    assert table.row("krum").cost == pytest.approx(0.2)
    assert report.worst_case(cells_of(records)) == [table]
    assert len(content.all_cells) == 6


def test_the_command_takes_keys_as_the_files_of_sweeps_spell_them(tmp_path: Path) -> None:
    records = [line("krum", "alie", 0.1, num_malicious=count, batch_size=size) for count in (3, 4) for size in (1, 2)]
    results = store(records, tmp_path / "r.jsonl")
    given = [str(results), "--by", "num-malicious", "--choose", "batch-size", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli.app, ["report", *given])
    assert done.exit_code == 0
    assert "num_malicious = 4" in done.output
