"""Imported before typer and Flower, whose own imports warn under Click 8.2 and later: nobody's affair here under `PYTHONWARNINGS=error`."""

import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(typer|click)(\.|$)")
