"""The committed reproductions: configurations that parse, results that are theirs, a page that says what the results say."""

import json
import zlib
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
        entries = compared.published(name)
        assert all(any(_tells(entry, config) for config in seeds[0]) for entry in entries)
        assert all(sum(_tells(entry, config) for entry in entries) == told for config in seeds[0])


def _tells(entry, config):
    """Whether the figure is one of the cell's."""
    shown = compared._as_published(Result(config))
    where = {key: value for key, value in entry.where.items() if key != "rounds"}
    fits = entry.strategy in (shown.rule, shown.config["strategy"]) and entry.attack == config["attack"]
    rounds = entry.where.get("rounds", config["rounds"])
    return fits and rounds in (*compared.HALVES, config["rounds"]) and all(config[key] == value for key, value in where.items())


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


def test_results_with_the_same_masks_differ_from_the_configurations_cells_in_the_model_and_the_copied_worker_alone(no_data_needed):
    cells, found = [cell.config for cell in sweep_of("bucketing").cells], compared.committed(compared.SAME_MASKS)
    chosen = next(config["attack_options"] for config in cells if config["attack"] == "mimic")
    assert {cell.config["model"] for cell in found} == {"simulations.reproductions.models:bucketing_cnn_on_a_gpu"}
    assert [cell.config["attack_options"] for cell in found if cell.config["attack_options"] not in ({"target": 14}, chosen)] == []
    assert all(cell.config | {"model": "bucketing-cnn", "attack_options": chosen} in cells for cell in found)
    assert all(cell.ok for cell in found)


def test_what_is_committed_is_small_as_git_keeps_it():
    files = [path for path in compared.HERE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(len(zlib.compress(path.read_bytes())) for path in files) < 1e6


@pytest.mark.parametrize("path", [*compared.HERE.glob("*.toml"), *compared.HERE.glob("results/*")], ids=lambda path: path.name)
def test_no_machine_paths(path):
    text = path.read_text()
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


@pytest.mark.parametrize(
    ("ours", "theirs", "seeds", "explained"),
    [
        ((0.2, 0.6), 0.5, (), True),
        ((0.2, 0.4), 0.5, (), False),
        ((0.4,), 0.5, (0.3, 0.7), True),
        ((0.2,), 0.5, (0.3, 0.7), False),
    ],
)
def test_a_difference_is_explained_by_seeds_where_one_side_is_in_the_range_of_the_other(ours, theirs, seeds, explained):
    pair = compared.Pair("", "krum", "ipm", ours, theirs, seeds)
    assert pair.explained == explained
    assert ("in this range" in str(pair)) == explained


def test_one_seed_is_compared_with_the_mean_of_the_others():
    assert compared.among_seeds([(0.5, 0.5, 0.62), (0.1, 0.2), (0.5, 0.52, 0.55)]) == [False, False, False, True, True, True]


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
