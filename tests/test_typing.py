"""What a type checker says of the front door: right uses pass mypy strict, typos and wrong kinds are refused where they stand."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USES = """
from typing import Any

from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvg, Strategy

from flwr_byzantine import (
    ByzantineSGD, FedMedian, FedTrimmedAvg, FLTrust, GeometricMedian, Krum, LocalGrid, MultiKrum, Quarantine, Robust, RoundReport, attacks,
    citation, legacy, rules, theory,
)
from flwr_byzantine.adversary import AdversarialGrid, by_partition
from flwr_byzantine.mods import byzantine_mod


def metrics(contents: list[RecordDict], key: str) -> MetricRecord:
    return MetricRecord({"clients": len(contents)})


krum = Krum(num_malicious_nodes=2, fraction_train=0.5, grace=10.0, quarantine=Quarantine(threshold=3.0), train_metrics_aggr_fn=metrics)
strategies: list[Strategy] = [krum, MultiKrum(f=0.2, m=3), FedTrimmedAvg(beta=0.1), GeometricMedian(nu=1e-3), FedMedian(weighting="capped")]
average: FedAvg = krum
krum.num_malicious_nodes = 3
krum.report_path = "rounds.jsonl"
reports: list[RoundReport] = krum.reports
chain = rules.chain(rules.NNM(f=2), rules.TrimmedMean(f=2))
wrapped = Robust(chain, strategy=FedAdam(), certificate=True)
by_name = Robust("nnm+trimmed-mean", f=2)
by_count = Robust(lambda n: rules.Krum(f=n // 5))
sgd = ByzantineSGD(chain, step_size=theory.InverseRoot(0.5, K=100), momentum=0.9)
old = legacy.Krum(num_malicious_clients=2, fraction_fit=0.5, min_fit_clients=3, checkpoint="run.npz")
older = legacy.Robust("krum", f=1)
trusting = FLTrust(server_update=lambda server_round, arrays: arrays)
mod = byzantine_mod(attacks.SignFlip(scale=3.0), nodes={0, 1})
text: str = citation(chain)
needed: int = rules.Krum(f=2).min_n()


def start(grid: Any, arrays: ArrayRecord) -> ArrayRecord:
    mounted: Any = AdversarialGrid(grid, attacks.ALIE(), by_partition({0, 1}), rule=chain)
    return krum.start(mounted, arrays, num_rounds=3).arrays


Krum(num_malicious_nodez=2)  # wrong
FedMedian(min_avail_nodes=10)  # wrong
Robust(3)  # wrong
Robust(chain, strategy="FedAvg")  # wrong
Robust("krum", f="two")  # wrong
MultiKrum(num_nodes_to_selects=3)  # wrong
FedTrimmedAvg(betta=0.1)  # wrong
GeometricMedian(nu="small")  # wrong
ByzantineSGD(chain)  # wrong
Krum(on_infeasable="skip")  # wrong
Krum(quarantine=3.0)  # wrong
legacy.Krum(num_malicious_nodes=2)  # wrong
legacy.FedMedian(fraction_fits=0.5)  # wrong
legacy.Bulyan(num_malicious_clients="2")  # wrong
rules.Krum(g=2)  # wrong
attacks.SignFlip(skale=1.0)  # wrong
krum.fraction_trian  # wrong
krum.reports[0].n_sampeld  # wrong
krum.fraction_trian = 0.5  # wrong
by_name.startegy = None  # wrong
old.fraction_fitt = 0.5  # wrong
Krum(on_infeasible="skipp")  # wrong
from flwr_byzantine import Crum  # wrong
LocalGrid(None, 3, processes="two")  # wrong
"""


PUBLIC = ("flwr_byzantine", "flwr_byzantine.legacy", "flwr_byzantine.rules", "flwr_byzantine.attacks", "flwr_byzantine.theory")
pytestmark = pytest.mark.slow  # mypy reads Flower and torch first


@pytest.fixture(scope="module")
def names():
    """What the public modules export."""
    return [f"{module}.{name}" for module in PUBLIC for name in importlib.import_module(module).__all__]


@pytest.fixture(scope="module")
def said(tmp_path_factory, names):
    """What mypy strict says of the uses and of every exported name, with the package as users have it: found through its py.typed."""
    folder = tmp_path_factory.mktemp("uses")
    (folder / "uses.py").write_text(USES)
    (folder / "names.py").write_text("".join([*(f"import {module}\n" for module in PUBLIC), *(f"reveal_type({name})\n" for name in names)]))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(folder / "cache"), "uses.py", "names.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={"MYPYPATH": str(ROOT)}, check=False)
    assert done.stderr == ""
    return done.stdout


def test_right_uses_pass_and_each_wrong_one_is_refused(said):
    complaints = {int(line) for line in re.findall(r"^uses\.py:(\d+): error", said, re.MULTILINE)}
    wrong = {number for number, line in enumerate(USES.splitlines(), 1) if line.endswith("# wrong")}
    assert len(wrong) == 24
    assert complaints == wrong, said


def test_no_public_class_or_function_is_any_to_a_type_checker(said, names):
    shown = re.findall(r'^names\.py.*Revealed type is "(.*)"', said, re.MULTILINE)
    assert len(shown) == len(names), said
    assert [name for name, text in zip(names, shown, strict=True) if text == "Any"] == []
