"""Strategies under `reproducible=True`: both APIs, wrapped and named, descending and buffered; each kept round is verified."""

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine import Buffered, ByzantineSGD, Krum, Robust, TimedGrid, legacy, rules
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.verifying import verify
from tests.support.federation import N, client_app, start
from tests.support.legacy import one_round

STRATEGIES = {
    "Krum": lambda **options: Krum(num_malicious_nodes=2, **options),
    "Robust": lambda **options: Robust("nnm+trimmed-mean", f=2, **options),
    "ByzantineSGD": lambda **options: ByzantineSGD(rules.Krum(f=2), 0.1, **options),
    "Buffered": lambda **options: Buffered("trimmed-mean", 7, FedAvg(fraction_evaluate=0.0, min_available_nodes=1), f=1, **options),
}
LEGACY = {
    "Krum": lambda **options: legacy.Krum(num_malicious_clients=2, **options),
    "FedTrimmedAvg": lambda **options: legacy.FedTrimmedAvg(beta=0.2, **options),
    "Robust": lambda **options: legacy.Robust("geometric-median", f=2, **options),
}


def verified(folder, reports):
    """All rounds of the folder, which are as many as reports and done as these say."""
    paths = sorted(folder.glob("*.round"))
    assert len(paths) == len(reports) > 0
    for path, report in zip(paths, reports, strict=True):
        found = verify(path, reports=folder / "rounds.jsonl")
        assert (found.difference, found.aggregate_sha256) == ("", report.aggregate_sha256)
    return reports


@pytest.mark.parametrize("name", STRATEGIES)
def test_rounds_of_the_message_api_are_verified(name, tmp_path):
    strategy = STRATEGIES[name](reproducible=True, replies_path=tmp_path, report_path=tmp_path / "rounds.jsonl")
    grid = TimedGrid(client_app(), N, lambda node, count: float(node)) if name == "Buffered" else LocalGrid(client_app(), N)
    strategy.start(grid, start(), 2)
    first, second = verified(tmp_path, strategy.reports)
    if name in ("Krum", "Robust"):  # FedAvg's model is the aggregate
        assert first.aggregate_sha256 == second.model_sha256


@pytest.mark.parametrize("name", LEGACY)
def test_rounds_of_the_legacy_api_are_verified(name, tmp_path):
    strategy = LEGACY[name](reproducible=True, replies_path=str(tmp_path), report_path=tmp_path / "rounds.jsonl")
    one_round(strategy)
    verified(tmp_path, strategy.reports)


def test_nothing_is_hashed_or_kept_without_the_option(tmp_path):
    strategy = legacy.Krum(num_malicious_clients=2, report_path=tmp_path / "rounds.jsonl")
    one_round(strategy)
    (report,) = strategy.reports
    assert report.aggregate_sha256 == report.model_sha256 == ""
    assert {entry.reply_sha256 for entry in report.nodes.values()} == {""}
    assert "reply_sha256" not in (tmp_path / "rounds.jsonl").read_text()
    assert not np.any([path.suffix == ".round" for path in tmp_path.iterdir()])
