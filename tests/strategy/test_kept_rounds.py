"""Which rounds are kept, and how: all that decides, the owner's alone, the last few, with the same bits in any order."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from flwr_byzantine import InvalidParameter, Krum, Robust, rules
from flwr_byzantine.errors import NotReproducible
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.strategy.core import Core
from flwr_byzantine.strategy.digests import digest
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.steps import Descent, Replace
from flwr_byzantine.strategy.verifying import verify
from tests.support.kept import BASE, N, files, model, ran

STORED = [
    rules.Krum(f=2),
    rules.chain(rules.NNM(f=2), rules.TrimmedMean(f=2)),
    rules.Bulyan(f=2),
    rules.CenteredClipping(f=2),
    rules.ClippedClustering(f=2),
    rules.CTMA(f=2, base=rules.GeometricMedian(f=2)),
    rules.FLAME(f=2, noise=0.0),
    rules.chain(rules.Bucketing(s=2, seed=7), rules.Median(f=2)),
]


@pytest.mark.parametrize("rule", STORED, ids=str)
def test_kept_rounds_are_verified(rule, tmp_path):
    core = ran(rule, tmp_path, rounds=2)
    for path, report in zip(files(tmp_path), core.reports, strict=True):
        found = verify(path, reports=tmp_path / "rounds.jsonl")
        assert not found.difference
        assert found.aggregate_sha256 == report.aggregate_sha256 != ""
        assert len({entry.reply_sha256 for entry in report.nodes.values()}) == N


def test_gradients_examples_and_the_servers_own_update_are_kept(tmp_path):
    for folder, rule, policy in (
        ("sgd", rules.Krum(f=2), {"step": Descent(0.1, momentum=0.9)}),
        ("capped", rules.MultiKrum(f=2), {"weighting": "capped"}),
        ("trust", rules.FLTrust(f=2), {"server_update": lambda number, arrays: model(number, 99)}),
        ("shared", rules.Krum(f=2), {"shared": ["w", "n"], "certificate": True}),
    ):
        (tmp_path / folder).mkdir()
        ran(rule, tmp_path / folder, rounds=2, **policy)
        for path in files(tmp_path / folder):
            assert verify(path).difference == "", folder


def test_rounds_are_the_owners_and_only_the_last_few_stay(tmp_path):
    (tmp_path / "other-round-000001.round").write_text("another run's")
    core = ran(rules.Krum(f=2), tmp_path, rounds=5, replies_kept=2)
    own = [path for path in files(tmp_path) if path.name.startswith(core.reports[0].run or core.state.run)]
    assert [path.name[-12:] for path in own] == ["000004.round", "000005.round"]
    assert all(os.stat(path).st_mode & 0o777 == 0o600 for path in own)
    assert (tmp_path / "other-round-000001.round").exists()


def test_a_folder_that_is_gone_costs_a_line_in_the_log(tmp_path):
    log, place = [], tmp_path / "kept"
    place.mkdir()
    core = Core(
        Policy(reproducible=True, replies_path=place), lambda n: rules.Krum(f=2), Replace(), lambda *line: log.append(line), SimpleNamespace
    )
    place.rmdir()
    core.begin(BASE, BASE)
    combined = core.round(1, [Reply(node, model(1, node), {}, 10, source=object()) for node in range(1, N + 1)])
    assert combined is not None
    assert any("could not be kept" in text for _, text in log)


def test_bits_do_not_depend_on_arrival_and_spill(tmp_path):
    found = set()
    for k, policy in enumerate(({}, {"order": list(range(N))[::-1]}, {"spill": tmp_path}, {"order": [5, 0, 9, *range(1, 5), 6, 7, 8, 10]})):
        folder = tmp_path / str(k)
        folder.mkdir()
        core = ran(rules.chain(rules.NNM(f=2), rules.GeometricMedian(f=2)), folder, **policy)
        found.add(core.reports[0].aggregate_sha256)
        assert verify(files(folder)[0]).difference == ""
    assert len(found) == 1


def test_what_cannot_be_reproduced_is_refused_at_construction(tmp_path):
    for wrong in (rules.FoolsGold(), rules.FLAME(), rules.chain(rules.FLDetector(f=1), rules.Median(f=1))):
        with pytest.raises(NotReproducible, match=r"^reproducible=True: \w+ "):
            Robust(wrong, reproducible=True)
    with pytest.raises(NotReproducible, match="reproducible=True needs scale=None"):
        Krum(f=1, reproducible=True, scale="per-array")
    with pytest.raises(InvalidParameter, match="replies_path= needs reproducible=True"):
        Krum(f=1, replies_path=tmp_path)
    strategy = Robust(rules.FLAME())
    with pytest.raises(NotReproducible, match="FLAME adds normal noise"):
        strategy.reproducible = True
    assert strategy.reproducible is False


def test_digests_are_of_names_types_shapes_and_values():
    one = {"a": np.arange(6.0).reshape(2, 3)}
    others = [{"b": one["a"]}, {"a": one["a"].T}, {"a": one["a"].reshape(6)}, {"a": one["a"].astype(np.float32)}]
    others += [{"a": one["a"] + 1}, {**one, "b": np.array(0)}]
    assert len({digest(found) for found in [one, *others]}) == 7
    assert digest(one) == digest({"a": np.asfortranarray(one["a"])}) == digest({"a": one["a"].astype(">f8")})
