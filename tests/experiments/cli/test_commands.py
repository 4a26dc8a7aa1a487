"""The command line: tables, and one line for a mistake."""

import subprocess
import sys

import pytest

from flwr_byzantine import attacks, rules


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "flwr_byzantine", *arguments], capture_output=True, text=True, env={"COLUMNS": "200"}, check=False
    )


@pytest.mark.parametrize(("command", "names"), [("rules", [*rules.available(), *rules.detectors()]), ("attacks", attacks.available())])
def test_tables_list_everything(command, names):
    done = run(command)
    assert done.returncode == 0, done.stderr
    assert all(f"\n{item.__name__} " in done.stdout for item in names)


def test_unknown_command_is_an_error():
    assert run("dmo").returncode == 2


def test_a_mistake_is_one_line_without_a_traceback(monkeypatch, capsys):
    from flwr_byzantine import errors
    from flwr_byzantine.experiments import cli

    def wrong():
        raise errors.InvalidParameter("Krum: f must be an integer >= 0, got -1")

    monkeypatch.setattr(cli, "app", wrong)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.strip() == "error: Krum: f must be an integer >= 0, got -1"


@pytest.mark.parametrize(
    ("name", "title"),
    [("byz-nsgdm", "Smoothness"), ("byz-vr-marina", "Antidote"), ("worker-momentum", "Momentum"), ("ByzantineSGD", "Theory")],
)
def test_methods_are_cited_as_rules_are(name, title):
    from typer.testing import CliRunner

    from flwr_byzantine.experiments import cli

    assert title in CliRunner().invoke(cli.app, ["cite", name]).stdout


def test_cite_prints_the_entries_of_what_is_named_and_no_more():
    from typer.testing import CliRunner

    from flwr_byzantine import citation
    from flwr_byzantine.experiments import cli

    done = CliRunner().invoke(cli.app, ["cite", "nnm + krum", "alie"])
    assert done.exit_code == 0
    assert done.stdout.strip() == citation(rules.NNM, rules.Krum, attacks.ALIE)
    with pytest.raises(
        rules.InvalidParameter, match=r"unknown rule, attack or method 'krumm'; did you mean 'Krum'\? choose one of: .*Krum"
    ):
        CliRunner().invoke(cli.app, ["cite", "nnm+krumm"], catch_exceptions=False)
