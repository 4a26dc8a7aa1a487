"""A Flower app: one federation on real data with malicious clients, configured by `[tool.flwr.app.config]`."""

import sys
from importlib.util import find_spec

if find_spec("flwr_byzantine") is None:
    raise ModuleNotFoundError(
        "this app needs flwr-byzantine beside Flower; install it from a clone of its repository and run the app again: "
        f"uv pip install --python {sys.executable} --editable PATH/TO/THE/CLONE"
    )
