"""The hostile node: it has a registered key, and speaks the SuperLink's protocol itself, as whoever owns the machine can.

Usage: python -m tests.deployment.hostile.node ADDRESS ROOT_CERTIFICATE KEY SPARE_KEY

It plays the mode that the server names for the round, and writes what it did to a file `diary` in the folder that the server
names, a line of JSON each. It sends nothing for a round once the next message is there.
"""

import json
import sys
import time
from itertools import count
from threading import Thread

from tests.deployment.hostile.line import Line
from tests.deployment.hostile.modes import MODES
from tests.deployment.hostile.task import Task


def play(task):
    """Play a task's mode, and note it."""
    try:
        MODES[task.mode](task)
        noted = {"error": ""}
    except Exception as raised:  # the SuperLink may refuse what it plays: the diary says so
        noted = {"error": f"{type(raised).__name__}: {raised}"[:500]}
    noted |= {"phase": task.phase, "round": task.round, "mode": task.mode, "uploaded": task.uploaded, "time": time.time()}
    with (task.folder / "diary").open("a", encoding="utf-8") as file:
        file.write(json.dumps(noted) + "\n")


def main(address, root, *keys):
    """Take messages for ever."""
    lines, task = (Line(address, root, key) for key in keys), None
    line = next(lines)
    for turn in count():
        message = line.pull()
        if message is not None:
            if task is not None:
                task.over.set()
            task = Task(line, message, task)
            if task.mode == "reconnect":
                line.close()
                line = next(lines)
            Thread(target=play, args=(task,), daemon=True).start()
        elif turn % 50 == 0:
            line.beat()
        time.sleep(0.2)


if __name__ == "__main__":
    main(*sys.argv[1:])
