"""A Flower app with a robust strategy; copy it and put your model and data into `task.py`."""

import sys
from importlib.util import find_spec

if find_spec("flwr_byzantine") is None:
    raise ModuleNotFoundError(
        "this app needs flwr-byzantine beside Flower; install it from a clone of its repository and run the app again: "
        f"uv pip install --python {sys.executable} --editable PATH/TO/THE/CLONE"
    )
