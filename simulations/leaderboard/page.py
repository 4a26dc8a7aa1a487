"""Writes the tables of README.md and the picture from the committed results: python -m simulations.leaderboard.page."""

from __future__ import annotations

from pathlib import Path

from flwr_byzantine.experiments.leaderboard import Leaderboard, leaderboard
from flwr_byzantine.experiments.leaderboard.figure import draw
from flwr_byzantine.experiments.leaderboard.writing import markdown
from flwr_byzantine.experiments.report import load
from flwr_byzantine.monitor.show.figures import in_style, svg_of
from simulations.reproductions.page import filled, shorten

HERE = Path(__file__).parent
PAGE, PICTURE = HERE / "README.md", HERE / "leaderboard.svg"


def results(config: Path) -> Path:
    """Where the results of a sweep are committed."""
    return HERE / "results" / f"{config.stem}.jsonl"


CONFIGS = tuple(sorted(HERE.glob("*.toml")))


def found() -> Leaderboard:
    """The leaderboard of all tasks."""
    return leaderboard([cell for config in CONFIGS for cell in load(results(config))])


def main() -> None:
    """Shorten the results, fill in the page, draw."""
    for config in CONFIGS:
        shorten(results(config))
    ranked = found()
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), {"leaderboard": markdown(ranked).strip()}), encoding="utf-8")
    with in_style():
        PICTURE.write_bytes(svg_of(draw(ranked).figure))


if __name__ == "__main__":
    main()
