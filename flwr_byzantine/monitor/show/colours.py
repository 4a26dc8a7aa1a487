"""The colours of pages and pictures: each has a light and a dark form, and a reader sees the one that his screen asks for."""

from __future__ import annotations

COLOURS = {
    "ink": ("#1b1f24", "#e6e9ed"),
    "paper": ("#ffffff", "#14171b"),
    "quiet": ("#57606a", "#9aa4af"),
    "line": ("#d0d7de", "#363d45"),
    "head": ("#f3f5f7", "#1e2329"),
    "link": ("#0550ae", "#79b8ff"),
    "best": ("#0b5d3b", "#7ee2a8"),
    "best-paper": ("#e3f4ea", "#16301f"),
    "alert": ("#d1242f", "#ff7b72"),
    "void": ("#d9d9d8", "#30353c"),
}
INK, PAPER, QUIET, LINE, ALERT, VOID = (COLOURS[name][0] for name in ("ink", "paper", "quiet", "line", "alert", "void"))
"""For matplotlib: draw in these, and in `PALETTE`; an SVG of `figures.svg_of` is dark where the screen is."""

# Okabe and Ito's palette without its yellow, too pale for lines on white; on dark paper each hue is lighter.
# Source: Okabe, Ito, "Color Universal Design", 2008.
LINES = {
    "#d55e00": "#ff8a3d",
    "#0072b2": "#6ea8ff",
    "#009e73": "#2fd3a4",
    "#cc79a7": "#ef9fcb",
    "#e69f00": "#ffc233",
    "#56b4e9": "#a5e3ff",
    INK: COLOURS["ink"][1],
}
PALETTE = tuple(LINES)
ON_DARK, ON_LIGHT = "#fefefe", "#000000"
"""Words on coloured ground, the same on every screen."""


def page_rules() -> str:
    """The colours as CSS variables, `var(--ink)` and so on.

    Example:
        >>> page_rules().splitlines()[0][:44]
        ':root { color-scheme: light dark; --ink: #1b'
    """
    light, dark = ("; ".join(f"--{name}: {pair[i]}" for name, pair in COLOURS.items()) for i in (0, 1))
    return f":root {{ color-scheme: light dark; {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"


def picture_rules() -> str:
    """CSS inside an SVG by matplotlib, which writes colours as `style="fill: #1b1f24"`: on a dark screen each becomes its dark form."""
    pairs = {**dict(COLOURS.values()), **LINES}
    parts = [f'[style*="{part}: {light}"]{{{part}:{dark}!important}}' for light, dark in pairs.items() for part in ("fill", "stroke")]
    return f"svg{{color-scheme:light dark}}@media(prefers-color-scheme:dark){{{''.join(parts)}}}"
