"""HTML pages that need no other file and no network, from templates that share one layout and one style.

A template extends `base.html.j2` and imports its macros from `parts.html.j2`:

    {% extends "base.html.j2" %}
    {% from "parts.html.j2" import table, figure with context %}
    {% block title %}My page{% endblock %}
    {% block main %}<section>{{ table(grid) }} {{ figure(picture) }}</section>{% endblock %}

`grid` is a `Table` of `show.table`, `picture` a `Picture` of `figures`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flwr_byzantine.declare.extras import needed_by
from flwr_byzantine.flower.words import escaped
from flwr_byzantine.monitor.show.colours import page_rules

HERE = Path(__file__).parent


def render(template: Path, **values: Any) -> str:
    """The HTML of a template; every word is escaped to one line and shown as it is.

    Args:
        template: the file.
        values: what the template names.
    """
    with needed_by("an HTML page"):
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    rules: Any = {"autoescape": True, "finalize": _shown, "undefined": StrictUndefined}
    environment = Environment(loader=FileSystemLoader([template.parent, HERE]), trim_blocks=True, lstrip_blocks=True, **rules)
    style, script = (Markup((HERE / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js"))
    environment.globals.update(style=Markup(page_rules()) + "\n" + style, script=script)
    return environment.get_template(template.name).render(values)


def _shown(value: Any) -> Any:
    """What the page shows of a value: words on one line, but for HTML that is ready."""
    return escaped(value) if type(value) is str else value
