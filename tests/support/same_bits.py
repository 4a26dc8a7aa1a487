"""What each rule makes of the same data in other environments: with Numba and without, other processors, BLAS kernels and threads."""

import json
import os
import subprocess
import sys

import numpy as np
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from flwr_byzantine import rules
from flwr_byzantine.strategy.digests import digest
from tests.support.rules import RULES, trusted

FEATURES = " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name])
ENVIRONMENTS = {
    "as it is": {},
    "without Numba": {"NO_NUMBA": "1"},
    "Numba for any processor": {"NUMBA_CPU_NAME": "generic"},
    "no features of the processor": {"NPY_DISABLE_CPU_FEATURES": FEATURES},
    "one thread": {"ONE_CORE": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    "two threads": {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
    "another BLAS kernel": {"OPENBLAS_CORETYPE": "Prescott", "NO_NUMBA": "1", "NPY_DISABLE_CPU_FEATURES": FEATURES},
}
REFUSED = {"FedRDF", "FoolsGold"}
GAS = rules.GAS(f=2, base=rules.Krum(f=2), p=7)  # a thousand groups take a while
REPRODUCIBLE = [GAS if isinstance(rule, rules.GAS) else rule for rule in RULES if type(rule).__name__ not in REFUSED]
REPRODUCIBLE += [rules.FedRDF(f=2, select="index"), rules.chain(rules.NNM(f=2), rules.NNM(f=2), rules.GeometricMedian(f=2))]
PROGRAM = """
import os, sys
if os.environ.get("NO_NUMBA"):
    sys.modules["numba"] = None
if os.environ.get("ONE_CORE"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import json
from tests.support.same_bits import digests
print(json.dumps(digests(sys.argv[1] == "True")))
"""


def data(n, d, dtype):
    """Rows of columns of many sizes, with one far row, two equal ones and one that is tiny."""
    rng = np.random.default_rng(d)
    X = (rng.normal(size=(n, d)) * rng.uniform(0.01, 10, size=d)).astype(dtype)
    X[1] *= 50
    X[2], X[4] = X[3], X[4] * dtype(1e-6)
    return X


def digests(reproducible):
    """SHA-256 of what each rule makes of data of both types, and all that it says of the rows."""
    found = {}
    for dtype, n, d in ((np.float32, 13, 5003), (np.float64, 13, 2049), (np.float64, 23, 311)):
        X = data(n, d, dtype)
        for rule in REPRODUCIBLE:
            made = rule.aggregate(X, reproducible=reproducible, **trusted(rule, X))
            said = {name: value for name in ("weights", "scores") if (value := getattr(made, name)) is not None}
            found[f"{rule} {np.dtype(dtype)} {n}"] = digest({"value": made.value, **said})
    return found


def found_in(environment, reproducible, folder):
    if "NUMBA_CPU_NAME" in environment:  # compiled code of another processor is another cache
        environment = {**environment, "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(reproducible)],
        env={**os.environ, "PYTHONPATH": os.getcwd(), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
