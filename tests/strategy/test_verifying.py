"""Rounds that are kept, and verified: whatever is not as the report says is found, and said in one sentence."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from flwr_byzantine import InvalidParameter, Krum, Robust, rules
from flwr_byzantine.errors import NotReproducible
from flwr_byzantine.experiments.cli import app
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.strategy.checkpoint import load, save
from flwr_byzantine.strategy.core import Core
from flwr_byzantine.strategy.digests import digest
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.steps import Descent, Replace
from flwr_byzantine.strategy.stored import read
from flwr_byzantine.strategy.verifying import verify

N = 11
BASE = {
    "w": np.linspace(-1, 1, 3000, dtype=np.float32).reshape(30, 100),
    "n": np.array(3),
    "m": np.array([1.0, -np.inf, 2.0]),
    "bn.running_mean": np.zeros(7, np.float32),
}


def model(server_round, node):
    rng = np.random.default_rng([server_round, node])
    return {
        name: value if value.dtype.kind == "i" else (value + rng.normal(size=value.shape)).astype(value.dtype)
        for name, value in BASE.items()
    }


def ran(rule, folder, rounds=1, step=None, order=None, **policy):
    """A core that ran some rounds whose replies it kept."""
    policy = {"reproducible": True, "replies_path": folder, "report_path": folder / "rounds.jsonl", **policy}
    core = Core(Policy(**policy), lambda n: rule, step or Replace(), lambda *line: None, SimpleNamespace)
    for number in range(1, rounds + 1):
        core.begin(BASE, BASE)
        answers = [Reply(node, model(number, node), {}, 10 * node, source=object()) for node in range(1, N + 1)]
        for reply in (answers := [answers[i] for i in order or range(N)]):
            core.arrived(reply)
        combined = core.round(number, answers)
        core.finish(combined, combined.arrays)
    return core


def files(folder):
    return sorted(folder.glob("*.round"))


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


def changed(path, change):
    """The round with something of it changed, written as the package writes it."""
    snapshot = load(path)
    change(snapshot)
    path.chmod(0o600)
    save(path, snapshot)
    return verify(path).difference


def edit(name, value):
    def change(snapshot):
        report = json.loads(snapshot.facts["report"])
        report[name] = value
        snapshot.facts["report"] = json.dumps(report)

    return change


def nudge(snapshot):
    snapshot.arrays["reply/4/0"] = np.nextafter(snapshot.arrays["reply/4/0"], np.float32(9))


def drop(snapshot):
    del snapshot.facts["examples"]["4"]


def widen(snapshot):
    snapshot.arrays["reply/4/0"] = snapshot.arrays["reply/4/0"].astype(np.float64)


def swap_rule(snapshot):
    snapshot.facts["rule"] = {**snapshot.facts["rule"], "neighbors": "n-f-1"}


def other_choice(snapshot):
    report = json.loads(snapshot.facts["report"])
    kept = next(node for node, entry in report["nodes"].items() if entry["status"] == "kept")
    report["nodes"][kept]["status"] = "rejected"
    snapshot.facts["report"] = json.dumps(report)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (nudge, "the reply of node 4 has SHA-256"),
        (drop, "the reply of node 4 the report names, and is not there"),
        (edit("aggregate_sha256", "0" * 64), "the aggregate has SHA-256"),
        (edit("model_sha256", "0" * 64), "the model that was broadcast has SHA-256"),
        (edit("rule", "Krum(f=3)"), "the rule is Krum(f=2), and the report says Krum(f=3)"),
        (edit("aggregated", False), "an aggregate was made, and the report says that the round had none"),
        (edit("kappa", 0.5), "the rule's kappa at 11 replies is"),
        (lambda snapshot: snapshot.facts.pop("kinds"), "it holds no round as this version keeps it ('kinds')"),
        (widen, "its replies are not shaped as its model"),
        (lambda snapshot: snapshot.facts.update(weighting="x"), "no aggregate can be made of these replies: strategy: weighting must be"),
        (swap_rule, "the rule is Krum(f=2, neighbors='n-f-1')"),
        (other_choice, "the rule has node"),
    ],
)
def test_whatever_differs_is_said(change, said, tmp_path):
    ran(rules.Krum(f=2), tmp_path)
    assert said in changed(files(tmp_path)[0], change)


def test_the_file_of_reports_must_say_the_same(tmp_path):
    ran(rules.Krum(f=2), tmp_path)
    lines = tmp_path / "rounds.jsonl"
    (path,) = files(tmp_path)
    digest_there = read(path).report.aggregate_sha256
    lines.write_text(lines.read_text().replace(digest_there, "f" * 64))
    assert "the file of reports has aggregate_sha256" in verify(path, reports=lines).difference
    with pytest.raises(InvalidParameter, match="has no line of round 1"):
        verify(path, reports=path.with_suffix(".none") if lines.write_text("") else lines)


@pytest.mark.parametrize(
    ("name", "value"), [("kappa", 0.001), ("n_sampled", 99), ("feasible", False), ("note", "fine"), ("notes", ["x"]), ("min_n", 1)]
)
def test_every_field_of_the_report_in_the_file_counts(name, value, tmp_path):
    ran(rules.Krum(f=2), tmp_path)
    lines, (path,) = tmp_path / "rounds.jsonl", files(tmp_path)
    lines.write_text(json.dumps({**json.loads(lines.read_text()), name: value}) + "\n")
    assert f"the file of reports has {name} " in verify(path, reports=lines).difference


@pytest.mark.parametrize(
    ("name", "value"), [("weight", 0.77), ("score", 5.0), ("status", "rejected"), ("reason", "so"), ("reply_sha256", "0")]
)
def test_every_field_of_a_node_in_the_file_counts(name, value, tmp_path):
    ran(rules.Krum(f=2), tmp_path)
    lines, (path,) = tmp_path / "rounds.jsonl", files(tmp_path)
    report = json.loads(lines.read_text())
    node = next(node for node, entry in report["nodes"].items() if entry["status"] == "kept")
    report["nodes"][node][name] = value
    lines.write_text(json.dumps(report) + "\n")
    assert f"of node {node} the file of reports has {name} {value!r}" in verify(path, reports=lines).difference
    del report["nodes"][node]
    lines.write_text(json.dumps(report) + "\n")
    assert f"the file of reports says nothing of node {node}" in verify(path, reports=lines).difference


@pytest.mark.parametrize("spoil", [lambda line: line[:300], lambda line: json.dumps({**json.loads(line), "nodes": 3})])
def test_a_spoilt_line_of_the_file_of_reports_is_none(spoil, tmp_path):
    ran(rules.Krum(f=2), tmp_path)
    lines, (path,) = tmp_path / "rounds.jsonl", files(tmp_path)
    whole = lines.read_text()
    lines.write_text(whole + spoil(whole.strip()))
    assert not verify(path, reports=lines).difference
    lines.write_text(spoil(whole.strip()))
    with pytest.raises(InvalidParameter, match="has no line of round 1"):
        verify(path, reports=lines)


def test_the_command_says_so_and_ends_with_its_status(tmp_path):
    ran(rules.Krum(f=2), tmp_path)
    (path,) = files(tmp_path)
    good = CliRunner().invoke(app, ["verify", str(path), "--reports", str(tmp_path / "rounds.jsonl")])
    assert good.exit_code == 0
    assert "was done as its report says: Krum(f=2) of 11 replies" in good.output
    assert changed(path, nudge)
    bad = CliRunner().invoke(app, ["verify", str(path)])
    assert bad.exit_code == 1
    assert len(bad.output.strip().splitlines()) == 1
    assert "the reply of node 4 has SHA-256" in bad.output


def test_a_missing_round_hides_no_other(tmp_path):
    ran(rules.Krum(f=2), tmp_path)
    (path,) = files(tmp_path)
    found = CliRunner().invoke(app, ["verify", str(path), str(path) + ".none"])
    assert found.exit_code != 0
    assert "was done as its report says" in found.output


def test_a_damaged_file_and_a_missing_one_are_refused(tmp_path):
    ran(rules.Krum(f=2), tmp_path, checkpoint=tmp_path / "run.ckpt")
    (path,) = files(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "its bytes do not have its checksum" in verify(path).difference
    with pytest.raises(InvalidParameter, match="there is no round"):
        verify(tmp_path / "none.round")
    with pytest.raises(InvalidParameter, match="holds a run, and no round"):
        verify(tmp_path / "run.ckpt")


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


class Own(rules.Krum):
    """A rule of the user's."""


def test_a_rule_of_ones_own_is_given_to_verify(tmp_path):
    rule = Own(f=2)
    ran(rule, tmp_path)
    (path,) = files(tmp_path)
    with pytest.raises(InvalidParameter, match="no rule of this package"):
        verify(path)
    assert verify(path, rule=rule).difference == ""
    assert "the rule is" in verify(path, rule=replace(rule, f=1)).difference


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
