"""The LoRA study's page says what its results say, these show what they are to show, and the app runs."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "simulations/lora"
ROBUST = ("krum", "multi-krum", "geometric-median", "nnm+krum", "nnm+multi-krum", "nnm+geometric-median")


def mean(rule, attack, form="svd"):
    lines = map(json.loads, (FOLDER / "results.jsonl").read_text(encoding="utf-8").splitlines())
    return fmean(line["accuracy"] for line in lines if (line["rule"], line["form"], line["attack"]) == (rule, form, attack))


def test_the_page_has_the_table_of_the_results():
    from simulations.lora.page import table

    assert table() in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("rule", ROBUST)
def test_three_liars_of_twelve_cost_a_robust_rule_less_than_three_points(rule):
    assert mean(rule, "hidden") > mean(rule, "none") - 3


@pytest.mark.parametrize("rule", ["factors", "mean"])
def test_they_ruin_an_average(rule):
    assert mean(rule, "hidden") < 30


def test_an_honest_product_in_another_basis_harms_those_alone_who_average_factors():
    assert mean("factors", "turned") < mean("factors", "none") - 3
    assert all(mean(rule, "turned") > mean(rule, "none") - 3 for rule in ("mean", "multi-krum", "nnm+krum"))


@pytest.mark.parametrize(("rule", "form"), [("factors", "svd"), ("nnm+krum", "svd"), ("multi-krum", "stack"), ("mean", "fresh")])
def test_a_round_of_the_study_runs(rule, form):
    from simulations.lora.__main__ import run

    assert run(rule, form, "hidden", seed=0, rounds=1)["skipped"] == 0


def test_attackers_in_another_basis_send_the_same_product():
    from simulations.lora import network
    from simulations.lora.__main__ import LORA, malicious

    rng, broadcast, begun = np.random.default_rng(0), network.fresh(16, 0), network.fresh(4, 1)
    trained = {name: value + 0.1 * rng.normal(size=value.shape).astype(np.float32) for name, value in begun.items()}
    plain, hidden, turned = (malicious(attack, broadcast, begun, trained, 0) for attack in ("flip", "hidden", "turned"))
    assert LORA.products(hidden)["0"] == pytest.approx(LORA.products(plain)["0"], abs=1e-4)
    assert LORA.products(plain)["0"] == pytest.approx(-10 * LORA.products(trained)["0"], abs=1e-4)
    assert LORA.products(turned)["0"] == pytest.approx(LORA.products(trained)["0"], abs=1e-5)


@pytest.mark.slow
def test_the_app_runs_with_peft():
    """Two rounds of the Flower app in this process's own federation."""
    if not importlib.util.find_spec("peft"):
        pytest.skip("needs peft, of the extra `quickstarts`")
    command = [sys.executable, "-m", "simulations.lora.app", "num-server-rounds=2", "attack=hidden", "num-malicious=3", "local-epochs=1"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert re.search(r"test accuracy: [\d.]+ %, adapter of rank 16", done.stdout), done.stderr[-3000:]
