"""Modules that have moved can be imported by their old names for a while, with a warning that says where they are."""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "flwr_byzantine."
MOVED = {  # those that documents named, until version 0.3
    "audit": "experiments.audit",
    "cli": "experiments.cli",
    "local": "flower.local",
    "measures": "experiments.measures",
    "plan": "theory.advice",
    "poison": "attacks.poisoning",
    "report": "experiments.report",
    "spec": "rules.parsing",
}


class MovedModules(MetaPathFinder, Loader):
    """Finds a moved module under its old name; the same module object as under the new one."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A spec for a name in `MOVED`, None for any other."""
        return ModuleSpec(fullname, self) if fullname.removeprefix(PACKAGE) in MOVED and fullname.startswith(PACKAGE) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty module that stands in until `exec_module`."""
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Put the moved module in the place of the old name."""
        old = module.__name__
        new = PACKAGE + MOVED[old.removeprefix(PACKAGE)]
        warnings.warn(f"{old} has moved to {new}; the old name goes in version 0.3", DeprecationWarning, stacklevel=2)
        sys.modules[old] = importlib.import_module(new)


def install() -> None:
    """Let Python ask for moved modules where it finds none, once."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
