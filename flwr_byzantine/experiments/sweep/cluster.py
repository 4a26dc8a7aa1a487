"""`Cluster`: cells as tasks of a Ray cluster; where a node is lost, its cells run again on others."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep.cell import Cell, failed, run
from flwr_byzantine.experiments.sweep.config import Sweep
from flwr_byzantine.experiments.sweep.site import Site
from flwr_byzantine.experiments.sweep.workers import THREADS, Results
from flwr_byzantine.experiments.tasks.sources.vision import ROOT_VARIABLE

TRIES = 3  # how often a cell may lose its node, or the process that runs it
REACH_SECONDS = 3.0  # for a connection to the address
JOIN_SECONDS = 15.0  # for Ray to answer there
LOOK_SECONDS = 120.0  # for a node to start a process and look at itself
FORMS = '"auto", "HOST:PORT" or "ray://HOST:PORT"'
TRY = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR')"


@dataclass(frozen=True)
class Cluster:
    """A running Ray cluster.

    Args:
        address: "auto" (the cluster of this machine, or $RAY_ADDRESS), "HOST:PORT", or "ray://HOST:PORT" (Ray Client).
        gpus: GPUs of a cell, or a share of one; at 0 cells see none.
        on_lost: gets a sentence when a node is lost with a cell.

    Raises:
        InvalidParameter: 1.5 GPUs.
    """

    address: str
    gpus: float = 0.0
    on_lost: Callable[[str], None] = lambda _sentence: None

    def __post_init__(self) -> None:
        """Check the GPUs."""
        if not (0 <= self.gpus <= 1 or (float(self.gpus).is_integer() and self.gpus > 0)):
            raise InvalidParameter(f"--ray-gpus must be a share of a GPU, or a whole number of them, got {self.gpus!r}")

    @contextmanager
    def joined(self, sweep: Sweep) -> Iterator[bool]:
        """Inside the `with` block this process is connected, and the nodes are fit to run the cells.

        Yields:
            Whether it stays connected after the block: it was before, and that Ray is the cluster. Else Ray ends what still runs.

        Raises:
            InvalidParameter: no Ray answers at the address, or `check` finds something.
        """
        ray = _ray()
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns
        with ExitStack() as stack:
            stays = bool(ray.is_initialized())
            if not stays:
                reach(self.address)
                stack.enter_context(redirect_stdout(sys.stderr))  # Ray prints what it notices
                _join(self.address)
                stack.callback(ray.shutdown)
            self.check(sweep)
            yield stays

    def run_all(self, sweep: Sweep, cells: Sequence[Cell], processes: int | None, profile: bool, cancel: bool) -> Results:
        """Run cells, each as a task of one core; yields each one's result as soon as it is there.

        A task is told as `Site` what this machine has, and results are those of `workers.run_all`.

        Args:
            sweep: of the cells.
            cells: in the order in which they are begun.
            processes: how many run at once; None is as many as the cluster has cores for.
            profile: whether results say where time goes.
            cancel: whether tasks that still run at its end are cancelled. False where this process leaves the cluster then: that ends
                them too, and a task that finishes while it is cancelled makes Ray (2.55) abort.

        Raises:
            InvalidParameter: a node that came later is not fit to run them.
        """
        ray = _ray()
        site = Site.here(sweep)
        task = ray.remote(_run).options(**self._resources(), max_retries=0)
        waiting = deque((cell, 1) for cell in cells)
        running: dict[Any, tuple[Cell, int]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < (processes or len(cells)):
                    cell, attempt = waiting.popleft()
                    running[task.remote(cell, site, profile)] = cell, attempt
                for done in ray.wait(list(running))[0]:
                    cell, attempt = running.pop(done)
                    result = self._result(done, cell, attempt)
                    if result is None:
                        waiting.appendleft((cell, attempt + 1))
                    else:
                        yield result
        finally:
            for reference in running if cancel else ():
                ray.cancel(reference, force=True)

    def _result(self, reference: Any, cell: Cell, attempt: int) -> Result | None:
        """The result of a task; None where it was lost and may be tried again."""
        from ray.exceptions import RayError, RayTaskError

        try:
            result: Result = _ray().get(reference)
        except InvalidParameter as error:
            raise InvalidParameter(_sentence(error)) from None
        except RayTaskError as error:
            return failed(cell, _last_line(error))
        except RayError as error:
            reason = f"the node or the process that ran it was lost ({type(error).__name__})"
            if attempt == TRIES:
                return failed(cell, f"WorkerDied: {reason}, {TRIES} times")
            self.on_lost(f"{cell}: {reason}; it runs again")
            return None
        return result

    def _resources(self) -> dict[str, Any]:
        variables = {**dict.fromkeys(THREADS, "1"), ROOT_VARIABLE: os.environ.get(ROOT_VARIABLE, "")}
        if not self.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ""
        return {"num_cpus": 1, "num_gpus": self.gpus, "runtime_env": {"env_vars": variables}}

    def check(self, sweep: Sweep) -> None:
        """Let each node that can run cells look whether it is fit to.

        Raises:
            InvalidParameter: a node has other code or libraries or lacks data, no node can run a cell, a cell's engine is Ray itself.
        """
        ray = _ray()
        if any(cell.config["engine"] == "ray" for cell in sweep.cells):
            raise InvalidParameter('--ray: engine = "ray" starts a Ray of its own in each cell; take engine = "local" on a cluster')
        nodes = [node for node in ray.nodes() if node["Alive"] and self._fits(node["Resources"])]
        if not nodes:
            wanted = f"a core and {self.gpus:g} GPUs" if self.gpus else "a core"
            raise InvalidParameter(f"--ray: no node of the cluster at {self.address!r} has {wanted} for a cell; add a node")
        looks = {self._look(node, sweep): node["NodeManagerAddress"] for node in nodes}
        done, late = ray.wait(list(looks), num_returns=len(looks), timeout=LOOK_SECONDS)
        for reference in done:
            _fit(reference, looks[reference])
        if late:
            raise InvalidParameter(f"--ray: the node {looks[late[0]]} did not answer within {LOOK_SECONDS:.0f} s; see `ray status`")

    def _fits(self, resources: dict[str, float]) -> bool:
        return resources.get("CPU", 0) >= 1 and resources.get("GPU", 0) >= self.gpus

    def _look(self, node: dict[str, Any], sweep: Sweep) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        options = self._resources() | {"num_cpus": 0, "num_gpus": 0, "scheduling_strategy": there, "max_retries": 0}
        return _ray().remote(_look).options(**options).remote(sweep.cells, Site.here(sweep))


def _run(cell: Cell, site: Site, profile: bool) -> Result:
    """On a node: run a cell, in one process, where the node is fit to."""
    _look([cell], site)
    return run(cell, site.data_root, processes=1, profile=profile)


def _look(cells: Sequence[Cell], site: Site) -> None:
    """On a node: raise `InvalidParameter` where it is not fit to run the cells."""
    try:
        site.enter(cells)
    except InvalidParameter as error:
        raise InvalidParameter(f"the node {_ray().util.get_node_ip_address()}: {error}") from None


def _fit(look: Any, node: str) -> None:
    """Take what a node says of itself."""
    from ray.exceptions import RayError, RayTaskError

    try:
        _ray().get(look)
    except InvalidParameter as error:
        raise InvalidParameter(_sentence(error)) from None
    except RayTaskError as error:
        problem = f"--ray: the node {node} cannot run cells ({_last_line(error)})"
        raise InvalidParameter(f"{problem}; install flwr-byzantine[simulation] there as here") from None
    except RayError:
        return  # it is gone, and gets no cells


def reach(address: str) -> None:
    """Look whether Ray answers at an address, without waiting for it a minute and more, as `ray.init` does.

    Raises:
        InvalidParameter: it does not.
    """
    address = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    if address != "auto":
        _listens(address)
    if address.startswith("ray://"):
        return  # Ray's client gives up by itself
    try:
        done = subprocess.run([sys.executable, "-c", TRY, address], capture_output=True, text=True, timeout=JOIN_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        problem = f"--ray: no Ray answers at {address!r} within {JOIN_SECONDS:.0f} s, or this machine is no node of that cluster"
        raise InvalidParameter(f"{problem}; see `ray status`, and from outside take ray://HOST:10001") from None
    if done.returncode:
        raise InvalidParameter(f"--ray: cannot join the cluster at {address!r} ({_last_line(done.stderr)})")


def _join(address: str) -> None:
    try:
        _ray().init(address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError) as error:
        raise InvalidParameter(f"--ray: cannot join the cluster at {address!r} ({_last_line(error)})") from None


def _listens(address: str) -> None:
    match = re.fullmatch(r"(?:ray://)?([^\s/:]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", address)
    if match is None:
        raise InvalidParameter(f"--ray: the address of a running Ray cluster is {FORMS}, got {address!r}")
    try:
        socket.create_connection((match[1].strip("[]"), int(match[2])), REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidParameter(f"--ray: nobody listens at {address!r} ({reason}); start a cluster there by `ray start --head`") from None


def _sentence(error: Exception) -> str:
    """What a node raised, without Ray's traceback."""
    return f"--ray: {getattr(error, 'cause', error)}"


def _last_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def _ray() -> Any:
    """Ray, loaded when it is used; half of it has no types."""
    import ray

    return ray
