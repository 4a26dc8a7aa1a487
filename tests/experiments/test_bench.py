"""The benchmark: contestants compute the same thing, failures are results, verdicts follow from the figures."""

import json
import os
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.bench import CONTESTS, Size, Timing, bench, measure, peers
from flwr_byzantine.experiments.bench.claims import faster
from flwr_byzantine.experiments.bench.command import everything
from flwr_byzantine.experiments.bench.machine import gram_limit, read_bandwidth
from flwr_byzantine.experiments.bench.measure import isolated
from flwr_byzantine.experiments.bench.output import ratio
from flwr_byzantine.experiments.bench.runner import OURS, Measurement, entries, select, updates
from flwr_byzantine.experiments.cli import app

SAME = {  # contests in which a peer's convention is ours, so that its numbers must be
    "mean": ("Flower", "ByzFL"),
    "krum": ("Flower",),
    "median": ("Flower", "ByzFL"),
    "trimmed-mean": ("Flower", "ByzFL"),
    "bulyan": ("Flower",),
    "meamed": ("ByzFL",),
    "monna": ("ByzFL",),
}


@pytest.mark.parametrize("name", SAME)
def test_contestants_compute_the_same(name):
    size = Size(11, 500)
    X = updates(size)
    found = {who: task() for _, who, task in entries(select([name]), size, peers(), X)}
    for peer in set(SAME[name]) & set(found):
        other = found[peer][0] if isinstance(found[peer], list) else found[peer]
        np.testing.assert_allclose(np.asarray(other), found[OURS], rtol=1e-5, atol=1e-5)


def test_flower_is_always_there_and_every_rule_competes():
    from flwr_byzantine import rules

    assert "Flower" in peers()
    used = {type(stage).__name__ for contest in CONTESTS for part in [contest.ours(2)] for stage in getattr(part, "parts", (part,))}
    assert used == {cls.__name__ for cls in rules.available()}


def test_measure_takes_failures_as_results():
    assert 0.01 < measure(lambda: time.sleep(0.01), repeats=2).seconds < 1
    assert measure(lambda: time.sleep(60), timeout=0.3) == Timing(None, error="more than 0 s")
    assert measure(lambda: 1 / 0) == Timing(None, error="ZeroDivisionError: division by zero")
    assert measure(lambda: os._exit(3)).error == "its process died"
    assert isolated(lambda: 6 * 7, 10) == 42


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="only Linux tells the peak")
def test_measure_finds_the_memory_of_a_call():
    peak = measure(lambda: np.ones(1 << 24), repeats=1).peak
    assert 100e6 < peak < 200e6  # 2^24 float64 are 134 MB


def test_sizes_are_read_from_text_and_nonsense_is_refused():
    assert Size.parse("100x2e5") == Size(100, 200_000)
    assert [Size(n, 1).f for n in (1, 11, 32, 100)] == [0, 2, 6, 20]
    for text in ("100", "0x5", "axb", "3x4x5"):
        with pytest.raises(InvalidParameter, match="must look like 32x1e6"):
            Size.parse(text)
    with pytest.raises(InvalidParameter, match="unknown rule 'krumm'; did you mean 'krum'\\? choose one of: aksel"):
        bench([Size(5, 10)], [], ["krumm"])


def test_gram_limit_is_the_larger_of_reading_and_multiplying():
    assert gram_limit(10, 1000, bandwidth=1e6, peak=1e12) == pytest.approx(0.04)
    assert gram_limit(10, 1000, bandwidth=1e12, peak=1e6) == pytest.approx(0.05)
    assert read_bandwidth(1 << 24) > 1e8


def test_a_claim_of_speed_holds_by_the_ratio_of_times_and_against_who_gave_up():
    assert faster("a", Timing(1.0), Timing(7.0), 6.0).holds
    assert not faster("a", Timing(1.0), Timing(5.0), 6.0).holds
    given_up = faster("a", Timing(1.0), Timing(None, error="more than 60 s"), 20.0)
    assert given_up.holds
    assert given_up.measured.startswith("more than 60.0x")
    assert not faster("a", Timing(None, error="its process died"), Timing(5.0), 1.0).holds
    assert not faster("a", Timing(1.0), Timing(None, error="ValueError: no"), 1.0).holds
    one, two = (Measurement("krum", who, Size(5, 5), Timing(seconds)) for who, seconds in ((OURS, 2.0), ("Flower", 3.0)))
    assert ratio(one, two) == 1.5
    assert ratio(one, None) is None


def test_command_line_prints_tables_and_writes_files(tmp_path):
    files = {name: tmp_path / f"bench.{name}" for name in ("json", "plot", "markdown")}
    files["plot"] = tmp_path / "bench.png"
    options = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    done = CliRunner().invoke(app, ["bench", "11x1000", "--rule", "krum", "--rule", "median", *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(files["json"].read_text())
    times = {(item["rule"], item["contestant"]): item["timing"]["seconds"] for item in found["results"]}
    assert {("krum", OURS), ("median", OURS), ("krum", "Flower"), ("median", "Flower")} <= set(times)
    assert all(seconds > 0 for seconds in times.values() if seconds is not None)
    assert found["limits"]["read_bytes_per_s"] > 1e8
    assert found["machine"]["cores"] >= 1
    assert "| krum | " in files["markdown"].read_text()
    assert files["plot"].stat().st_size > 5000


def test_the_full_contest_has_ours_at_every_size():
    for size in everything():
        ours = [contest.name for contest, who, _ in entries(select([]), size, [], np.empty((1, 1))) if who == OURS]
        assert {"krum", "median", "nnm+trimmed-mean"} <= set(ours)
        assert ("mda" in ours) == (size.n <= 32)
