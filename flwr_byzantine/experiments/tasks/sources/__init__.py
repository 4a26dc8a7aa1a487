"""Where data sets come from: one module for each place, all of which give a `Raw`.

`read` chooses the module by the name of the data set.
"""

from __future__ import annotations

from functools import lru_cache

from flwr_byzantine.experiments.datasets import HUB
from flwr_byzantine.experiments.tasks.options import Options, thawed
from flwr_byzantine.experiments.tasks.sources import digits, hub, topics, vision, yours
from flwr_byzantine.experiments.tasks.sources.raw import Raw

__all__ = ["Raw", "missing", "read"]


def missing(dataset: str, root: str) -> str:
    """Why a named data set cannot be read without a download: what is missing where, and what to do; "" if it can be.

    Example:
        >>> missing("digits", "")
        ''
    """
    return vision.missing(dataset, root) if dataset in vision.SETS else ""


def read(dataset: str, options: Options, root: str, seed: int) -> Raw:
    """The data set as its source has it, read once in each process.

    Args:
        dataset: a name, "hf:owner/name" or "module:function".
        options: of that source.
        root: folder of torchvision's sets; "" is ./data, and downloads them there.
        seed: of the split of "digits"; other sets have one of their own.

    Raises:
        InvalidParameter: it is not there, or is no labelled data set of examples of one shape.
    """
    return _read(dataset, options, root, seed if dataset == "digits" else 0)


@lru_cache(maxsize=8)
def _read(dataset: str, options: Options, root: str, seed: int) -> Raw:
    if dataset == "digits":
        return digits.read(seed)
    if dataset == "pydoc":
        return topics.read()
    if dataset in vision.SETS:
        return vision.read(dataset, root)
    return (hub.read if dataset.startswith(HUB) else yours.read)(dataset, thawed(options))
