"""Imported before typer, whose own imports warn under Click 8.2 and later: not this command's affair under `PYTHONWARNINGS=error`."""

import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(typer|click)(\.|$)")
