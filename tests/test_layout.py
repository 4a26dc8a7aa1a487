"""The tests' own house: a folder for each room of the package, what is shared in support, no test built on another."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py"))
ROOMS = {path.name for path in (ROOT / "flwr_byzantine").iterdir() if path.is_dir()}
BESIDE = {"clients", "simulations", "deployment", "support", "benchmarks", "compat", "mutation"}  # not of the package


@pytest.mark.parametrize("name", FILES)
def test_no_test_module_is_imported(name):
    """Not by another, nor by a script that a test runs in a process of its own: what two of them need is in tests.support."""
    text = (TESTS / name).read_text(encoding="utf-8")
    assert re.findall(r"^\s*(?:from|import) .*\b(?:test_\w+|conftest)\b.*", text, re.MULTILINE) == []


def test_every_folder_of_tests_is_a_room_of_the_package():
    assert {Path(name).parts[0] for name in FILES if "/" in name} <= ROOMS | BESIDE


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("support/")])
def test_every_helper_is_used(name):
    module = name.removesuffix(".py").replace("/", ".")
    sources = [(TESTS / other).read_text(encoding="utf-8") for other in FILES if other != name]
    package, _, stem = f"tests.{module}".rpartition(".")
    assert any(f"{package}.{stem}" in text or re.search(rf"from {package} import .*\b{stem}\b", text) for text in sources)
