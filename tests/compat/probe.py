"""What `python -m tests.compat` runs in each environment; prints one line of JSON. Needs core dependencies only."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import pkgutil
from collections.abc import Callable

import flwr
import numpy as np

AUDITED = [
    ("flwr_byzantine:Krum", False),
    ("flwr_byzantine:FedTrimmedAvg", False),
    ("flwr_byzantine:Bulyan", False),
    ("flwr_byzantine.legacy:Krum", True),
    ("flwr_byzantine.legacy:FedMedian", True),
]


def inside() -> str:
    """What is expected of Flower's inside."""
    from tests.support.canary import EXPECTED, complaint

    said = [text for expectation in EXPECTED if (text := complaint(expectation))]
    return "; ".join(said) or f"ok, {len(EXPECTED)} expectations"


def imports() -> str:
    """All modules of the package but those that need an extra."""
    import flwr_byzantine
    from flwr_byzantine.declare.extras import EXTRAS

    names = [item.name for item in pkgutil.walk_packages(flwr_byzantine.__path__, "flwr_byzantine.", onerror=lambda _: None)]
    missing = 0
    for name in names:
        if name.endswith("__main__"):
            continue
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in EXTRAS:
                raise
            missing += 1
    return f"ok, {len(names) - missing} modules ({missing} need an extra)"


def audits() -> str:
    """Hostile replies against strategies of both APIs, the attackers in the middle: all must survive."""
    from flwr_byzantine.experiments.audit.battery import BATTERY
    from flwr_byzantine.experiments.audit.runner import audit, load_strategy

    bad, count = [], 0
    for name, legacy in AUDITED:
        findings = audit(load_strategy(name, 2), BATTERY, legacy=legacy, where=[(6, 7)])
        count += len(findings)
        bad += [f"{name} {finding.case}: {finding.outcome}" for finding in findings if finding.outcome != "survived"]
    return "; ".join(bad) or f"ok, {count} federations"


def federation() -> str:
    """Three rounds of Krum over LocalGrid with sign-flippers; the digest of the model must be the same for all versions."""
    from flwr_byzantine import FedMedian, attacks
    from flwr_byzantine.flower.local import LocalGrid
    from flwr_byzantine.mods import byzantine_mod
    from tests.support.federation import client_app, start

    app = client_app()
    result = FedMedian(f=2).start(LocalGrid(byzantine(app, byzantine_mod(attacks.SignFlip(), nodes=[0, 1])), 11), start(), 3)
    model = np.concatenate([array.numpy().ravel().astype(np.float64) for array in result.arrays.values()])
    return f"ok, model {hashlib.sha256(model.tobytes()).hexdigest()[:8]}"


def byzantine(app: Callable[..., object], mod: Callable[..., object]) -> Callable[..., object]:
    """The ClientApp behind a mod."""
    return lambda message, context: mod(message, context, app)


def main() -> None:
    """One line of JSON: what each probe says, or the exception that ended it."""
    answer = {"version": flwr.__version__}
    for probe in (inside, imports, audits, federation):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                answer[probe.__name__] = probe()
        except Exception as error:
            answer[probe.__name__] = f"{type(error).__name__}: {str(error)[:200]}"
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
