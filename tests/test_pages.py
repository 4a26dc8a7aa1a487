"""The pages of docs/ are true: their Python runs, their commands are commands, the files that they show are there."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from flwr_byzantine import rules
from flwr_byzantine.experiments.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
FENCE = re.compile(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", re.MULTILINE)
LANGUAGES = {"bash", "console", "diff", "json", "python", "text", "toml", "yaml"}
LIBRARIES = {"flax", "jax", "keras", "mlflow", "optax", "peft", "prometheus_client", "tensorboard", "tensorflow", "transformers", "wandb"}
QUICK = {"--version", "attacks", "cite", "plan", "rules"}  # commands that are run as they stand


def blocks(page, language):
    """Pairs of a block's first line in the page and its lines, without the fence's indentation."""
    for fence in FENCE.finditer(PAGES[page]):
        if fence[2].split(" ")[0] == language:
            first = PAGES[page].count("\n", 0, fence.start()) + 1
            yield first, [line.removeprefix(fence[1]) for line in fence[3].splitlines()]


def program(page):
    """The page's Python alone, each line where it stands in the page, so that a traceback names the page's line."""
    lines = [""] * PAGES[page].count("\n")
    for first, block in blocks(page, "python"):
        lines[first : first + len(block)] = block if not any("--8<--" in line for line in block) else [""] * len(block)
    return "\n".join(lines)


def commands(page):
    """The page's shell commands, one a line, without comments."""
    text = "\n".join(line for _, block in blocks(page, "bash") for line in block)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


ALL_COMMANDS = [(page, words) for page in PAGES for words in commands(page)]
OURS = [(page, words[1:]) for page, words in ALL_COMMANDS if words[0].endswith("flwr-byzantine")]
FLOWERS = [(page, words) for page, words in ALL_COMMANDS if words[0] in {"flwr", "flower-superlink", "flower-supernode"}]


@pytest.mark.parametrize("page", PAGES)
def test_blocks_say_their_language(page):
    assert {fence[2].split(" ")[0] for fence in FENCE.finditer(PAGES[page])} <= LANGUAGES
    assert PAGES[page].count("```") == 2 * len(FENCE.findall(PAGES[page]))


@pytest.mark.parametrize("rule", [*rules.available(), *rules.detectors()], ids=lambda rule: rule.__name__)
def test_the_table_of_rules_has_every_rule(rule):
    assert re.search(rf"^\|.*`{rule.__name__}`", PAGES["choose.md"], re.MULTILINE), f"the table of docs/choose.md lacks {rule.__name__}"


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_shows_are_there(page):
    shown = re.findall(r'--8<-- "([^":]+)', PAGES[page])
    assert [name for name in shown if not (ROOT / name).is_file()] == []
    assert len(shown) == len(re.findall(r"--8\s*<", PAGES[page])), "a formatter has torn a snippet: put <!-- fmt: off --> before it"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if program(page).strip()])
def test_the_python_of_a_page_runs(page, tmp_path):
    """One process a page, its blocks in their order; without a framework that its how-to is about, it is skipped."""
    file = tmp_path / page.replace("/", "-").replace(".md", ".py")
    file.write_text(program(page), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # pages run in a clone, where `clients` and `simulations` are
    done = subprocess.run([sys.executable, file], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    missing = re.search(r"No module named '(\w+)|needs ([\w-]+), which is not installed", done.stderr)
    if done.returncode and missing and (library := missing[1] or missing[2].replace("-", "_")) in LIBRARIES:
        pytest.skip(f"{page} needs {library}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("page", "words"), OURS, ids=lambda item: " ".join(item) if isinstance(item, list) else item)
def test_commands_have_these_options(page, words):
    group = get_command(app)
    with group.make_context("flwr-byzantine", list(words), resilient_parsing=True) as context:
        name, command, rest = group.resolve_command(context, words) if not words[0].startswith("--") else ("", None, [])
        assert command is None or command.make_context(name, rest, parent=context)


@pytest.mark.slow
@pytest.mark.parametrize("words", [words for _, words in OURS if words[0] in QUICK], ids=" ".join)
def test_quick_commands_run(words, tmp_path):
    done = subprocess.run([sys.executable, "-m", "flwr_byzantine", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@cache
def help_of(*command):
    """What Flower's command says of its options."""
    done = subprocess.run([Path(sys.executable).parent / command[0], *command[1:], "--help"], capture_output=True, text=True, check=False)
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "words"), FLOWERS, ids=lambda item: " ".join(item) if isinstance(item, list) else item)
def test_flower_has_these_options(page, words):
    text = help_of(*words[:2]) if words[0] == "flwr" else help_of(words[0])
    assert [word for word in words if word.startswith("--") and word.split("=")[0] not in text] == []


@pytest.mark.parametrize(("page", "words"), ALL_COMMANDS, ids=lambda item: " ".join(item) if isinstance(item, list) else item)
def test_python_commands_name_modules_and_files_that_are_there(page, words):
    if not words[0].endswith(("python", "python3")) or words[1:3] == ["-m", "venv"]:
        return
    name = words[2] if words[1] == "-m" else words[1]
    assert importlib.util.find_spec(name) if words[1] == "-m" else (ROOT / name).is_file() or name == "-c"
