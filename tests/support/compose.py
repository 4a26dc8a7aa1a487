"""The services of docs/compose as processes on loopback: their own command lines, in folders that their volumes make."""

import re
import shutil
import signal
import time

import yaml

from tests.support.deployment import ROOT, Federation, shell
from tests.support.processes import free_ports, listening

COMPOSE = ROOT / "docs" / "compose"
PROGRAMS = {"superlink": "flower-superlink", "supernode": "flower-supernode", "superexec": "flower-superexec"}
SCRATCH = "http {" + "".join(f" {kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}")


def services(name, **variables):
    """Service -> its settings in a compose file, with these variables in place.

    Raises:
        KeyError: a variable that must be set is not.
    """

    def value(found):
        given = variables.get(found[1])
        return given if given else found[3] if found[2] == ":-" else variables[found[1]]

    return yaml.safe_load(VARIABLE.sub(value, (COMPOSE / name).read_text(encoding="utf-8")))["services"]


class Composed(Federation):
    """SuperLink, gateway, nodes and their workers, as `docker compose` would start them from docs/compose.

    Containers are folders with their volumes as links, and names of services are addresses of loopback. Without nginx, nodes reach the
    SuperLink itself.

    Args:
        folder, nodes: those of `Federation`.

    Attributes:
        door: the port at which nodes knock.
    """

    def __init__(self, folder, nodes=3):
        super().__init__(folder, nodes)
        (self.gateway_port,) = free_ports(1)
        self.has_gateway = shutil.which("nginx") is not None
        self.door = self.gateway_port if self.has_gateway else self.port

    def __exit__(self, *details):
        self.kill("gateway", signal.SIGTERM)  # by its own pid: nginx hides the environment by which the others are found
        super().__exit__(*details)

    def _prepare(self):
        self.home.mkdir()
        for path in COMPOSE.iterdir():
            shutil.copy(path, self.folder)
        shell("./keys.sh", "server", "127.0.0.1", cwd=self.folder)
        self.configure(self.port, self.folder / "keys" / "ca.crt")

    def register(self, index):
        """Make a node's keys by the script, and register the public one; its id."""
        shell("./keys.sh", "node", f"node{index}", "keys/ca.crt", cwd=self.folder)
        return self.admit(index, self.folder / "keys" / f"node{index}" / "node.pub")

    def start(self, role):
        """Start the server's services, or a node and its worker."""
        if role == "link":
            for service, settings in services("server.yml").items():
                self._serve(service, settings, {"superlink": self.port, "8000": self.port, "8443": self.gateway_port})
            self._answering()
            return
        index = int(role.removeprefix("node"))
        ports = {"supernode": self.node_ports[index], "9094": self.node_ports[index]}
        config = f"partition-id={index} num-partitions={self.nodes}"
        for service, settings in services("node.yml", NODE=role, SUPERLINK=f"127.0.0.1:{self.door}", NODE_CONFIG=config).items():
            self._serve(service, settings, ports, role if service == "supernode" else f"{role}-worker")

    def _serve(self, service, settings, ports, role=None):
        role = role or {"superlink": "link"}.get(service, service)
        container = self._container(role, settings)
        if service == "gateway":
            self._gate(container, ports)
            return
        command = [on_loopback(word, ports) for word in settings["command"]]
        self.launch(role, PROGRAMS[service], *command, cwd=container / "app")

    def _container(self, role, settings):
        """A folder with the service's volumes in it."""
        root = self.folder / "containers" / role
        (root / "app").mkdir(parents=True)
        for volume in settings.get("volumes", ()):
            outside, inside = volume.split(":")[:2]
            (root / inside.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (root / inside.lstrip("/")).symlink_to(self.folder / outside)
        return root

    def _gate(self, container, ports):
        if not self.has_gateway:
            return
        config = container / "etc" / "nginx" / "nginx.conf"
        text = on_loopback(config.read_text(encoding="utf-8"), ports)
        config.unlink()  # the link to the file as it is
        config.write_text(text.replace("http {", SCRATCH, 1), encoding="utf-8")
        here = f"daemon off; pid {container}/pid; error_log stderr;"
        gate = self.launch("gateway", "nginx", "-e", "stderr", "-p", str(config.parent), "-c", str(config), "-g", here)
        while not listening(self.gateway_port):
            assert gate.poll() is None, self.log("gateway")
            time.sleep(0.2)


def on_loopback(text, ports):
    """A word of a command line, or a configuration, with loopback's addresses in place of services' names and ports."""
    text = text.replace("0.0.0.0", "127.0.0.1")
    for name, port in ports.items():
        text = re.sub(rf"\b{name}:\d+", f"127.0.0.1:{port}", text) if name.isalpha() else re.sub(rf"(?<![:\d]){name}\b", str(port), text)
    return text
