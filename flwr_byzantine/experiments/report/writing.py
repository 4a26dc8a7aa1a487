"""The report as files: tables, figures, one page."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.report import detection
from flwr_byzantine.experiments.report.curves import curves, honest_cost
from flwr_byzantine.experiments.report.heatmaps import maps, matrices
from flwr_byzantine.experiments.report.page import Content, page
from flwr_byzantine.experiments.report.published import Published, check_settings, matched, read_published, unmatched
from flwr_byzantine.experiments.report.settings import load
from flwr_byzantine.experiments.report.study import Study, study
from flwr_byzantine.experiments.report.tables import cells_csv, choices_table, failures_table, overview, worst_case_csv, worst_case_table
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.monitor.show.figures import NARROW, WIDE, Drawing, Picture, in_style, save


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        content: the study, its tables, and the published entries that stand in none of them.
        page: the HTML page.
        files: everything written.
    """

    content: Content
    page: Path
    files: tuple[Path, ...]


def write(
    results: str | Path | Sequence[Result],
    out: str | Path,
    by: Sequence[str] | None = None,
    choose: Sequence[str] = (),
    published: str | Path | Sequence[Published] = (),
    title: str = "",
) -> Report:
    """Write tables (Markdown, CSV), figures (PNG, SVG) and one self-contained HTML page.

    Args:
        results: a results file of a sweep, or cells as `load` gives them.
        out: a directory, made where it is missing; files of the same names are replaced.
        by: configuration keys with a table for each value; None: every key that varies.
        choose: hyper-parameters to choose on the validation split.
        published: a TOML file of published figures, or entries as `read_published` gives them.
        title: of the page; default: the name of the results.

    Raises:
        InvalidParameter: results, keys or published figures that cannot be used, or a directory that cannot be made.
    """
    source = Path(results) if isinstance(results, (str, Path)) else None
    cells = load(results) if isinstance(results, (str, Path)) else list(results)
    figures = read_published(published) if isinstance(published, (str, Path)) else list(published)
    check_settings(figures, cells)
    content = study(cells, by, choose)
    out = _directory(Path(out))
    command = _command(source, by, choose, published if isinstance(published, (str, Path)) else None)
    return _write(_content(content, figures, title or (source.stem if source else "Sweep"), source, command), figures, out)


def _directory(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidParameter(f"report: cannot make the directory {out} ({error.strerror}); give another --out") from None
    return out


def _command(source: Path | None, by: Sequence[str] | None, choose: Sequence[str], published: str | Path | None) -> str:
    words = ["flwr-byzantine", "report", source.name if source else "RESULTS"]
    words += [word for key in by or () for word in ("--by", key)] + [word for key in choose for word in ("--choose", key)]
    return shlex.join([*words, *(["--published", Path(published).name] if published else [])])


def _content(content: Study, published: Sequence[Published], title: str, source: Path | None, command: str) -> Content:
    tables = content.tables()
    grids = [worst_case_table(table, matched(table, published)).without_empty() for table in tables]
    summary = overview(tables, content.rules).without_empty() if len(tables) > 1 else None
    chosen = choices_table(content) if content.choices else None
    failures = failures_table(content).without_empty() if content.failed else None
    judged = [one.without_empty() for one in detection.tables(content)]
    return Content(content, title, source, command, grids, summary, chosen, failures, unmatched(tables, published), judged)


def _write(content: Content, published: Sequence[Published], out: Path) -> Report:
    pictures = illustrate(content.study, out)
    texts = {
        "index.html": page(content, pictures),
        "tables.md": "\n".join(grid.markdown() for grid in content.grids),
        "worst-case.csv": worst_case_csv(content.study.tables(), published),
        "cells.csv": cells_csv(content.study),
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    files = (*(out / name for name in texts), *(out / f"{picture.name}.{kind}" for picture in pictures for kind in ("png", "svg")))
    return Report(content, out / "index.html", files)


def drawings(content: Study, room: float = WIDE) -> Iterator[Drawing]:
    """Every figure of the report, in the order of the page, as wide as there is room for."""
    yield from maps(content, room)
    yield from matrices(content, room=room)
    yield from curves(content, room)
    yield from honest_cost(content, room)
    for measure in ("attack_success", "malicious_kept"):
        if content.has(measure):
            yield from matrices(content, measure, room)
    yield from detection.rocs(content, room)


def illustrate(content: Study, out: Path) -> list[Picture]:
    """Draw and write every figure."""
    with in_style():
        return [save(wide, out, narrow) for wide, narrow in zip(drawings(content), drawings(content, NARROW), strict=True)]
