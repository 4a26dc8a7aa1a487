"""The leaderboard as files."""

from __future__ import annotations

from pathlib import Path

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.leaderboard.figure import draw
from flwr_byzantine.experiments.leaderboard.ranking import Leaderboard
from flwr_byzantine.experiments.leaderboard.tables import csv, of_task, ranked
from flwr_byzantine.monitor.show.figures import in_style, save


def markdown(found: Leaderboard) -> str:
    """The ranked table, then a table for each task."""
    return "\n".join(table.markdown() for table in (ranked(found), *(of_task(found, board) for board in found.boards)))


def write(found: Leaderboard, out: Path) -> tuple[Path, ...]:
    """Write leaderboard.md, .csv, .svg (dark where the screen is) and .png into a directory, made where it is missing.

    Raises:
        InvalidParameter: the directory cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidParameter(f"leaderboard: cannot make the directory {out} ({error.strerror}); give another --out") from None
    (out / "leaderboard.md").write_text(markdown(found), encoding="utf-8", errors="backslashreplace")
    (out / "leaderboard.csv").write_text(csv(found), encoding="utf-8", errors="backslashreplace")
    with in_style():
        save(draw(found), out)
    return tuple(out / f"leaderboard.{kind}" for kind in ("md", "csv", "svg", "png"))
