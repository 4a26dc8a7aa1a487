"""What users may import: complete, sorted, documented."""

import importlib
import inspect
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import flwr_byzantine
from flwr_byzantine import legacy, rules

ROOT = Path(__file__).parents[1]
PUBLIC = ["flwr_byzantine", "flwr_byzantine.rules", "flwr_byzantine.attacks", "flwr_byzantine.legacy", "clients"]


@pytest.mark.parametrize("name", PUBLIC)
def test_exported_names_exist_are_listed_and_documented(name):
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    for item in module.__all__:
        value = getattr(module, item)
        assert inspect.ismodule(value) or isinstance(value, str) or inspect.getdoc(value), f"{name}.{item} has no docstring"
    assert set(module.__all__) <= set(dir(module))


def test_top_level_names_are_sorted():
    assert flwr_byzantine.__all__ == sorted(flwr_byzantine.__all__)


@pytest.mark.parametrize("rule", [*rules.available(), *rules.detectors()], ids=lambda rule: rule.__name__)
def test_every_rule_is_found_by_name_and_has_an_example(rule):
    assert rules.get(rule.__name__) is rule
    assert ">>>" in rule.__doc__
    assert "Source:" in rule.__doc__


@pytest.mark.parametrize("name", ["Krum", "MultiKrum", "Bulyan", "FedMedian", "FedTrimmedAvg", "GeometricMedian", "Robust"])
def test_strategies_are_flower_strategies_in_both_apis(name):
    from flwr.server.strategy import Strategy as Legacy
    from flwr.serverapp.strategy import Strategy

    from flwr_byzantine import legacy

    assert issubclass(getattr(flwr_byzantine, name), Strategy)
    assert issubclass(getattr(legacy, name), Legacy)


MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "flwr_byzantine").rglob("*.py")
    if path.name != "__main__.py"
)


FIRST = """
import os, sys
import flwr.app, flwr.clientapp, flwr.server, flwr.serverapp.strategy, numpy, rich, scipy.optimize, sklearn.datasets, torch, typer

for name in sys.argv[1:]:
    assert not [module for module in sys.modules if module.startswith("flwr_byzantine")]
    if (child := os.fork()) == 0:
        try:
            __import__(name)
        except Exception as error:
            print(f"{name}: {error!r}", flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(f"{name} ended the process", flush=True)
print("all were tried")
"""


def test_every_module_can_be_the_first_to_be_imported():
    """Each in a copy of a process that has loaded what the package needs, and nothing of the package."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FIRST, *MODULES], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.splitlines() == ["all were tried"], done.stdout + done.stderr[-300:]


@pytest.mark.parametrize("api", [flwr_byzantine, legacy], ids=["message", "legacy"])
def test_every_strategy_says_which_arrays_decide(api):
    strategies = [item for item in map(partial(getattr, api), api.__all__) if isinstance(item, type) and hasattr(item, "reports")]
    assert len(strategies) > 20
    assert [item.__name__ for item in strategies if "judge" not in item.__doc__] == []


def test_a_strategy_loads_nothing_that_it_does_not_need():
    """What costs time and memory in every server: SciPy, scikit-learn, Numba, PyTorch, Rich."""
    heavy = ("scipy", "sklearn", "numba", "torch", "rich", "matplotlib")
    theirs = "from flwr.serverapp.strategy import Krum"
    found = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", f"import sys; {line}; print([m for m in {heavy} if m in sys.modules])"],
            capture_output=True, text=True, check=True,
        ).stdout
        for line in (theirs, "from flwr_byzantine import Krum")
    ]  # fmt: skip
    assert found[0] == found[1]
