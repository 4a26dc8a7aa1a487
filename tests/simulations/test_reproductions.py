"""The committed reproductions: configurations that parse, results that are theirs, a page that says what the results say."""

import json
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from flwr_byzantine.experiments.report.settings import load
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep import cell, config, kinds
from flwr_byzantine.experiments.sweep.command import command
from flwr_byzantine.experiments.tasks.sources.raw import raw_of
from simulations.reproductions import compared, data, page

NAMES = [name for name in compared.NAMES if compared.file_of(name).exists()]
RULE = "clipping+nnm+geometric-median"
by_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def no_data_needed(monkeypatch):
    """Fashion-MNIST need not be there to read a configuration."""
    monkeypatch.setattr(cell, "missing", lambda _dataset, _root: "")
    monkeypatch.setattr(kinds, "_check_tasks", lambda _file, _cells, _root: None)


def sweep_of(name):
    return config.read(compared.HERE / f"{name}.toml")


@pytest.mark.parametrize(("name", "cells"), [("flanders", 150), ("flanders-fashion", 150), ("bucketing", 306), ("byzfl", 288)])
def test_every_published_figure_has_a_cell_of_each_of_three_seeds(name, cells, no_data_needed):
    found = sweep_of(name).cells
    assert len(found) == cells
    seeds = [[cell.config | {"seed": 0} for cell in found if cell.config["seed"] == seed] for seed in (0, 1, 2)]
    assert seeds[0] == seeds[1] == seeds[2]
    if name == "byzfl":
        assert len(seeds[0]) == 3 * len(compared.published(name))
    else:
        told = len(compared.HALVES) if name == "bucketing" else 1
        assert told * len(seeds[0]) == len(compared.published(name))
        assert {(entry.strategy.split(" (")[0], entry.attack) for entry in compared.published(name)} == {
            (compared.OURS.get(config["strategy"].split(":")[-1], config["strategy"]), config["attack"]) for config in seeds[0]
        }


@by_name
def test_a_dry_run_finds_the_cells_of_the_committed_results_finished(name, no_data_needed, tmp_path):
    with open(tmp_path / "out", "w") as out:
        console = Console(file=out, width=200)
        assert command(compared.HERE / f"{name}.toml", compared.HERE / "results" / f"{name}.jsonl", 1, False, True, console) == 0
    text, cells = (tmp_path / "out").read_text(), sweep_of(name).cells
    left = compared.without_result(name, cells)
    assert f"{left} to run, {len(cells) - left} finished, 0 failed before" in text
    counted = [line.split("|")[2:4] for line in page.counts().splitlines() if line.startswith(f"| {name} ")]
    assert [[int(count) for count in each] for each in counted] == [[len(cells), left]]


@by_name
def test_each_result_is_a_cell_of_the_configuration_or_its_first_rounds(name, no_data_needed):
    expected = {compared.but_rounds(cell.config): cell for cell in sweep_of(name).cells}
    found = {cell.key: cell for cell in load(compared.file_of(name))}
    whole = [cell for cell in found.values() if cell.config["rounds"] == expected[compared.but_rounds(cell.config)].config["rounds"]]
    assert all(cell.key == expected[compared.but_rounds(cell.config)].key for cell in whole)
    assert all(cell.config["rounds"] <= expected[compared.but_rounds(cell.config)].config["rounds"] for cell in found.values())
    assert all(cell.ok for cell in found.values())
    assert all(len(cell.curve()) == cell.config["rounds"] + 1 for cell in found.values())
    assert all(cell.value() == pytest.approx(sum(cell.curve()[-3:]) / 3, abs=1e-4) for cell in found.values())


def test_what_is_committed_is_small_as_git_keeps_it():
    files = [path for path in compared.HERE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(len(zlib.compress(path.read_bytes())) for path in files) < 1e6


@by_name
def test_no_machine_paths(name):
    text = (compared.HERE / "results" / f"{name}.jsonl").read_text() + (compared.HERE / f"{name}.toml").read_text()
    assert not [word for word in ("/work", "/root", "/tmp", "/home") if word in text]


def test_the_page_says_what_the_results_give(no_data_needed):
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text, page.blocks()) == text
    changed = page.filled(text, {"flanders": "nothing"})
    assert changed != text
    with pytest.raises(ValueError, match="must hold the marks of 'none' once, found 0"):
        page.filled(text, {"none": ""})


@by_name
def test_figures_that_the_page_shows_are_there(name):
    shown = [word.split(")")[0] for word in page.PAGE.read_text(encoding="utf-8").split("](")[1:]]
    local = [path for path in shown if not path.startswith("http")]
    assert [path for path in local if path.startswith(f"figures/{name}")]
    assert all((compared.HERE / path).exists() for path in local)
    assert {str(path.relative_to(compared.HERE)) for path in compared.HERE.glob("figures/*")} <= set(local)


@by_name
def test_a_published_figure_stands_beside_each_of_ours(name):
    found = compared.results(name)
    ours = sum(row.column(attack).known for table in found.tables() for row in table.rows for attack in table.attacks)
    assert len(compared.pairs(name)) == (
        sum(compared.whole(table, rule, found) for table in found.tables() for rule in found.rules) if name == "byzfl" else ours
    )
    assert page.beyond(name).count(" / ") == 1 + sum(not pair.near for pair in compared.pairs(name))


def test_a_figure_is_taken_of_a_run_as_the_publication_takes_it():
    curve = [0.0, 0.9, 0.8, 0.1, 0.3, 0.2]
    assert compared.best_from_the_third(Result({"strategy": "krum"}, history={"accuracy": curve})) == 0.3
    sparse = [k / 1000 if k % 30 == 0 or k > 298 else None for k in range(301)]
    assert compared.last_five(Result({"strategy": "krum", "rounds": 300}, history={"accuracy": sparse})) == pytest.approx(0.24)
    assert compared.last_five(Result({"strategy": "krum", "rounds": 150}, history={"accuracy": sparse})) == pytest.approx(0.09)
    sparse = [1 - abs(k - 50) / 1000 if k % 50 == 0 or k > 148 else None for k in range(151)]
    assert compared.best(Result({"strategy": "krum"}, history={"accuracy": sparse})) == 1.0


def test_a_run_of_600_rounds_gives_the_figures_of_both_numbers_and_takes_the_place_of_a_shorter_one(tmp_path, monkeypatch):
    monkeypatch.setattr(compared, "HERE", tmp_path)
    (tmp_path / "results").mkdir()
    config = {"strategy": "krum", "attack": "ipm", "seed": 0}
    curve = [k / 1000 for k in range(601)]
    runs = [Result(config | {"rounds": rounds}, str(rounds), history={"accuracy": curve[: rounds + 1]}) for rounds in (600, 300)]
    compared.file_of("bucketing").write_text("".join(json.dumps(run.to_json()) + "\n" for run in runs))
    tables = compared.results("bucketing").tables()
    assert [dict(table.setting)["rounds"] for table in tables] == [300, 600]
    assert [table.row("krum").column("ipm").values for table in tables] == [(pytest.approx(0.24),), (pytest.approx(0.54),)]
    compared.file_of("bucketing").write_text(json.dumps(runs[1].to_json()) + "\n")
    assert [table.row("krum").column("ipm").values for table in compared.results("bucketing").tables()] == [(pytest.approx(0.24),)]


@pytest.mark.parametrize("images", ["mnist", "fashion-mnist"])
def test_flanders_trains_on_values_from_minus_one_to_one_and_is_evaluated_on_values_from_zero(images, monkeypatch):
    x, y = np.array([[[0, 255]], [[51, 255]]], np.uint8), [0, 1]
    monkeypatch.setattr(data, "read", lambda name, *_: raw_of(name, (x, y), (x, y)))
    train_x, _, test_x, _ = data.flanders(images)
    np.testing.assert_allclose(train_x[:, 0, 0], [[-1, 1], [-0.6, 1]], rtol=1e-6)
    np.testing.assert_allclose(test_x[:, 0, 0], [[0, 1], [0.2, 1]], rtol=1e-6)


# --- what must hold -------------------------------------------------------------------------------------------


def accuracies(name, **setting):
    """Ours, by rule without options and attack without options, in the setting."""
    for table in compared.results(name).tables():
        if all(table.cells[0].config[key] == value for key, value in setting.items()):
            return {
                (row.rule.split(" (")[0], attack.split(" (")[0]): score.mean for row in table.rows for attack, score in row.scores.items()
            }
    raise KeyError(setting)


def test_flanders_the_attacks_ruin_the_average_and_neither_bulyan_nor_multi_krum():
    found = accuracies("flanders", num_malicious=20)
    assert max(found["mean", "alie"], found["mean", "gaussian"]) < 0.3
    for attack in ("alie", "gaussian", "min-max"):
        assert min(found["bulyan", attack], found["multi-krum", attack]) > 0.8
        assert found["median", attack] > found["mean", attack] + 0.1


def test_flanders_multi_krum_keeps_no_attacker_under_any_attack():
    cells = [json.loads(line) for line in Path(compared.__file__).with_name("results").joinpath("flanders.jsonl").read_text().splitlines()]
    of_it = [cell for cell in cells if (cell["config"]["strategy"], cell["config"]["num_malicious"]) == ("multi-krum", 20)]
    assert len(of_it) == 12
    assert {kept for cell in of_it for kept in cell["course"]["malicious_kept"][2:]} == {0.0}
    found = accuracies("flanders", num_malicious=20)
    figures = [found["multi-krum", attack] for attack in ("alie", "fang-krum", "gaussian", "min-max")]
    assert max(figures) - min(figures) < 0.005


def test_flanders_its_filter_leaves_the_average_what_it_has_without_attackers():
    found, alone = accuracies("flanders", num_malicious=20), accuracies("flanders", num_malicious=0)["mean", "none"]
    for attack in ("alie", "gaussian", "min-max"):
        assert found["flanders+mean", attack] > alone - 0.02 > found["mean", attack] + 0.3


def test_flanders_sixty_attackers_ruin_the_average():
    found = accuracies("flanders", num_malicious=60)
    assert max(found["mean", attack] for attack in ("alie", "gaussian", "min-max")) < 0.2


def test_flanders_the_median_and_the_trimmed_mean_stand_lie_on_the_scale_of_training_and_not_on_the_baselines():
    lines = [line for line in page.on_the_scale_of_training().splitlines() if line.startswith(("| median", "| trimmed-mean"))]
    assert len(lines) == 2
    assert all(float(line.split("|")[2].strip(" *").split()[0]) > 85 for line in lines)
    found = accuracies("flanders", num_malicious=20)
    assert max(found["median", "alie"], found["trimmed-mean", "alie"]) < 0.75


def test_byzfl_four_of_fourteen_attackers_ruin_training_on_sorted_labels_and_not_on_iid_ones_as_published():
    of = {tuple(pair.setting.split(", ")[:2]): pair for pair in compared.pairs("byzfl") if pair.rule.startswith(RULE)}
    sorted_by_four, iid_by_one, iid_by_four = of["gamma = 0", "f = 4"], of["gamma = 1", "f = 1"], of["gamma = 1", "f = 4"]
    assert all(pair.near for pair in (sorted_by_four, iid_by_one, iid_by_four))
    assert sorted_by_four.ours < 0.35 < 0.9 < iid_by_four.ours < iid_by_one.ours


def test_byzfl_on_sorted_labels_the_negative_mean_leaves_the_less_the_more_attackers_send_it():
    left = [accuracies("byzfl", gamma=0.0, f=f)[RULE, "ipm"] for f in (1, 2, 3, 4)]
    assert all(more > fewer + 0.1 for more, fewer in pairwise(left))


def test_byzfl_a_worst_case_over_fewer_attacks_than_published_is_a_bound_and_not_compared():
    row = next(line for line in page.by_setting("byzfl").splitlines() if line.startswith("| gamma 0 "))
    found = compared.results("byzfl")
    tables = [table for table in found.tables() if table.cells[0].config["gamma"] == 0]
    rule = next(rule for rule in found.rules if rule.startswith(RULE))
    assert [cell.strip().startswith("≤") for cell in row.split("|")[2:-1]] == [not compared.whole(table, rule, found) for table in tables]


def test_bucketing_saves_the_geometric_median_from_inner_product_manipulation_as_published():
    found = accuracies("bucketing", momentum=0.9)
    assert found["bucketing+geometric-median", "ipm"] > 0.9 > 0.6 > found["geometric-median", "ipm"]
    assert all(pair.near for pair in compared.pairs("bucketing") if pair.attack.startswith("ipm") and "geometric" in pair.rule)


def test_bucketing_clipping_without_buckets_stands_by_the_published_radius_and_breaks_down_by_a_tenth_of_it_as_theirs_does():
    found = {(pair.rule, pair.attack.split(" (")[0], pair.setting): pair for pair in compared.pairs("bucketing")}
    wide, narrow = (f"centered-clipping (max_iter=3, tau={tau})" for tau in (100, 10))
    at = [pair for (rule, _, _), pair in found.items() if rule.removeprefix("bucketing+") == wide]
    assert len(at) == 20
    assert all(abs(pair.ours - pair.theirs) < 0.01 for pair in at)
    broken = found[narrow, "alie", "rounds = 600"]
    assert max(broken.ours, broken.theirs) < 0.12 < 0.97 < found[wide, "alie", "rounds = 600"].ours


# --- the script -----------------------------------------------------------------------------------------------


def test_shortening_keeps_the_last_result_of_a_cell(tmp_path):
    a, rounds = {"strategy": "krum", "lr": 0.1234567, "rounds": 8, "evaluate_every": 4}, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    written = [
        Result(a, "a", history={"accuracy": [0.1234567, None]}, final={"accuracy": 0.5}),
        Result(a | {"lr": 0.1}, "b"),
        Result(a, "a", history={"accuracy": [0.7654321, None], "kappa_seen": rounds}, final={"accuracy": 0.7654321}),
    ]
    path = Path(tmp_path, "r.jsonl")
    path.write_text("".join(json.dumps(result.to_json()) + "\n" for result in written))
    page.shorten(path)
    b, found = (json.loads(line) for line in path.read_text().splitlines())
    assert (b["key"], b["course"]) == ("b", {})
    course = {"accuracy": [0.76543, None], "kappa_seen": [None, None, None, 0.4, None, 0.6, 0.7, 0.8]}
    assert found == written[2].to_json() | {"course": course, "final": {"accuracy": 0.76543}}
