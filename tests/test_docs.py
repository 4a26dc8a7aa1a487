"""The documents are true: ARCHITECTURE.md draws what is there, CONTRIBUTING.md's examples apply and work, CHANGELOG.md leads on."""

import ast
import importlib.util
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import flwr_byzantine

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "flwr_byzantine"
ARCHITECTURE = (PACKAGE / "ARCHITECTURE.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOT_COUNTED = {"__init__", "__main__", "ARCHITECTURE", "py", "__pycache__"}
ENTRIES = {path.name.split(".")[0] for path in PACKAGE.iterdir()} - NOT_COUNTED
LAYERS = [set(layer.split(" | ")) for layer in PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]]


def sections(text):
    """Heading of the second level -> what stands below it."""
    return dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", text, re.MULTILINE))


def place(name):
    """Where a file lies that the document names."""
    return PACKAGE / name if (PACKAGE / name).exists() else ROOT / name


# All documents

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "flwr_byzantine/ARCHITECTURE.md", "flwr_byzantine/rules/CONVENTIONS.md"]
DOCUMENTS += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "simulations").glob("*/README.md"))]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_what_a_document_names_is_there(path):
    text = re.sub(r"```diff\n.*?```", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"^\| `[\w.]+` \|", "", text, flags=re.MULTILINE)  # where a module was before it moved
    for name in set(re.findall(r"\bflwr_byzantine(?:\.[a-zA-Z_]\w*)+", text)):
        pkgutil.resolve_name(name)
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    files = [place(name) for name in re.findall(r"`(?:python )?([\w./]+/[\w.]+\.(?:py|md|bib|toml))`", text)]
    assert [file for file in [*((ROOT / path).parent / link for link in links), *files] if not file.exists()] == []


def test_the_oldest_flower_is_the_same_everywhere():
    required = next(item for item in PROJECT["project"]["dependencies"] if item.startswith("flwr"))
    told = re.search(r"^It works with Flower ([\d.]+) to", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    tried = re.search(r"^OLDEST = \((\d+), (\d+)\)", (ROOT / "tests/compat/__main__.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert required == f"flwr>={told[1]}" == f"flwr>={'.'.join(tried.groups())}"


@pytest.mark.parametrize(
    "text", [CONTRIBUTING.split("## Add a rule")[1], CHANGELOG.split("### Changed")[1].split("|")[0]], ids=["how to add", "changed"]
)
def test_names_to_write_are_those_of_the_code(text):
    """Not those that something had before: `old` is `new`, (was `old`)."""
    prose = re.sub(r"`\w+`(?= is `)|\(was `\w+`\)|the argument `\w+`|```diff\n.*?```", "", text, flags=re.DOTALL)
    names = set(re.findall(r"`(\w+)`", prose))
    assert len(names) > 8
    source = "".join(path.read_text(encoding="utf-8") for path in [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
    assert [name for name in names if not re.search(rf"\b(?:def|class|import) {name}\b|\b{name}: ", source)] == []


# ARCHITECTURE.md

WALKS = {name: re.findall(r"^\d+\. (.+)$", text, re.MULTILINE) for name, text in sections(ARCHITECTURE).items() if "walk of" in name}
STEPS = [(walk, step) for walk, steps in WALKS.items() for step in steps]
ROOMS = dict(re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", ARCHITECTURE.split("##")[0], re.MULTILINE))


def imported(room):
    """The rooms that this one imports, also where it does so in a function."""
    path = PACKAGE / room
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in (path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")])]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    names = [f"{node.module}.{alias.name}" for node in nodes for alias in node.names if node.module.startswith("flwr_byzantine")]
    return {name.split(".")[1] for name in names} & ENTRIES - {room}


def test_few_entries_at_the_root_each_a_room_of_the_table():
    assert len(ENTRIES) <= 14
    assert set(ROOMS) == ENTRIES


def test_the_picture_is_the_contract_that_the_linter_holds():
    floors = [line[: line.rindex("│")] for line in ARCHITECTURE.splitlines() if line.startswith("│")]
    drawn = [set(re.findall(r"\w+", floor)) for floor in floors]
    assert drawn == LAYERS


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_the_table_says(room):
    said = set(re.findall(r"`(\w+)`", ROOMS[room]))
    floor = next(i for i, layer in enumerate(LAYERS) if room in layer)
    below = set().union(*LAYERS[floor + 1 :])
    assert imported(room) == (below - said if ROOMS[room].startswith("all but") else said)
    assert said <= below


def test_three_walks_of_at_most_eight_steps():
    assert list(WALKS) == ["The walk of a reply", "The walk of an attack vector", "The walk of a sweep cell"]
    assert all(0 < len(steps) <= 8 for steps in WALKS.values())


@pytest.mark.parametrize(("walk", "step"), STEPS)
def test_every_step_is_a_file_that_holds_the_names_it_tells_of(walk, step):
    files = re.findall(r"`([\w/]+\.py)`", step)
    assert re.match(r"`[\w/]+\.py`", step)
    text = "".join(place(name).read_text(encoding="utf-8") for name in files)
    assert [name for name in re.findall(r"`([\w.]+)`", step) if name not in files and name.split(".")[-1] not in text] == []


# CONTRIBUTING.md

DIFFS = re.findall(r"```diff\n(.*?)```", CONTRIBUTING, re.DOTALL)
WORKED = """
import numpy as np

import flwr_byzantine
from flwr_byzantine import attacks, legacy, rules


def test_worked_rule_and_attack():
    X = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 1.0], [90.0, -7.0]])
    assert rules.get("medoid")(f=1)(X).tolist() == [2.0, 0.0]
    assert rules.parse("nnm+medoid", f=1).min_n() == 3
    assert flwr_byzantine.Medoid(f=1).rule_at(9) == legacy.Medoid(f=1).rule_at(9) == rules.Medoid(f=1)
    assert attacks.get("same-value")(value=3.0)(X, 2).tolist() == [[3.0, 3.0]] * 2
"""
CHECKS = [  # those that have found rule and attack by themselves, and those that the examples add
    "tests/test_worked.py",
    "tests/rules/test_common.py",
    "tests/rules/test_parameters.py",
    "tests/rules/test_reference.py",
    "tests/declare/test_citations.py",
    "tests/attacks/test_attacks.py",
    "tests/attacks/test_one_by_one.py",
    "tests/clients/test_clients.py",
    "tests/test_pages.py",
    "tests/test_pages_guide.py",
    "flwr_byzantine/rules/nearest.py",
    "flwr_byzantine/attacks/simple.py",
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project with all worked examples applied."""
    tree = tmp_path_factory.mktemp("project")
    for name in ("flwr_byzantine", "clients", "docs", "simulations", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tree / name)
    for diff in DIFFS:
        done = subprocess.run(["git", "apply", "--whitespace=error"], cwd=tree, input=diff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return tree


def run(tree, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_worked_examples_pass_the_common_checks_and_their_own(tree):
    (tree / "tests" / "test_worked.py").write_text(WORKED, encoding="utf-8")
    chosen = "(worked or Medoid or medoid or SameValue or simple_attacks) and not over_rounds"
    out = run(tree, "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *CHECKS)
    assert int(re.search(r"(\d+) passed", out)[1]) > 40


def test_the_worked_examples_are_well_formed(tree):
    changed = [name for name in re.findall(r"^\+\+\+ b/(.+)$", "".join(DIFFS), re.MULTILINE) if name.endswith(".py")]
    assert len(changed) > 15
    run(tree, "ruff", "check", *changed)
    run(tree, "ruff", "format", "--check", *changed)


# CHANGELOG.md


def test_the_changelog_keeps_its_form():
    found = re.findall(r"^## \[([^\]]+)\](?: - \d{4}-\d\d-\d\d)?$", CHANGELOG, re.MULTILINE)
    assert found[0] == "Unreleased"
    assert flwr_byzantine.__version__ == found[1]
    kinds = set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_modules_that_moved_are_where_it_says():
    moved = re.findall(r"^\| `(flwr_byzantine\.[\w.]+)` \| `(flwr_byzantine\.[\w.]+)`", CHANGELOG, re.MULTILINE)
    assert len(moved) > 5
    assert [new for _, new in moved if importlib.util.find_spec(new) is None] == []
    assert [old for old, _ in moved if (ROOT / (old.replace(".", "/") + ".py")).exists()] == []
