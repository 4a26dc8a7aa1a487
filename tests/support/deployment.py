"""A real federation on loopback: SuperLink, SuperNodes and runs as processes, with TLS and node authentication."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.support.processes import command_of, end_all, free_ports, processes_of, resident

BIN, ROOT = Path(sys.executable).parent, Path(__file__).parents[2]
WORDS = {"serverapp": "flwr-serverapp", "clientapp": "flwr-clientapp"}
SECURE = ("--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.pem", "--ssl-keyfile", "server.key", "--enable-supernode-auth")
PYPROJECT = """
[project]
name = "deployed"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "deployed.server_app:app"
clientapp = "deployed.client_app:app"
[tool.flwr.app.config]
results = ""
"""
needs_keys = pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("ssh-keygen")), reason="needs openssl and ssh-keygen")


def shell(*command, **keywords):
    """Run a command to its end; its standard output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **keywords)
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-1000:]}"
    return done.stdout


def certificates(folder):
    """A CA, and a certificate for loopback that it signs."""
    (folder / "san.cnf").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl, key = partial(shell, "openssl", cwd=folder), ("-newkey", "rsa:2048", "-nodes")
    signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san.cnf")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=tests")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signing)


def write_app(folder, server, client, **config):
    """A Flower app of two modules, given as text; `config` adds keys to its run config, with their defaults."""
    (folder / "deployed").mkdir(parents=True)
    keys = "".join(f"{key} = {json.dumps(value)}\n" for key, value in config.items())
    for name, text in {"__init__": "", "server_app": server, "client_app": client}.items():
        (folder / "deployed" / f"{name}.py").write_text(text)
    (folder / "pyproject.toml").write_text(PYPROJECT + keys)
    return folder


class Federation:
    """SuperLink and SuperNodes, started by `with`; whatever they and their runs started has ended after it, or it raises.

    Roles name processes: "link", "node0", "node1", ..., and, each while one runs, "serverapp" and "clientapp".

    Args:
        folder: an empty one, for keys, logs and Flower's home.
        nodes: SuperNodes to register and start.
        database: the SuperLink's file, which it goes on from after a kill; None keeps its state in memory.

    Attributes:
        node_ids: index of a node -> its id, as reports name it.
    """

    def __init__(self, folder, nodes=5, database=None):
        self.folder, self.nodes, self.database, self.home = Path(folder), nodes, database, Path(folder) / "home"
        self.port, *self.node_ports = free_ports(nodes + 1)
        self.started, self.node_ids = {}, {}
        paths = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}  # apps import the tree that is tested
        self.environment = {**os.environ, **paths, "FLWR_HOME": str(self.home)}
        self.cli = partial(shell, "flwr", cwd=self.folder, env=self.environment)

    def __enter__(self):
        try:
            self._prepare()
            self.start("link")
            for index in range(self.nodes):
                self.register(index)
                self.start(f"node{index}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        gone = end_all(self.home)
        for process in self.started.values():
            process.wait(timeout=10)
        assert gone, f"left behind: {[command_of(pid) for pid in processes_of(self.home)]}"

    def _prepare(self):
        self.home.mkdir()
        certificates(self.folder)
        self.configure(self.port, self.folder / "ca.crt")

    def configure(self, port, authority):
        """Tell Flower's command line where the SuperLink is, and whose certificates are good."""
        address, root = f'address = "127.0.0.1:{port}"', f'root-certificates = "{authority}"'
        (self.home / "config.toml").write_text(f'[superlink]\ndefault = "dep"\n[superlink.dep]\n{address}\n{root}\n')

    def launch(self, role, *command, cwd=None):
        """Start a process of this federation; it writes to the log of its role."""
        with self.log_path(role).open("ab") as log:
            keywords = {"cwd": cwd or self.folder, "env": self.environment, "stdin": subprocess.DEVNULL, "start_new_session": True}
            self.started[role] = subprocess.Popen(command, stdout=log, stderr=log, **keywords)
        return self.started[role]

    def start(self, role):
        """Start the SuperLink and wait until it answers, or a registered node; a database and a key are what they go on from."""
        if role == "link":
            database = ("--database", str(self.database)) if self.database else ()
            self.launch(role, "flower-superlink", *SECURE, *self._place(self.port), "--disable-runtime-dependency-installation", *database)
            self._answering()
            return
        index = int(role.removeprefix("node"))
        key = ("--root-certificates", "ca.crt", "--auth-supernode-private-key", role)
        config = ("--node-config", f"partition-id={index} num-partitions={self.nodes}")
        self.launch(role, "flower-supernode", "--superlink", f"127.0.0.1:{self.port}", *key, *self._place(self.node_ports[index]), *config)

    def restart(self, role, patience=150):
        """Start a role again after a kill, as often as it takes: a node that was killed is refused for a minute, as it seems online."""
        deadline, known = time.monotonic() + patience, len(self.log(role))
        self.start(role)
        while role != "link" and "SuperNode ID" not in self.log(role)[known:]:
            assert time.monotonic() < deadline, f"{role} not back after {patience} s: {self.log(role)[-2000:]}"
            if self.started[role].poll() is not None:
                self.start(role)
            time.sleep(0.5)

    def _place(self, port):
        return "--host", "127.0.0.1", "--port", str(port)

    def _answering(self, patience=40):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            time.sleep(0.3)
            listing = ["flwr", "supernode", "list", "dep"]
            if subprocess.run(listing, cwd=self.folder, env=self.environment, capture_output=True, check=False).returncode == 0:
                return
        raise AssertionError(f"no SuperLink after {patience} s: {self.log('link')[-2000:]}")

    def register(self, index):
        """Make a node's key, `node0` and so on in the folder, and register it; its id."""
        shell("ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", f"node{index}", cwd=self.folder)
        return self.admit(index, self.folder / f"node{index}.pub")

    def admit(self, index, key):
        """Register a public key; the node's id."""
        answer = json.loads(self.cli("supernode", "register", str(key), "dep", "--format", "json"))
        self.node_ids[index] = int(answer["node-id"])
        return self.node_ids[index]

    def log_path(self, role):
        """The file that a role's processes write to."""
        return self.folder / f"{role}.log"

    def log(self, role):
        """What the processes of a role have written so far."""
        return self.log_path(role).read_text(errors="replace")

    def pids(self, role):
        """Processes of a role that have not ended."""
        if role in WORDS:
            return [pid for pid in processes_of(self.home) if WORDS[role] in command_of(pid)]
        process = self.started.get(role)
        return [process.pid] if process is not None and process.poll() is None else []

    def kill(self, role, number=signal.SIGKILL):
        """Send a signal to the processes of a role; those whom it ends have ended on return, and may be started again."""
        for pid in self.pids(role):
            os.kill(pid, number)
        if role in self.started and number in (signal.SIGKILL, signal.SIGTERM):
            self.started[role].wait(timeout=30)

    def run(self, app, **config):
        """Begin `flwr run` of an app folder under this run config."""
        return Run(self, app, config)


class Run:
    """One `flwr run` under way: its result, its log, and the memory of its ServerApp.

    The app writes its result to the path `results` of its run config, as JSON.

    Attributes:
        memory: pairs of time and bytes that the ServerApp held, ten a second.
    """

    def __init__(self, federation, app, config):
        self.federation, self.memory, self.over = federation, [], Event()
        self.number = sum(role.startswith("run") for role in federation.started)
        self.results = federation.folder / f"results{self.number}.json"
        text = " ".join(f"{key}={json.dumps(value)}" for key, value in {"results": str(self.results), **config}.items())
        command = ("flwr", "run", ".", "dep", "--stream", "-c", text)
        self.known = set(federation.pids("serverapp"))
        self.process = federation.launch(f"run{self.number}", *command, cwd=app)
        self.watch = Thread(target=self._sample, daemon=True)
        self.watch.start()

    def _sample(self):
        pids = []
        while not self.over.wait(0.1):
            pids = pids or [pid for pid in self.federation.pids("serverapp") if pid not in self.known]
            self.memory.append((time.time(), max(map(resident, pids), default=0)))

    @property
    def log(self):
        """What `flwr run --stream` has shown so far."""
        return self.federation.log(f"run{self.number}")

    def result(self, timeout):
        """What the app wrote, once `flwr run` has ended.

        Raises:
            AssertionError: it did not end in these seconds, or wrote no result.
        """
        try:
            self.process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
        finally:
            self.over.set()
            self.watch.join()
        assert self.results.exists(), self.log[-3000:] + self.federation.log("link")[-3000:]
        return json.loads(self.results.read_text())

    def status(self):
        """How Flower says that it ended, e.g. "finished:completed"."""
        runs = json.loads(self.federation.cli("list", "dep", "--format", "json"))["runs"]
        return max(runs, key=lambda run: run["pending-at"])["status"]

    def peak(self, start, end):
        """Most bytes that the ServerApp held between two times, and what it held at the first."""
        held = [size for when, size in self.memory if start <= when <= end]
        return max(held, default=0), held[0] if held else 0
