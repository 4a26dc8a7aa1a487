"""`--help`, `--version`, completion, and what a mistyped command line is told, on a terminal and in a pipe."""

import os
import re
import subprocess
import sys

import click
import pytest
import typer
from typer.testing import CliRunner

import flwr_byzantine
from flwr_byzantine.experiments import cli
from flwr_byzantine.experiments.cli.usage import Described

NAMES = [command.__name__ for command in cli.COMMANDS]
every = pytest.mark.parametrize("name", NAMES)


def run(*arguments, **environment):
    command = [sys.executable, "-m", "flwr_byzantine", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def printed(*arguments):
    done = CliRunner().invoke(cli.app, arguments, prog_name="flwr-byzantine")
    assert done.exit_code == 0, done.output
    return done.stdout


def parameters(name):
    return typer.main.get_command(cli.app).commands[name].params


def test_the_version_is_the_packages():
    done = run("--version")
    assert (done.stdout, done.stderr, done.returncode) == (f"flwr-byzantine {flwr_byzantine.__version__}\n", "", 0)


@every
def test_every_parameter_is_described(name):
    assert all(param.help for param in parameters(name))


@every
def test_help_in_a_pipe_is_plain_text_with_every_word_of_it(name):
    text = printed(name, "--help")
    assert not re.search(r"[─│╭\x1b\\]", text)
    assert all(" ".join(param.help.split()) in " ".join(text.split()) for param in parameters(name))
    assert text.count("Arguments:") == int(any(isinstance(param, click.Argument) for param in parameters(name)))


def test_the_list_of_commands_cuts_no_sentence():
    text = " ".join(printed("--help").split())
    assert all(" ".join(command.__doc__.split()) in text for command in cli.COMMANDS)


def test_help_on_a_terminal_loses_nothing_to_markup():
    """Rich would take what stands in brackets for a mark."""
    app = typer.Typer(rich_markup_mode="rich")
    for command in cli.COMMANDS:
        app.command(cls=Described)(command)
    for name in NAMES:
        text = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).stdout
        shown = " ".join(re.sub("[─│╭╮╰╯]", " ", text).split())
        assert all(param.help.split(". ")[0][:60] in shown for param in parameters(name) if param.help), text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes(shell):
    script = run("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert script.returncode == 0
    assert "COMPLETE=complete" in script.stdout or "complete" in script.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flwr-byzantine swe", ["sweep"]),
        ("flwr-byzantine rules nnm+multi", ["nnm+multi-krum"]),
        ("flwr-byzantine attacks si", ["sign-flip"]),
    ],
)
def test_commands_rules_and_attacks_are_completed(line, expected):
    word = str(len(line.split()) - 1)
    asked = {"_FLWR_BYZANTINE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": word}
    done = CliRunner().invoke(cli.app, [], prog_name="flwr-byzantine", env=asked)
    assert done.output.split() == expected


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sweeep"], "unknown command 'sweeep'; did you mean 'sweep'? choose one of: attacks, audit"),
        (["rules", "--jsn"], "No such option '--jsn'. Did you mean '--json'?"),
        (["audit"], "Missing argument 'STRATEGY'"),
        (["plan", "--clients", "ten", "--malicious", "1"], "'ten' is not a valid integer"),
    ],
)
def test_a_mistyped_command_line_is_told_so_on_standard_error_with_status_2(arguments, sentence):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
