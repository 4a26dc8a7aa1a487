"""`Site`: what a machine must have to run cells of a sweep as another would: the same code and libraries, the data, the folder."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import flwr_byzantine
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.sweep.cell import Cell, versions
from flwr_byzantine.experiments.sweep.config import Sweep
from flwr_byzantine.experiments.sweep.kinds import Tasks, check_data

PYTHON = "Python"


@dataclass(frozen=True)
class Site:
    """What the machine has that asks others to run cells.

    Attributes:
        file: the sweep's, for messages.
        folder: the current one, in which modules and relative paths are looked for.
        data_root: folder of the data, as in `Task`.
        packages: the version of each library that results depend on, and of Python.
        code: of this package, a hash.
    """

    file: Path
    folder: str
    data_root: str
    packages: dict[str, str]
    code: str

    @classmethod
    def here(cls, sweep: Sweep) -> Site:
        """This machine, for a sweep."""
        names = {name for cell in sweep.cells for name in cell.packages()}
        return cls(sweep.file, str(Path.cwd()), sweep.data_root, versions_of(names), code())

    def enter(self, cells: Sequence[Cell]) -> None:
        """Make this process work as one that was started there.

        Raises:
            InvalidParameter: this machine has other code or libraries, or lacks data, models or apps of the cells.
        """
        for name, found in versions_of(self.packages).items():
            wanted = self.packages[name]
            if found != wanted:
                raise InvalidParameter(f"{name} is {found}, here {wanted}; results depend on it: install the same on all nodes")
        if code() != self.code:
            raise InvalidParameter("the code of flwr-byzantine is another, though its version is the same; install the same on all nodes")
        if Path(self.folder).is_dir():
            os.chdir(self.folder)
        if self.folder not in sys.path:
            sys.path.insert(0, self.folder)
        check_data(self.file, cells, self.data_root)
        Tasks().check(self.file, [cell for cell in cells if type(cell) is Cell], self.data_root)


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """The version of Python and of each package, "not installed" where it is not there.

    Example:
        >>> versions_of(["no-such-package"])["no-such-package"]
        'not installed'
    """
    found = {PYTHON: platform.python_version(), **versions(packages)}
    return {name: found.get(name, "not installed") for name in [PYTHON, *packages]}


@cache
def code() -> str:
    """A hash of the package's source.

    Example:
        >>> len(code())
        64
    """
    root = Path(flwr_byzantine.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
