"""docs/tutorial.md, followed word for word from a copy of the clone: each of its commands, as it stands on the page."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.environments import CLEAN, run
from tests.support.home import Home

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
STEPS = [re.findall(r"^```bash\n(.*?)^```$", step, re.MULTILINE | re.DOTALL) for step in re.split(r"^## \d\. ", PAGE, flags=re.MULTILINE)]
ROUNDS = {3: 1, 4: 2, 5: 5}  # of each step that runs the app; the page's five show the same, later


def clone(folder):
    """What git has, or would have, of this checkout: what a clone of it holds."""
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


class Shell:
    """A reader's shell: its folder and its variables stay from one command to the next."""

    def __init__(self, folder):
        self.folder, self.variables = folder, CLEAN

    def type(self, command):
        """What the commands print; the last line of what bash runs tells where it stands and what is exported."""
        state = "printf '\\0%s\\0' \"$PWD\" && env -0"
        options = {"cwd": self.folder, "env": self.variables, "capture_output": True, "text": True, "timeout": 600, "check": False}
        done = subprocess.run(["bash", "-ec", f"{command}\n{state}"], **options)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        shown, folder, *variables = done.stdout.split("\0")
        self.folder, self.variables = Path(folder), dict(item.split("=", 1) for item in variables if item)
        return shown + done.stderr


def accuracies(shown):
    """Round by round, as Flower prints them at the end."""
    return [float(value) for value in re.findall(r"'accuracy': '([\d.e+-]+)'", shown.split("ClientApp-side Evaluate Metrics")[1])]


@pytest.mark.slow
def test_the_tutorial_as_it_stands(tmp_path):
    """The reports go to a folder of the test's, and there are fewer rounds; nothing else differs from the page."""
    place = tmp_path / "clone"
    shell = Shell(clone(place))
    commands = {number: "".join(blocks).replace("/tmp/", f"{tmp_path}/") for number, blocks in enumerate(STEPS)}
    for number, rounds in ROUNDS.items():
        commands[number] = commands[number].replace('-c "', f'-c "num-server-rounds={rounds} ')
        assert f"num-server-rounds={rounds}" in commands[number]
    assert re.search(r"^flwr-byzantine \d", shell.type(commands[1]), re.MULTILINE)
    shell.type(commands[2])
    assert shell.folder == tmp_path / "my-app"
    home = Home(tmp_path / "home", place / ".venv" / "bin", FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION="1")
    try:
        home.start()
        shell.variables |= {key: home.environment[key] for key in ("FLWR_HOME", "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT")}
        shown = {number: shell.type(commands[number]) for number in ROUNDS}
    finally:
        home.end()
    assert "uv sync" not in shown[3]
    assert accuracies(shown[4])[-1] < 0.2
    assert accuracies(shown[5])[-1] > 0.6
    shell.type(commands[6])
    assert (tmp_path / "rounds-report" / "index.html").is_file()
