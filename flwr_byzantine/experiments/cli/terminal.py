"""What all commands print on."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.console import Console

console = Console()


def print_json(value: Any) -> None:
    """Print a value as JSON, in ASCII."""
    typer.echo(json.dumps(value, indent=1))
