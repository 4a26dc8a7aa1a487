"""The files of the report of a sweep: page, tables, what the command prints."""

from __future__ import annotations

import csv
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import image
from typer.testing import CliRunner

from flwr_byzantine.experiments import cli, report
from flwr_byzantine.experiments.report.terminal import best_of
from tests.support.reports import PUBLISHED, RULES, cells_of, failed, store, synthetic
from tests.support.sweeps import STRICT


class Page(HTMLParser):
    """Checks that tags are balanced; collects what a test asks about."""

    void = frozenset({"meta", "img", "br", "wbr", "link", "source"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        self.sources += [given["src"] or ""] if "src" in given else []
        if tag not in self.void:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    """A report of 3 rules × 3 attacks × 2 seeds × 2 f × 2 gamma, one cell failed, one attack a backdoor."""
    folder = tmp_path_factory.mktemp("report")
    settings = tuple({"f": f, "num_malicious": f, "gamma": g} for f in (1, 4) for g in (0.0, 1.0))
    records = synthetic(RULES, ("none", "alie", "backdoor"), 2, settings)
    records[5] = failed(records[5])
    (folder / "published.toml").write_text(PUBLISHED, encoding="utf-8")
    return report.write(store(records, folder / "results.jsonl"), folder / "out", published=folder / "published.toml")


def test_every_figure_is_there_in_two_formats_and_shows_something(written: report.Report) -> None:
    names = {path.stem for path in written.files if path.suffix == ".png"}
    assert {"map-worst", "map-alie", "honest-cost", "attack-success", "curves-gamma-0-f-1", "accuracy-gamma-1-f-4"} <= names
    for name in names:
        png, svg = (written.page.with_name(f"{name}.{kind}") for kind in ("png", "svg"))
        pixels = image.imread(png)
        assert min(pixels.shape[:2]) > 150
        assert len(np.unique(pixels.reshape(-1, pixels.shape[-1])[::7], axis=0)) > 20
        assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_the_page_is_self_contained_and_parses(written: report.Report) -> None:
    text = written.page.read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"https?:|@import|url\(", text)
    assert page.sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert len(page.ids) == len(set(page.ids))


def test_the_page_says_what_failed_what_it_ran_on_and_how_to_make_it_again(written: report.Report) -> None:
    text = written.page.read_text(encoding="utf-8")
    cells = Page(text).cells
    assert "TypeError: bad <b>option</b>" in cells
    assert "<b>option" not in text
    assert {"flwr", "1.41.0"} <= set(cells)
    assert "flwr-byzantine report results.jsonl --published published.toml" in text
    assert "71 of 72 cells finished" in text
    assert "Published figures that stand in no table" in text


def test_the_page_shows_the_numbers_of_the_tables(written: report.Report) -> None:
    cells = {text.strip() for text in Page(written.page.read_text(encoding="utf-8")).cells}
    for table in written.content.study.tables():
        for row in table.rows:
            for score in row.scores.values():
                deviation = "" if math.isnan(score.std) else f" ± {100 * score.std:.1f}"
                mark = "†" if score.failed else ""
                assert any(text.startswith(f"{100 * score.mean:.1f}{mark}{deviation}") for text in cells)


def test_csv_and_markdown_hold_the_same_numbers(written: report.Report) -> None:
    with written.page.with_name("worst-case.csv").open(encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["attack"] == "worst"]
    markdown = written.page.with_name("tables.md").read_text(encoding="utf-8")
    rows = [(dict(table.setting), row) for table in written.content.study.tables() for row in table.rows]
    assert len(lines) == len(rows) == 12
    for text, (setting, row) in zip(lines, rows, strict=True):
        assert (float(text["gamma"]), int(text["f"]), text["rule"]) == (setting["gamma"], setting["f"], row.rule)
        assert float(text["mean"]) == pytest.approx(row.worst.mean)
        assert text["worst_attack"] == row.worst_attack
        assert f"{100 * row.worst.mean:.1f}" in markdown
    with written.page.with_name("cells.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 72


def test_columns_of_csv_are_names_in_snake_case(written: report.Report) -> None:
    for name in ("worst-case.csv", "cells.csv"):
        header = written.page.with_name(name).read_text(encoding="utf-8").splitlines()[0].split(",")
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", column) for column in header)
        assert len(set(header)) == len(header)
    assert {"final_accuracy", "num_malicious", "version_flwr"} <= set(header)


def test_csv_has_each_attack_of_each_rule(written: report.Report) -> None:
    with written.page.with_name("worst-case.csv").open(encoding="utf-8") as file:
        found = {(float(line["gamma"]), int(line["f"]), line["rule"], line["attack"]): line for line in csv.DictReader(file)}
    assert len(found) == 4 * 3 * 4
    score = written.content.study.tables()[0].row("krum").scores["backdoor"]
    line = found[0.0, 1, "krum", "backdoor"]
    assert (float(line["mean"]), float(line["std"]), int(line["seeds"])) == pytest.approx((score.mean, score.std, 2))


def test_the_command_prints_tables_and_its_errors_are_one_line_with_status_2(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    path = store(synthetic(), tmp_path / "small.jsonl")
    shown = CliRunner().invoke(cli.app, ["report", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "nnm+trimmed-mean" in shown.output
    assert (tmp_path / "small-report" / "index.html").exists()
    monkeypatch.setattr(sys, "argv", ["flwr-byzantine", "report", str(tmp_path / "none.jsonl")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "cannot read" in capsys.readouterr().err


def test_a_report_warns_of_nothing(tmp_path: Path) -> None:
    path = store(synthetic(spoil=True), tmp_path / "r.jsonl")
    command = [sys.executable, "-m", "flwr_byzantine", "report", str(path)]
    done = subprocess.run(command, env=STRICT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("Warning")) == (0, 0), done.stderr


def test_many_settings_print_the_best_rule_of_each() -> None:
    settings = tuple({"f": f} for f in (1, 2, 3, 4))
    tables = report.worst_case(cells_of(synthetic(settings=settings)))
    assert [row[1].text for row in best_of(tables).rows] == ["nnm+trimmed-mean"] * 4


def test_importing_the_report_is_light() -> None:
    code = (
        "import flwr_byzantine.experiments.report, sys; print([m for m in ('matplotlib', 'jinja2', 'pandas', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
