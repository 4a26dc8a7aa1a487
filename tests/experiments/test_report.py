"""The report of a sweep: numbers against naive computations, choices, figures, the page."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.path import Path as Path2D
from matplotlib.transforms import Affine2D
from typer.testing import CliRunner

from flwr_byzantine import cli
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments import report
from flwr_byzantine.experiments.report.curves import curves
from flwr_byzantine.experiments.report.heatmaps import maps, matrices
from flwr_byzantine.experiments.report.published import matched, unmatched
from flwr_byzantine.experiments.report.study import study
from flwr_byzantine.experiments.report.tables import worst_case_table
from flwr_byzantine.experiments.report.terminal import best_of
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.show.looks import looks

RULES = ("fedavg", "krum", "nnm+trimmed-mean")
ATTACKS = ("none", "alie", "sign-flip")
MANY_RULES = (
    "fedavg",
    "krum",
    "multi-krum",
    "median",
    "trimmed-mean",
    "geometric-median",
    "centered-clipping",
    "bulyan",
    "nnm+krum",
    "nnm+trimmed-mean",
    "clipping+nnm+geometric-median",
    "bucketing+centered-clipping",
)
MANY_ATTACKS = ("none", "alie", "backdoor", "fang-krum", "gaussian", "ipm", "mimic", "min-max", "sign-flip")
STRENGTH = {"fedavg": 0.0, "krum": 0.5, "median": 0.6, "bulyan": 0.75}


def line(strategy: str, attack: str, accuracy: float | None, seed: int = 0, rounds: int = 8, **config: Any) -> dict[str, Any]:
    """One finished cell whose accuracy rises to `accuracy`; `validation` in config is its validation accuracy."""
    validation = config.pop("validation", accuracy)
    success = config.pop("attack_success", None)
    kept = config.pop("kept", 0.25)
    kept = None if attack == "none" else kept
    options = {name: config.pop(name, {}) for name in ("strategy_options", "attack_options")}
    course = [None if accuracy is None else accuracy * (1 - math.exp(-4 * t / rounds)) for t in range(rounds + 1)]
    full = {"dataset": "digits", "num_clients": 20, "f": 4, "num_malicious": 4, "lr": 0.1, "rounds": rounds, "seed": seed}
    full |= {"strategy": strategy, "attack": attack, **options, **config}
    final = {"accuracy": accuracy, "validation_accuracy": validation, "attack_success": success, "malicious_kept": kept}
    key = json.dumps(full, sort_keys=True)
    versions = {"flwr": "1.41.0", "numpy": "2.4.0"}
    return {
        "key": key,
        "status": "ok",
        "error": "",
        "config": full,
        "course": {"accuracy": course},
        "final": final,
        "seconds": 3.5,
        "versions": versions,
    }


def failed(record: dict[str, Any], error: str = "TypeError: bad <b>option</b>") -> dict[str, Any]:
    return record | {"status": "failed", "error": error, "course": {}, "final": {}}


def synthetic(
    rules: tuple[str, ...] = RULES,
    attacks: tuple[str, ...] = ATTACKS,
    seeds: int = 1,
    settings: tuple[dict[str, Any], ...] = ({},),
    rounds: int = 8,
    spoil: bool = False,
) -> list[dict[str, Any]]:
    """A plausible sweep; with `spoil` some cells fail and some are NaN."""
    rng = np.random.default_rng(7)
    records = []
    for setting in settings:
        hardness = setting.get("f", 4) / 20 + 0.3 * (1 - setting.get("gamma", 0.7))
        for rule in rules:
            for attack in attacks:
                for seed in range(seeds):
                    strength = STRENGTH.get(rule, 0.85)
                    harm = 0.0 if attack == "none" else (1 - strength) * (0.3 + 0.1 * (attacks.index(attack) % 4)) + 0.6 * hardness
                    cost = 0.0 if rule == "fedavg" else 0.05 * hardness
                    accuracy = float(np.clip(0.9 - harm - cost + rng.normal(0, 0.012), 0.08, 0.97))
                    backdoor = {"attack_success": float(rng.uniform(1 - strength, 1)) if attack == "backdoor" else None}
                    record = line(rule, attack, accuracy, seed, rounds, kept=1 - strength, **backdoor, **setting)
                    records.append(_spoilt(record, rng) if spoil else record)
    return records


def _spoilt(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    chance = rng.random()
    if chance < 0.01:
        return failed(record)
    if chance < 0.02 or (record["config"]["strategy"] == "bulyan" and record["config"].get("f", 0) > 3):
        return record | {"final": record["final"] | {"accuracy": None}, "course": {"accuracy": [0.1] + [None] * 8}}
    return record


def store(records: list[dict[str, Any]], path: Path) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def cells_of(records: list[dict[str, Any]]) -> list[Result]:
    return [Result.of(record) for record in records]


def naive_mean(records: list[dict[str, Any]], measure: str = "accuracy", **where: Any) -> float:
    """Mean of a final measure over the finished records with these configuration values."""
    found = [r for r in records if r["status"] == "ok" and all(r["config"][key] == value for key, value in where.items())]
    values = [r["final"][measure] for r in found]
    return float("nan") if not values or None in values else sum(values) / len(values)


# Reading


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


# Worst cases


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


# Choices


def grid_of_rates() -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    return [
        line(rule, attack, float(rng.uniform(0.2, 0.9)), seed, lr=lr, f=f, validation=float(rng.uniform(0.2, 0.9)))
        for rule in RULES
        for attack in ATTACKS
        for seed in (0, 1)
        for lr in (0.01, 0.1, 1.0)
        for f in (2, 4)
    ]


def test_the_choice_is_the_naive_one_and_never_sees_the_test_split() -> None:
    records = grid_of_rates()
    choices = [choice for choice in report.choose(cells_of(records), ["lr"]) if not choice.reference]
    assert len(choices) == len(RULES) * 2
    for choice in choices:
        where = {"strategy": choice.rule, "f": dict(choice.setting)["f"]}
        worst = {
            lr: min(naive_mean(records, "validation_accuracy", attack=attack, lr=lr, **where) for attack in ("alie", "sign-flip"))
            for lr in (0.01, 0.1, 1.0)
        }
        assert choice.values == (("lr", max(worst, key=lambda lr: worst[lr])),)
    other_test = [r | {"final": r["final"] | {"accuracy": 1 - r["final"]["accuracy"]}} for r in records]
    assert report.choose(cells_of(other_test), ["lr"]) == report.choose(cells_of(records), ["lr"])


def test_the_tables_report_test_accuracy_of_the_chosen_values_against_the_best_honest_fedavg() -> None:
    records = grid_of_rates()
    content = study(cells_of(records), choose=["lr"])
    for table in content.tables():
        f = dict(table.setting)["f"]
        rates = {c.rule: c.values[0][1] for c in content.choices if not c.reference and dict(c.setting)["f"] == f}
        honest = {lr: naive_mean(records, "validation_accuracy", strategy="fedavg", attack="none", lr=lr, f=f) for lr in (0.01, 0.1, 1.0)}
        clean = naive_mean(records, strategy="fedavg", attack="none", lr=max(honest, key=lambda lr: honest[lr]), f=f)
        for row in table.rows:
            own = {attack: naive_mean(records, strategy=row.rule, attack=attack, lr=rates[row.rule], f=f) for attack in ATTACKS}
            assert {attack: score.mean for attack, score in row.scores.items()} == pytest.approx(own)
            assert row.cost == pytest.approx(clean - own["none"])


def test_a_value_that_failed_or_diverged_under_any_attack_is_not_chosen() -> None:
    good, bad = {"lr": 0.1}, {"lr": 1.0}
    records = [line("krum", attack, 0.5, **good) for attack in ("alie", "ipm")]
    for spoilt in (failed(line("krum", "ipm", 0.9, **bad)), line("krum", "ipm", 0.9, validation=None, **bad)):
        (choice,) = report.choose(cells_of([*records, line("krum", "alie", 0.9, **bad), spoilt]), ["lr"])
        assert choice.values == (("lr", 0.1),)
        assert choice.worst[(("lr", 1.0),)] == -math.inf


def test_an_option_of_the_rule_can_be_chosen() -> None:
    records = [line("centered-clipping", "alie", tau, strategy_options={"tau": tau, "m": 1}) for tau in (0.1, 0.7, 0.3)]
    content = study(cells_of(records), choose=["strategy_options.tau"])
    (row,) = content.tables()[0].rows
    assert (row.rule, row.worst.mean) == ("centered-clipping (m=1)", 0.7)


def test_choosing_what_does_not_vary_or_without_validation_is_refused() -> None:
    records = [line("krum", "alie", 0.5, lr=lr, validation=None) for lr in (0.1, 0.2)]
    with pytest.raises(InvalidParameter, match=r"'momentum'.*lr"):
        report.choose(cells_of(records), ["momentum"])
    with pytest.raises(InvalidParameter, match="validation split"):
        report.choose(cells_of(records), ["lr"])


# Published figures

PUBLISHED = """
[[entries]]
strategy = "krum"
attack = "alie"
accuracy = 0.55
source = "Somebody et al., 2023, Table 2"
where = { f = 4 }

[[entries]]
strategy = "flanders+fedavg"
attack = "sign-flip"
accuracy = 0.67
source = "Others et al., 2024"

[[entries]]
strategy = "krum"
attack = "alie"
accuracy = nan
source = "Nobody"
where = { f = 99 }
"""


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    path = tmp_path / "published.toml"
    path.write_text(PUBLISHED, encoding="utf-8")
    entries = report.read_published(path)
    (table,) = report.worst_case(
        cells_of([line("krum", attack, 0.6, attack_options=o) for attack, o in (("alie", {"z": 1.5}), ("sign-flip", {}))])
    )
    grid = worst_case_table(table, matched(table, entries))
    assert [item.full for item in grid.rows[0]] == ["krum", "60.0 / 55.0 (+5.0)", "60.0", "60.0", "–"]
    assert [item.full for item in grid.rows[1]] == ["flanders+fedavg (published only)", "–", "– / 67.0", "–", "–"]
    assert "Somebody et al., 2023, Table 2" in grid.notes[-1]
    assert [entry.source for entry in unmatched([table], entries)] == ["Nobody"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("entries = 3", "no \\[\\[entries\\]\\]"),
        ("[[entries", "as TOML"),
        ('[[entries]]\nstrategy = "krum"\n', "entry 1 .*attack must be a string"),
        ('[[entries]]\nstrategy = "krum"\nattack = "a"\naccuracy = 87\nsource = "x"\n', r"in \[0, 1\]"),
        ('[[entries]]\nstrategy = "krum"\ncolour = 1\n', "'colour'"),
    ],
)
def test_published_figures_that_cannot_be_used_say_why(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "published.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidParameter, match=says):
        report.read_published(path)


# The files


class Page(HTMLParser):
    """Checks that tags are balanced; collects what a test asks about."""

    void = frozenset({"meta", "img", "br", "wbr", "link", "source"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        self.sources += [given["src"] or ""] if "src" in given else []
        if tag not in self.void:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    """A report of 3 rules × 3 attacks × 2 seeds × 2 f × 2 gamma, one cell failed, one attack a backdoor."""
    folder = tmp_path_factory.mktemp("report")
    settings = tuple({"f": f, "num_malicious": f, "gamma": g} for f in (1, 4) for g in (0.0, 1.0))
    records = synthetic(RULES, ("none", "alie", "backdoor"), 2, settings)
    records[5] = failed(records[5])
    (folder / "published.toml").write_text(PUBLISHED, encoding="utf-8")
    return report.write(store(records, folder / "results.jsonl"), folder / "out", published=folder / "published.toml")


def test_every_figure_is_there_in_two_formats_and_shows_something(written: report.Report) -> None:
    names = {path.stem for path in written.files if path.suffix == ".png"}
    assert {"map-worst", "map-alie", "honest-cost", "attack-success", "curves-gamma-0-f-1", "accuracy-gamma-1-f-4"} <= names
    for name in names:
        png, svg = (written.page.with_name(f"{name}.{kind}") for kind in ("png", "svg"))
        pixels = image.imread(png)
        assert min(pixels.shape[:2]) > 150
        assert len(np.unique(pixels.reshape(-1, pixels.shape[-1])[::7], axis=0)) > 20
        assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_the_page_is_self_contained_and_parses(written: report.Report) -> None:
    text = written.page.read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"https?:|@import|url\(", text)
    assert page.sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert len(page.ids) == len(set(page.ids))


def test_the_page_says_what_failed_what_it_ran_on_and_how_to_make_it_again(written: report.Report) -> None:
    text = written.page.read_text(encoding="utf-8")
    cells = Page(text).cells
    assert "TypeError: bad <b>option</b>" in cells
    assert "<b>option" not in text
    assert {"flwr", "1.41.0"} <= set(cells)
    assert "flwr-byzantine report results.jsonl --published published.toml" in text
    assert "71 of 72 cells finished" in text
    assert "Published figures that stand in no table" in text


def test_the_page_shows_the_numbers_of_the_tables(written: report.Report) -> None:
    cells = {text.strip() for text in Page(written.page.read_text(encoding="utf-8")).cells}
    for table in written.content.study.tables():
        for row in table.rows:
            for score in row.scores.values():
                deviation = "" if math.isnan(score.std) else f" ± {100 * score.std:.1f}"
                mark = "†" if score.failed else ""
                assert any(text.startswith(f"{100 * score.mean:.1f}{mark}{deviation}") for text in cells)


def test_csv_and_markdown_hold_the_same_numbers(written: report.Report) -> None:
    with written.page.with_name("worst-case.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    markdown = written.page.with_name("tables.md").read_text(encoding="utf-8")
    rows = [(dict(table.setting), row) for table in written.content.study.tables() for row in table.rows]
    assert len(lines) == len(rows) == 12
    for text, (setting, row) in zip(lines, rows, strict=True):
        assert (float(text["gamma"]), int(text["f"]), text["rule"]) == (setting["gamma"], setting["f"], row.rule)
        assert float(text["worst mean"]) == pytest.approx(row.worst.mean)
        assert text["worst attack"] == row.worst_attack
        assert f"{100 * row.worst.mean:.1f}" in markdown
    with written.page.with_name("cells.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 72


def test_a_rule_has_one_look_in_every_figure_and_no_two_rules_share_one() -> None:
    rules = [f"rule {i}" for i in range(28)]
    shown = looks(rules)
    assert len({(look.colour, str(look.line)) for look in shown.values()}) == 28


def test_the_curves_show_the_mean_over_seeds_and_the_reference() -> None:
    records = [line("fedavg", "none", 0.9), line("fedavg", "alie", 0.4), line("fedavg", "alie", 0.6, 1)]
    (drawing,) = curves(study(cells_of(records)))
    honest, attacked = drawing.figure.axes
    drawn = {curve.get_label(): curve.get_ydata() for curve in attacked.get_lines()}
    means = [100 * (a + b) / 2 for a, b in zip(records[1]["course"]["accuracy"], records[2]["course"]["accuracy"], strict=True)]
    assert drawn["fedavg"] == pytest.approx(means)
    assert drawn["FedAvg, no attack"] == pytest.approx([100 * value for value in records[0]["course"]["accuracy"]])
    assert len(attacked.collections) == 1
    assert len(honest.collections) == 0


def test_the_curves_are_drawn_through_the_evaluated_rounds() -> None:
    records = [line("krum", "alie", 0.4, seed) for seed in (0, 1)]
    for record in records:
        record["course"]["accuracy"] = [0.1, None, None, 0.3, None, 0.5 + record["config"]["seed"] / 10]
    (drawing,) = curves(study(cells_of(records)))
    (axis,) = drawing.figure.axes
    (curve,) = axis.get_lines()
    assert list(curve.get_xdata()) == [0, 3, 5]
    assert curve.get_ydata() == pytest.approx([10, 30, 55])
    (band,) = axis.collections
    assert band.get_paths()[0].get_extents().ymax == pytest.approx(60)


def test_the_heat_map_has_the_worst_case_at_its_place() -> None:
    settings = tuple({"f": f, "gamma": g} for f in (1, 2, 3) for g in (0.0, 1.0))
    records = synthetic(settings=settings)
    drawing = next(drawing for drawing in maps(study(cells_of(records))) if drawing.name == "map-worst")
    krum = next(axis for axis in drawing.figure.axes if axis.get_title() == "krum")
    expected = [
        [min(naive_mean(records, strategy="krum", attack=a, f=f, gamma=g) for a in ("alie", "sign-flip")) for f in (1, 2, 3)]
        for g in (1.0, 0.0)
    ]
    assert np.asarray(krum.images[0].get_array()) == pytest.approx(100 * np.array(expected))
    assert [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()] == ["1", "0"]


def test_one_rule_under_attacks_with_long_names_has_room_for_both() -> None:
    options = {"attack_options": {"direction": "unit", "gamma_init": 5}}
    (drawing,) = matrices(study(cells_of([line("median", attack, 0.5, **options) for attack in ("agr-tailored", "min-max")])))
    FigureCanvasAgg(drawing.figure).draw()
    assert drawing.figure.axes[0].get_window_extent().height > 20  # pixels of the one row


@pytest.mark.parametrize("count", [3, 6])
def test_labels_of_the_matrix_stay_clear_of_each_other(count: int) -> None:
    attacks = [f"ipm-{k}" for k in range(count)]
    options = {"strategy_options": {"max_iter": 3, "tau": 10}, "attack_options": {"epsilon": 0.1}}
    records = [line("bucketing+centered-clipping", attack, 0.5, **options) for attack in attacks]
    (drawing,) = matrices(study(cells_of(records)))
    canvas = FigureCanvasAgg(drawing.figure)
    canvas.draw()
    labels = drawing.figure.axes[0].get_xticklabels()
    assert [label.get_text().split()[0] for label in labels] == [*attacks, "worst"]
    boxes = []
    for label in labels:
        turn = label.get_rotation()
        corner = label.get_transform().transform(label.get_position())
        label.set_rotation(0)  # the box of the text itself, which is then turned about its place back to where it is drawn
        boxes.append(Affine2D().rotate_deg_around(*corner, turn).transform(corners(label.get_window_extent(canvas.get_renderer()))))
        label.set_rotation(turn)
    assert not [k for k in range(count) if Path2D(boxes[k]).intersects_path(Path2D(boxes[k + 1]), filled=True)]


def corners(box: Any) -> np.ndarray:
    return np.array([(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1), (box.x0, box.y0)])


def test_the_command_prints_tables_and_its_errors_are_one_line_with_status_2(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    path = store(synthetic(), tmp_path / "small.jsonl")
    shown = CliRunner().invoke(cli.app, ["report", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "nnm+trimmed-mean" in shown.output
    assert (tmp_path / "small-report" / "index.html").exists()
    monkeypatch.setattr(sys, "argv", ["flwr-byzantine", "report", str(tmp_path / "none.jsonl")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "cannot read" in capsys.readouterr().err


def test_many_settings_print_the_best_rule_of_each() -> None:
    settings = tuple({"f": f} for f in (1, 2, 3, 4))
    tables = report.worst_case(cells_of(synthetic(settings=settings)))
    assert [row[1].text for row in best_of(tables).rows] == ["nnm+trimmed-mean"] * 4


def test_importing_the_report_is_light() -> None:
    code = (
        "import flwr_byzantine.experiments.report, sys; print([m for m in ('matplotlib', 'jinja2', 'pandas', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
