"""What the tests notice: small changes ("mutants") at sampled places of rules, strategy and theory, each against its room's tests.

Run: python -m tests.mutation --sample 200 --seed 0        (needs `pip install cosmic-ray`; about half an hour on 2 idle cores)
     python -m tests.mutation --again                      (only what survived last time, or was not tried yet)

Cosmic Ray makes the mutants and holds the results in a session (SQLite; its `cr-report` and `cr-html` read it). One mutant is
drawn for each sampled place: an operator, number, comparison, condition, loop, decorator, True or False. Replacements that nearly
always raise (`<<` for `+`) or mean the same (`is` for `==`) are left out, and so is what stands in annotations
and behind `strict=`.
A survivor is printed with what it changes: either the change means nothing (a sum over the other axis of a symmetric matrix, a
shortcut that only saves time), or a test is missing.
Mutants run in copies of the checkout, two at a time, as forks of a process that has loaded NumPy, torch and Flower; without Numba,
and with fewer generated examples than a test run has.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import itertools
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).parents[1]
LONG = (  # a training on real data, and federations in Flower's own server loop and simulation engine
    "tests/strategy/test_sgd.py::test_on_real_data_the_robust_rule_learns_and_the_mean_does_not",
    "tests/test_legacy.py::test_numpy_clients_learn_under_a_legacy_strategy_in_flowers_server_app",
)
TESTS = {  # of each room: what takes no time, the rest, and what takes longest; then the doctests of the file that was changed
    "rules": [
        " ".join(f"tests/rules/test_{name}.py" for name in ("guarantees", "parameters", "published_values", "subsets", "filters")),
        "tests/rules --ignore=tests/rules/test_declared.py",
        "tests/rules/test_declared.py",
    ],
    "strategy": [
        " ".join(f"tests/strategy/test_{name}.py" for name in ("policies", "arguments", "metrics", "run_state", "core", "core_models")),
        " ".join(["tests/strategy tests/test_legacy.py", *(f"--deselect={name}" for name in LONG)]),
    ],
    "theory": [
        " ".join(f"tests/theory/test_{name}.py" for name in ("advice", "estimates", "formulas", "ranges", "sampling")),
        "tests/theory",
    ],
}
SECONDS, GIBIBYTES = 300, 12  # of one mutant, at most: time of the processor and memory
PRELOADED = ("flwr.serverapp.strategy", "pytest", "scipy.stats", "scipy.optimize", "sklearn.cluster", "torch")
ARITHMETIC, ORDER = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Pow"}, {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"}
SWAPS = [ARITHMETIC, ORDER, {"BitAnd", "BitOr"}, {"Mod", "Mul"}, {"Is", "IsNot"}]


def sensible(operator: str) -> bool:
    """Whether a replacement of an operator stays among those that the types allow."""
    found = re.search(r"Replace(?:Binary|Comparison)Operator_(\w+)_(\w+)", operator)
    return found is None or any(set(found.groups()) <= swap for swap in SWAPS)


def annotations(path: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where the file's annotations go, as (line, column)."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    found = [getattr(node, name, None) for node in nodes for name in ("annotation", "returns")]
    return [((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)) for node in found if node is not None]


def places(rooms: list[str], session: Any) -> dict[tuple[str, Any], list[Any]]:
    """Cosmic Ray's mutants of the rooms' files, by the place that they change."""
    from cosmic_ray.commands import init

    files = [path.relative_to(ROOT) for room in rooms for path in sorted((ROOT / "flwr_byzantine" / room).glob("*.py"))]
    init(files, session, {})
    inside = {path: annotations(ROOT / path) for path in files}
    lines = {path: (ROOT / path).read_text(encoding="utf-8").splitlines() for path in files}
    found: dict[tuple[str, Any], list[Any]] = {}
    for item in session.work_items:
        (mutant,) = item.mutations
        line, column = mutant.start_pos
        strict = lines[mutant.module_path][line - 1][:column].endswith("strict=")  # an assertion on lengths, no behaviour
        annotated = any(start <= mutant.start_pos < end for start, end in inside[mutant.module_path])
        if sensible(mutant.operator_name) and not annotated and not strict:
            found.setdefault((str(mutant.module_path), mutant.start_pos), []).append(item)
    return found


def draw(rooms: list[str], count: int, seed: int, session: Any) -> list[Any]:
    """Draw `count` places, and of each one mutant; only these stay in the session."""
    rng, found = random.Random(seed), places(rooms, session)
    chosen = rng.sample(sorted(found), min(count, len(found)))
    key = lambda item: (item.mutations[0].operator_name, item.mutations[0].occurrence)  # noqa: E731
    items = [rng.choice(sorted(found[place], key=key)) for place in chosen]
    session.clear()
    session.add_work_items(items)
    return items


def survivors(session: Any) -> list[Any]:
    """The session's mutants that no test has noticed, or that have not been tried."""
    noticed = {job for job, result in session.results if result.test_outcome and result.is_killed}
    return [item for item in session.work_items if item.job_id not in noticed]


def copies(parent: Path, count: int) -> list[Path]:
    """Copies of the checkout, in which mutants are made."""
    left_out = shutil.ignore_patterns(".git", ".venv", "results", ".hypothesis", ".*_cache")
    return [Path(shutil.copytree(ROOT, parent / str(k) / ROOT.name, ignore=left_out)) for k in range(count)]


def preload() -> None:
    """Load what all tests need once, but nothing of the checkout: the tests of each mutant start as a fork of this process."""
    for module in PRELOADED:
        importlib.import_module(module)
    hypothesis.settings.register_profile("mutation", derandomize=True, deadline=None, max_examples=10)
    sys.dont_write_bytecode = True  # a file may change twice in a second


def enter(copy: Path) -> None:
    """Turn this process, a fork, to the copy, within bounds of time and memory, and quiet."""
    os.chdir(copy)
    sys.path = [str(copy), *(part for part in sys.path if Path(part).resolve() != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    sys.modules["numba"] = None  # type: ignore[assignment]  # NumPy's kernels do: compiling anew takes longer than many a test
    os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (GIBIBYTES << 30,) * 2)
    output = os.open(copy.parent / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)


def noticed(tests: str) -> bool:
    """Whether one of the tests fails, with fewer generated examples than in a test run."""
    limits = ["-o", "faulthandler_timeout=120", "-o", "faulthandler_exit_on_timeout=true", "--hypothesis-profile=mutation"]
    quiet = ["-x", "-q", "-n0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return pytest.main([*quiet, *limits, "-m", "not slow", *tests.split()]) not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def start(copy: Path, path: Path) -> int:
    """Start the tests for `path` in a fork; its process id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            enter(copy)
            code = any(noticed(tests) for tests in [*TESTS[path.parts[1]], str(path)])
        except BaseException:
            traceback.print_exc()
        finally:  # nothing of the parent's is cleaned up here
            sys.stdout.flush()
            os._exit(code)
    return child


def expect_to_pass(rooms: Iterable[str], copy: Path) -> None:
    """Without a mutant all tests must pass."""
    for room in rooms:
        if os.waitpid(start(copy, Path("flwr_byzantine") / room / "__init__.py"), 0)[1]:
            print((copy.parent / "output").read_text(encoding="utf-8")[-3000:])
            raise SystemExit(f"the tests of {room} fail without any mutant: mend them first")


def tried(items: list[Any], free: list[Path]) -> Iterator[tuple[Any, Any, float]]:
    """Each mutant with its result and its seconds of processor time, as they come: as many at a time as there are copies."""
    from cosmic_ray.mutating import apply_mutation
    from cosmic_ray.plugins import get_operator
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

    waiting, running = items[::-1], {}
    while waiting or running:
        while waiting and free:
            item, copy = waiting.pop(), free.pop()
            (mutant,) = item.mutations
            texts = apply_mutation(copy / mutant.module_path, get_operator(mutant.operator_name)(), mutant.occurrence)
            running[start(copy, mutant.module_path)] = item, copy, *texts
        child, status, used = os.wait3(0)
        item, copy, before, after = running.pop(child)
        (copy / item.mutations[0].module_path).write_text(before, encoding="utf-8")
        free.append(copy)
        changed = "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))
        outcome = TestOutcome.KILLED if status else TestOutcome.SURVIVED
        yield item, WorkResult(WorkerOutcome.NORMAL, test_outcome=outcome, diff=changed), used.ru_utime + used.ru_stime


def line(item: Any, result: Any, seconds: float) -> str:
    """One mutant's fate; of a survivor, what was changed."""
    (mutant,) = item.mutations
    place, operator = f"{mutant.module_path}:{mutant.start_pos[0]}", mutant.operator_name.removeprefix("core/")
    head = f"{result.test_outcome.value:9} {seconds:4.0f} s  {place} {operator}"
    return head if result.is_killed else "\n".join([head, *re.findall(r"^[-+](?![-+]).*", result.diff, re.MULTILINE)])


def summary(session: Any) -> str:
    """Counts by room."""
    fates = dict(session.results)
    room = lambda item: item.mutations[0].module_path.parts[1]  # noqa: E731
    rows = []
    for name, group in itertools.groupby(sorted(session.work_items, key=room), key=room):
        items = list(group)
        noticed = sum(item.job_id in fates and fates[item.job_id].is_killed for item in items)
        rows.append(f"{name}: {noticed} of {len(items)} noticed")
    return "\n".join(rows)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sample", type=int, default=200, help="how many mutants")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--rooms", nargs="+", choices=TESTS, default=list(TESTS), help="which folders of the package")
    parser.add_argument("--session", default=Path("build/mutation.sqlite"), type=Path, help="file of mutants and results")
    parser.add_argument("--again", action="store_true", help="try only what survived, or was not tried, in the session")
    parser.add_argument("--workers", type=int, default=2, help="mutants tried at a time")
    return parser.parse_args()


def main() -> None:
    """Draw, try, and report."""
    from cosmic_ray.work_db import WorkDB, use_db

    asked = options()
    asked.session.parent.mkdir(exist_ok=True)
    with use_db(asked.session, WorkDB.Mode.open if asked.again else WorkDB.Mode.create) as session, tempfile.TemporaryDirectory() as parent:
        items = survivors(session) if asked.again else draw(asked.rooms, asked.sample, asked.seed, session)
        folders = copies(Path(parent), asked.workers)
        preload()
        expect_to_pass(sorted({item.mutations[0].module_path.parts[1] for item in items}), folders[0])
        for item, result, seconds in tried(items, folders):
            session.set_result(item.job_id, result)
            print(line(item, result, seconds), flush=True)
        print(summary(session))


if __name__ == "__main__":
    main()
