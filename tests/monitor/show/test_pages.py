"""Pages and pictures of one style: light and dark, wide and narrow."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from flwr_byzantine.monitor.show.colours import COLOURS, LINES, PALETTE, page_rules, picture_rules
from flwr_byzantine.monitor.show.figures import NARROW, RC, WIDE, Drawing, panels, save, svg_of
from flwr_byzantine.monitor.show.html import render


def contrast(one: str, other: str) -> float:
    """WCAG 2.1's contrast of two colours, from 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1])
def test_words_and_lines_stand_out_from_the_paper_light_and_dark(scheme: int) -> None:
    paper = COLOURS["paper"][scheme]
    for name in ("ink", "quiet", "link", "best", "alert"):
        assert contrast(COLOURS[name][scheme], paper) >= 4.5, name
    assert contrast(COLOURS["best"][scheme], COLOURS["best-paper"][scheme]) >= 4.5
    lines = [pair[scheme] for pair in LINES.items()]
    assert min(contrast(line, paper) for line in lines) >= 2.2 + 0.8 * scheme  # Okabe and Ito's lighter hues on white are what they are
    assert len(set(lines)) == len(lines)


def drawing(room: float, count: int = 5) -> Drawing:
    with mpl.rc_context(RC):
        figure, axes = panels(count, room, 2.8, 2, below="round")
        for colour in PALETTE:
            axes[0].plot([0, 1], [0, 1], "o", color=colour)
        figure.legend(["a"])
    return Drawing("a", "Section", "Words <b>", figure)


def test_every_colour_of_a_picture_has_a_dark_form() -> None:
    text = svg_of(drawing(WIDE).figure).decode()
    style, _, body = text.partition("</style>")
    drawn = set(re.findall(r"(fill|stroke): (#[0-9a-f]{6})", body))
    assert {colour for _, colour in drawn} >= set(PALETTE) | {COLOURS["paper"][0], COLOURS["quiet"][0]}
    for part, colour in drawn:
        assert f'[style*="{part}: {colour}"]{{{part}:#' in style, (part, colour)


def test_a_picture_is_the_same_bytes_each_time_and_well_formed() -> None:
    first, second = (svg_of(drawing(WIDE).figure) for _ in range(2))
    assert first == second
    assert ElementTree.fromstring(first).tag.endswith("svg")


def test_a_narrow_figure_fits_a_telephone() -> None:
    assert drawing(NARROW).figure.get_figwidth() <= NARROW
    assert drawing(WIDE).figure.get_figwidth() <= WIDE
    assert drawing(NARROW).figure.get_figheight() > drawing(WIDE).figure.get_figheight()


def test_a_page_holds_both_widths_and_its_own_style(tmp_path: Path) -> None:
    template = tmp_path / "my.html.j2"
    template.write_text(
        '{% extends "base.html.j2" %}{% from "parts.html.j2" import figure %}{% block title %}{{ t }}{% endblock %}'
        "{% block main %}{{ figure(picture) }}{% endblock %}",
        encoding="utf-8",
    )
    picture = save(drawing(WIDE), tmp_path, drawing(NARROW))
    text = render(template, t="<i>", picture=picture)
    assert "&lt;i&gt;" in text
    assert "Words &lt;b&gt;" in text
    assert text.count("data:image/svg+xml;base64,") == 2
    assert page_rules() in text
    assert (tmp_path / "a.svg").read_bytes() == picture.svg
    assert picture_rules().encode() in picture.svg
    assert not re.search(r"https?:|@import|url\(", text)
