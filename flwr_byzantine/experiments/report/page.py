"""One self-contained HTML page: it needs no other file and no network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr_byzantine.experiments.report.published import Published
from flwr_byzantine.experiments.report.settings import values
from flwr_byzantine.experiments.report.study import Study
from flwr_byzantine.experiments.results import Result, show
from flwr_byzantine.monitor.show.figures import Picture
from flwr_byzantine.monitor.show.html import render
from flwr_byzantine.monitor.show.table import Field, Table

MOST_VALUES = 16
OPEN_TABLES, OPEN_FIGURES = 4, 2


@dataclass(frozen=True)
class Content:
    """Everything that the page shows beside the figures.

    Attributes:
        study: the cells, grouped.
        title: of the page.
        source: the results file, or None.
        command: that made the report.
        tables: the worst-case table of each setting.
        overview: rules × settings, or None.
        choices: chosen hyper-parameters, or None.
        failures: failed cells, or None.
        unmatched: published entries that stand in no table.
        detection: figures of detection of each setting in which any are known.
    """

    study: Study
    title: str
    source: Path | None
    command: str
    tables: Sequence[Table]
    overview: Table | None
    choices: Table | None
    failures: Table | None
    unmatched: Sequence[Published]
    detection: Sequence[Table] = ()

    @property
    def grids(self) -> list[Table]:
        """All tables in the page's order."""
        return [grid for grid in (self.overview, self.choices, *self.tables, *self.detection, self.failures) if grid]


def page(content: Content, pictures: Sequence[Picture]) -> str:
    """The HTML text."""
    study = content.study
    sections: dict[str, list[Picture]] = {}
    for picture in pictures:
        sections.setdefault(picture.section, []).append(picture)
    return render(
        Path(__file__).with_name("page.html.j2"),
        content=content,
        study=study,
        sections=sections,
        settings=_settings(study),
        versions=_versions(study.all_cells),
        digest=hashlib.sha256(content.source.read_bytes()).hexdigest() if content.source else "",
        example=json.dumps(study.all_cells[0].config, indent=1, sort_keys=True),
        finished=sum(cell.ok for cell in study.all_cells),
        seeds=values(study.all_cells, "seed"),
        took=_duration(sum(cell.seconds for cell in study.all_cells)),
        open_tables=OPEN_TABLES,
        open_figures=OPEN_FIGURES,
    )


def _settings(study: Study) -> Table:
    """Every configuration key with its values."""
    cells = study.all_cells
    keys = sorted({key for cell in cells for key in cell.config}, key=lambda key: (len(values(cells, key)) == 1, key))
    rows = tuple((Field(key), Field(_several(values(cells, key)))) for key in keys)
    return Table("Settings of the sweep", ("key", "values"), rows)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _several(found: Sequence[Any]) -> str:
    texts = [show(value) for value in found[:MOST_VALUES]]
    more = f" … ({len(found)} values)" if len(found) > MOST_VALUES else ""
    return ", ".join(texts) + more


def _versions(cells: Sequence[Result]) -> Table:
    """Package versions that cells ran on."""
    names = sorted({name for cell in cells for name in cell.versions})
    found = {name: sorted({cell.versions[name] for cell in cells if name in cell.versions}) for name in names}
    rows = tuple((Field(name), Field(", ".join(found[name]))) for name in names)
    return Table("Versions", ("package", "version"), rows)
