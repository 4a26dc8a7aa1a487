"""Rounds that are kept are verified: whatever is not as the report says is found, and said in one sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from flwr_byzantine import InvalidParameter, rules
from flwr_byzantine.experiments.cli import app
from flwr_byzantine.strategy.checkpoint import load, save
from flwr_byzantine.strategy.stored import read
from flwr_byzantine.strategy.verifying import verify
from tests.support.kept import files, ran


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
