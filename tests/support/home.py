"""A Flower home, where `flwr run` finds a local SuperLink of its own."""

import json
import os
import subprocess
import time
import urllib.request

from tests.support.environments import CLEAN
from tests.support.processes import end_all, free_ports


class Home:
    """A Flower home with a local SuperLink of its own, of the environment in this folder of commands."""

    def __init__(self, folder, commands, **environment):
        self.folder, (self.port,) = folder, free_ports(1)
        folder.mkdir(exist_ok=True)  # where the SuperLink's log goes
        paths = {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "FLWR_HOME": str(folder)}
        self.environment = {**CLEAN, **paths, "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(self.port), **environment}

    def start(self, patience=120):
        """Start the SuperLink that `flwr run` would start, which gives it 15 s: a machine that runs tests may take longer."""
        place = ("--host", "127.0.0.1", "--port", str(self.port), "--log-file", str(self.folder / "superlink.log"))
        command = ["flower-superlink", "--insecure", "--simulation", "--isolation", "subprocess", *place]
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.link = subprocess.Popen(command, env=self.environment, start_new_session=True, **silent)
        deadline = time.monotonic() + patience
        while not self._answers():
            assert self.link.poll() is None, "the SuperLink ended"
            assert time.monotonic() < deadline, (self.folder / "superlink.log").read_text()[-2000:]
            time.sleep(0.5)

    def _answers(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2).status == 200
        except OSError:
            return False

    def flwr_run(self, app, *options, **config):
        """What `flwr run --stream` shows, and its exit code."""
        text = " ".join(f"{key.replace('_', '-')}={json.dumps(value)}" for key, value in config.items())
        command = ["flwr", "run", str(app), "--stream", *options, *(("-c", text) if text else ())]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=400, check=False)
        return done.stdout + done.stderr, done.returncode

    def end(self):
        """End the SuperLink and what it started, and nobody else's; it raises where something stays."""
        gone = end_all(self.folder)
        self.link.wait(timeout=10)
        assert gone
