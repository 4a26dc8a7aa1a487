"""`watch`: live in a terminal, a line a round in a pipe; before the file is there, after a restart, until the end, and after Ctrl-C."""

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from flwr_byzantine.monitor import live
from flwr_byzantine.monitor.reading import Follower, parse

DEPLOYMENT = Path(__file__).parents[2] / "docs" / "examples" / "rounds.jsonl"
LINES = DEPLOYMENT.read_text(encoding="utf-8").splitlines(keepends=True)
HOSTILE = "2919482968681426024"


def shown(path, width=110, height=30):
    follower, stream = Follower(path), io.StringIO()
    follower.look()
    Console(file=stream, width=width).print(live.view(follower, "", width, height, live.latest(follower, ""), now=1.8e9))
    return stream.getvalue()


def piped(path, steps, **arguments):
    """What `follow` writes into a pipe, where each look is followed by the next step."""
    stream, left = io.StringIO(), iter(steps)

    def pause():
        next(left)()

    with suppress(StopIteration):
        live.follow(Follower(path), Console(file=stream, width=80), pause=pause, **arguments)
    return stream.getvalue().splitlines()


def test_the_view_has_the_most_suspicious_node_first_and_fits_the_terminal():
    text = shown(DEPLOYMENT)
    assert "round 20 of 20, the run's last" in text
    rows = [line for line in text.splitlines() if line[:5].strip().isdigit()]
    assert rows[0].startswith(HOSTILE)
    assert "RRIIMRFIIQQQQRRIMIIQ" in rows[0]
    small = shown(DEPLOYMENT, width=60, height=12)
    assert len(small.splitlines()) <= 13
    assert max(map(len, small.splitlines())) <= 60
    assert "nodes more, less suspicious" in small


def test_words_of_others_move_no_cursor(tmp_path):
    line = json.loads(LINES[7])
    line |= {"rule": "\x1b[2J[red]", "note": "\x1b]0;title\x07\r\n", "run": "\x1b[31m"}
    line["nodes"]["\x1b[1A"] = {"status": "invalid", "reason": "\x1b[2J\u202e[bold]\n"}
    path = tmp_path / "rounds.jsonl"
    path.write_text(json.dumps(line) + "\n")
    for text in (shown(path, 200), live.line(parse(json.dumps(line).encode()))):
        assert not set("\x1b\x07\r\u202e") & set(text)
        assert "\\x1b[2J[red]" in text


def test_a_pipe_gets_a_line_a_round_and_is_told_what_is_waited_for(tmp_path):
    path = tmp_path / "rounds.jsonl"
    steps = [path.touch, lambda: path.write_text(LINES[0] + LINES[1][:99]), lambda: path.write_text("".join(LINES[:4]))]
    found = piped(path, steps)
    assert [line[:8] for line in found] == ["waiting ", "waiting ", "round 1:", "round 2:", "round 3:", "round 4:"]
    assert "it is not there yet" in found[0]
    assert "it has no report yet" in found[1]
    assert f"node {HOSTILE} invalid: array 'layer.weight'" in found[4]


def test_a_restart_that_replaces_the_file_is_said(tmp_path):
    path = tmp_path / "rounds.jsonl"
    path.write_text("".join(LINES[:3]))
    found = piped(path, [lambda: path.write_text(LINES[0])])
    assert found[3].endswith("was replaced or cut; it is read anew")
    assert [line[:7] for line in found] == ["round 1", "round 2", "round 3", str(path)[:7], "round 1"]


def test_until_end_ends_with_the_last_planned_round(tmp_path):
    path = tmp_path / "rounds.jsonl"
    path.write_text("".join(LINES[:-1]))
    found = piped(path, [lambda: None, lambda: path.write_text("".join(LINES))], until_end=True)
    assert len(found) == 20
    assert live.is_over(_looked(path), "")
    assert not live.is_over(_looked(path), "another")


def _looked(path):
    follower = Follower(path)
    follower.look()
    return follower


def command(*arguments):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "flwr_byzantine", "watch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_ctrl_c_ends_it_cleanly(tmp_path):
    process = command(str(tmp_path / "rounds.jsonl"))
    assert process.stdout.readline().startswith("waiting for")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_once_shows_what_is_there_and_ends(tmp_path):
    out, errors = command(str(DEPLOYMENT), "--once").communicate(timeout=60)
    assert (len(out.splitlines()), errors) == (20, "")
    process = command(str(tmp_path / "none.jsonl"), "--once")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "cannot read" in errors


def test_a_long_name_leaves_room_for_what_is_said_of_the_node(tmp_path):
    line = json.loads(LINES[0])
    line["nodes"]["W" * 5000] = {"status": "invalid", "reason": "not finite"}
    path = tmp_path / "rounds.jsonl"
    path.write_text(json.dumps(line) + "\n")
    (row,) = [row for row in shown(path, width=80).splitlines() if row.startswith("WW")]
    assert row.split()[1:3] == ["1.0", "I"]
    assert "not fin" in row


def test_nodes_are_counted_anew_only_where_a_report_has_come(tmp_path, monkeypatch):
    path, counted = tmp_path / "rounds.jsonl", []
    path.write_text(LINES[0])
    monkeypatch.setattr(live, "latest", lambda *_: counted.append(1) or ())
    looks = iter([lambda: None, lambda: None, lambda: path.write_text("".join(LINES[:2]))])
    with suppress(StopIteration):
        live.follow(Follower(path), Console(file=io.StringIO(), force_terminal=True), pause=lambda: next(looks)())
    assert len(counted) == 2
