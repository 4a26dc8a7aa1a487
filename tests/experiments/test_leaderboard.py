"""Leaderboards: areas, worst cases, places and ties of made-up results, and what lacks."""

import csv
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments import cli
from flwr_byzantine.experiments.leaderboard import leaderboard, ranked, write
from flwr_byzantine.experiments.leaderboard.tables import of_task
from flwr_byzantine.experiments.results import Result

COUNTS = (0, 1, 5)
SEEDS = (0, 1, 2)
LEVELS = {  # accuracy without attack at f = 0 and f = 5, then under the worse of two attacks by 1 and by 5 of 10 clients
    "fedavg": (0.8, 0.8, 0.4, 0.0),
    "median": (0.8, 0.6, 0.7, 0.4),
    "trimmed-mean": (0.8, 0.7, 0.7, 0.5),
}


def cell(rule, attack, count, accuracy, seed=0, dataset="digits", status="ok", clients=11):
    config = {"strategy": rule, "attack": attack, "num_malicious": count, "f": count, "seed": seed, "num_clients": clients}
    return Result({**config, "dataset": dataset}, status=status, final={"accuracy": accuracy})


def runs(rule, levels, seed=0, **where):
    """The worse attack is alie by 1 and ipm by 5; the other leaves 0.05 more."""
    start, told, *worst = levels
    yield from (cell(rule, "none", count, value, seed, **where) for count, value in zip(COUNTS, (start, start, told), strict=True))
    for count, worse, value in zip(COUNTS[1:], ("alie", "ipm"), worst, strict=True):
        yield from (cell(rule, attack, count, value + 0.05 * (attack != worse), seed, **where) for attack in ("alie", "ipm"))


def made(levels=LEVELS, noise=0.0, datasets=("digits",), clients=11):
    """All seeds; rule k of a task moves by ± k * noise over seeds."""
    return [
        each
        for dataset in datasets
        for seed in SEEDS
        for k, (rule, values) in enumerate(levels.items())
        for each in runs(rule, [max(0.0, value + k * noise * (seed - 1)) for value in values], seed, dataset=dataset, clients=clients)
    ]


def without(cells, **config):
    return [each for each in cells if not all(each.config[key] == value for key, value in config.items())]


def test_areas_worst_cases_and_costs_by_hand():
    found = leaderboard(made())
    curve = found.boards[0].curves["median"]
    assert [(point.share, point.attack) for point in curve.points] == [(0.0, "none"), (1 / 11, "alie"), (5 / 11, "ipm")]
    assert curve.area.values == pytest.approx([((0.8 + 0.7) / 2 * 1 + (0.7 + 0.4) / 2 * 4) / 5] * 3)
    assert curve.cost.values == pytest.approx([0.2] * 3)
    median = next(each for each in found.standings if each.rule == "median")
    assert (median.score.mean, median.cost.mean, median.worst.mean) == pytest.approx((curve.area.mean / 0.8, 0.25, 0.5))


def test_rules_are_ranked_by_the_mean_over_tasks_of_what_fedavg_would_have():
    low = {rule: [value / 10 for value in values] for rule, values in LEVELS.items()} | {"median": (0.08, 0.08, 0.08, 0.08)}
    both = made() + made(low, datasets=("mnist",))
    assert [each.rule for each in leaderboard(made()).standings] == ["trimmed-mean", "median", "fedavg"]
    assert [each.rule for each in leaderboard(both).standings] == ["median", "trimmed-mean", "fedavg"]
    assert [each.place for each in leaderboard(both).standings] == [1, 2, 3]


def test_what_the_seeds_do_not_tell_apart_is_tied():
    close = LEVELS | {"median": (0.8, 0.7, 0.7, 0.49)}
    assert [(each.place, each.tied) for each in leaderboard(made(close)).standings] == [(1, False), (2, False), (3, False)]
    noisy = leaderboard(made(close, noise=0.02))
    assert [(each.rule, each.place, each.tied) for each in noisy.standings[:2]] == [("trimmed-mean", 1, True), ("median", 1, True)]
    assert noisy.standings[2].place == 3
    assert [row[0].text for row in ranked(noisy).rows] == ["1=", "1=", "3"]


def test_what_seeds_do_to_all_rules_alike_ties_nobody():
    cells = [
        each
        for seed in SEEDS
        for rule, (start, *rest) in LEVELS.items()
        for each in runs(rule, [start, *(v + 0.1 * seed for v in rest)], seed)
    ]
    assert not any(each.tied for each in leaderboard(cells).standings)


def test_a_rule_that_cannot_take_so_many_counts_as_guessing_there():
    levels = LEVELS | {"krum": (0.8, 0.8, 0.7, 0.7)}
    cells = without(made(levels), strategy="krum", num_malicious=5)
    found = leaderboard(cells)
    curve = found.boards[0].curves["krum"]
    assert (curve.points[-1].attack, curve.points[-1].score.values) == ("n too small", (0.1, 0.1, 0.1))
    assert curve.cost.values == pytest.approx([0.0] * 3)  # with the f that it can take
    assert "n too small" in of_task(found, found.boards[0]).markdown()
    enough = without(made(levels, clients=13), strategy="krum", num_malicious=5)  # now it could, so these results lack
    assert leaderboard(enough).unranked == {"krum": ("digits: no attack, 5 told", "digits: alie by 5", "digits: ipm by 5")}


@pytest.mark.parametrize(
    ("left_out", "says"),
    [
        ({"attack": "alie", "num_malicious": 5}, ("digits: alie by 5",)),
        ({"attack": "alie", "num_malicious": 5, "seed": 2}, ("digits: alie by 5",)),
        ({"attack": "none", "num_malicious": 0}, ("digits: no attack, 0 told",)),
    ],
)
def test_a_rule_without_all_its_results_is_not_ranked_and_it_is_said_why(left_out, says):
    found = leaderboard(without(made(), strategy="median", **left_out))
    assert [each.rule for each in found.standings] == ["trimmed-mean", "fedavg"]
    assert found.unranked == {"median": says}
    assert f"Not ranked: median, without {says[0]}." in ranked(found).markdown()


def test_a_failed_run_is_no_result():
    place = {"strategy": "median", "attack": "ipm", "num_malicious": 5, "seed": 1}
    broken = [*without(made(), **place), cell("median", "ipm", 5, None, 1, status="failed")]
    assert leaderboard(broken).unranked == {"median": ("digits: ipm by 5",)}


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ([], "there is no cell"),
        ([Result({"strategy": "krum", "seed": 0, "f": 1})], "a cell of krum under none does not say num_malicious, num_clients"),
        (
            without(made(), attack="none", strategy="fedavg", num_malicious=0),
            "lacks FedAvg where nobody attacks in one .*add strategy",
        ),
        (without(made(), attack="none", num_malicious=0), "digits lacks FedAvg where nobody attacks"),
        ([each for each in made() if each.attack == "none"], "nobody attacks on digits; sweep over attacks"),
        ([each for each in made() if each.config["seed"] == 0], "digits has the seed 0 only; sweep over two seeds at least"),
        (made() + without(made(datasets=("mnist",)), seed=2), r"digits has the seeds \[0, 1, 2\], mnist \[0, 1\]; run the same ones"),
        (made() + made(), "digits has two results of fedavg under none by 0, seed 0, which differ in no key"),
        ([*made(), *(replace(each, config=each.config | {"f": 1}) for each in made())], "by 0, seed 0, which differ in f; keep one"),
        (made({"fedavg": (0.0, 0.0, 0.0, 0.0)}), "digits: FedAvg where nobody attacks, .*, got none right with seed 0; give it a setting"),
        (without(made({"fedavg": LEVELS["fedavg"]}), attack="ipm", seed=0), "no rule has all its results; fedavg lacks digits: ipm by 1"),
    ],
)
def test_what_lacks_is_one_sentence(cells, says):
    with pytest.raises(InvalidParameter, match=says) as caught:
        leaderboard(cells)
    assert "\n" not in str(caught.value)


def test_cells_that_several_files_hold_count_once_the_last_of_each():
    keyed = [replace(each, key=str(number)) for number, each in enumerate(made())]
    older = [replace(each, final={"accuracy": 0.5}) for each in keyed]
    assert leaderboard(older + keyed) == leaderboard(made())


def test_the_files_hold_every_figure(tmp_path):
    found = leaderboard(made(datasets=("digits", "mnist")))
    files = write(found, tmp_path / "new" / "out")
    assert [path.name for path in files] == ["leaderboard.md", "leaderboard.csv", "leaderboard.svg", "leaderboard.png"]
    with open(files[1], newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 3 * 2 * 3
    last = lines[2]
    assert (last["rule"], last["task"], last["malicious"], last["attack"], last["place"]) == ("trimmed-mean", "digits", "5", "ipm", "1")
    assert float(last["accuracy"]) == pytest.approx(0.5)
    assert "prefers-color-scheme:dark" in files[2].read_text()
    assert "| 1 | trimmed-mean | **78.8" in files[0].read_text()


def test_the_command_takes_a_file_for_each_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for dataset in ("digits", "mnist"):
        lines = [json.dumps(each.to_json() | {"key": f"{k}"}) for k, each in enumerate(made(datasets=(dataset,)))]
        (tmp_path / f"{dataset}.jsonl").write_text("\n".join(lines) + "\n")
    done = CliRunner().invoke(cli.app, ["leaderboard", "digits.jsonl", "mnist.jsonl"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "trimmed-mean" in done.stdout
    assert (tmp_path / "leaderboard" / "leaderboard.svg").exists()
