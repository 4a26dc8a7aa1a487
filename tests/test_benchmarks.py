"""The scripts in tests/benchmarks, which are run by hand, still run: each in its smallest size."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.deployment import needs_keys
from tests.support.devices import through_torch

FOLDER = Path(__file__).parent / "benchmarks"


def script(name, **sizes):
    """The script as a module, with these constants in place of its own."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert set(sizes) <= set(vars(module))
    vars(module).update(sizes)
    return module


def test_inspection_cost_runs(capsys):
    script("inspection_cost", N=13, D=1000, REPEATS=2).main()
    assert "of it inspection" in capsys.readouterr().out


@pytest.mark.slow
def test_gradient_rounds_runs(capsys):
    module = script("gradient_rounds", DATASET="digits", TURNS=1, ROUNDS=2)
    module.main("fc_mnist")
    assert {"batched", "bare", "local"} <= {line.split()[1] for line in capsys.readouterr().out.splitlines()}


@pytest.mark.slow
def test_local_epochs_runs(capsys):
    module = script("local_epochs", TURNS=1, CLIENTS=6, F=1, ROUNDS=3)
    module.TASK = replace(module.TASK, dataset="digits", num_clients=6, num_malicious=1, hidden=(16,))
    module.main()
    assert "matrix products alone" in capsys.readouterr().out


def test_last_reply_runs(capsys):
    script("last_reply", TURNS=1).main("7", "3000", "0.001", "krum")
    assert "same bits: True" in capsys.readouterr().out


@pytest.mark.slow
@needs_keys
def test_deployed_round_runs(capsys):
    script("deployed_round").main(3, 3_000_000, 1, "FedAvg", "our Krum")
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if " | " in line]
    assert [row[0] for row in table] == ["| strategy", "| FedAvg", "| our Krum"]
    for row in table[1:]:
        whole, *parts = map(float, row[1:8])
        assert sum(parts) == pytest.approx(whole, abs=0.05)
    assert float(table[2][table[0].index("writing")]) > 0


def test_deployed_round_divides_each_moment_once():
    spans = [("sending", 0.0, 2.0), ("inspection", 3.0, 4.0), ("inflation", 3.5, 6.0), ("aggregation", 7.0, 9.0), ("writing", 8.0, 11.0)]
    found = script("deployed_round").divided({"begin": [1.0], "end": [10.0], "spans": spans})
    assert found == {"nodes and transport": 2.0, "sending": 1.0, "inflation": 2.0, "aggregation": 1.0, "inspection": 1.0, "writing": 2.0}


def test_many_nodes_runs(capsys):
    module = script("many_nodes")
    before = [(owner, name, getattr(owner, name)) for functions in module.PARTS.values() for owner, name in functions]
    try:
        for rule in ("krum", "median"):
            module.case(50, 200_000, rule)
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)
    krum, median = [[float(value) for value in line.split("|")[3:-1]] for line in capsys.readouterr().out.splitlines()]
    assert krum[0] == pytest.approx(sum(krum[1:7]), abs=0.02)
    assert krum[2] > 0 == median[2]  # inner products


def test_lora_gram_runs():
    found = script("lora_gram").measured(n=5, rank=2, width=64, at_once=3)
    assert found["pairs formed one by one"] > 0
    assert found["all formed at once"]["clients"] == 3


def test_state_cost_runs(capsys):
    module = script("state_cost", N=7, F=1, REPEATS=1)
    module.main()
    assert capsys.readouterr().out.count("ms at best") == 3 * len(module.CASES)


@pytest.mark.parametrize("spilling", [False, True])
def test_large_model_runs(capsys, tmp_path, spilling):
    layers = {"matrix": (40, 25), "bias": (1000,)}
    size = sum(map(math.prod, layers.values()))
    module = script("large_model", LAYERS=layers, D=size)
    for rule in module.RULES:
        module.case(rule, str(tmp_path) if spilling else None)
    assert capsys.readouterr().out.count("GB resident") == len(module.RULES)


def test_on_a_gpu_runs(capsys, monkeypatch):
    through_torch(monkeypatch)
    module = script("on_a_gpu", DEVICE="cpu", SIZES=[(11, 2000)], REPEATS=1)
    module.main()
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "MB" in line]
    assert [row[1].strip() for row in rows] == list(module.PLAIN)
    assert all(float(row[column].split(",")[-1]) < 1e-4 for row in rows for column in (3, 4))  # the same results


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")  # Ray's open files
def test_local_against_ray_runs(capsys):
    module = script("local_against_ray", ROUNDS={"local": 5, "ray": 5})
    module.main()
    assert capsys.readouterr().out.count("rounds/s") == 2 * len(module.CASES)


def test_every_script_is_tried():
    here = Path(__file__).read_text(encoding="utf-8")
    assert [path.stem for path in FOLDER.glob("*.py") if f'script("{path.stem}"' not in here] == []
