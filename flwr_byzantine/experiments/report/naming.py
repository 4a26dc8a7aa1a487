"""How figures and their files are called after the setting that they show."""

from __future__ import annotations

import hashlib
import re

from flwr_byzantine.experiments.report.settings import describe
from flwr_byzantine.experiments.results import Setting

LONGEST_NAME = 100  # characters of a file's name
ODD = re.compile(r"""[^A-Za-z0-9 .,_=+()\[\]"'-]""")  # what two names may differ in that one file name cannot show


def slug(text: str) -> str:
    """A file name of a setting: "f = 4, gamma = 0.33" becomes "f-4-gamma-0.33"; where much or odd characters are lost, with a hash."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")
    if len(name) <= LONGEST_NAME and not ODD.search(text):
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.sha256(text.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"


def file_name(kind: str, setting: Setting) -> str:
    """The name of a figure's files: what it shows, and of which setting."""
    return "-".join(filter(None, [slug(kind), slug(describe(setting))]))


def where(setting: Setting) -> str:
    """A setting as the end of a caption's sentence; empty where nothing varies."""
    return f"; {describe(setting)}" if setting else ""
