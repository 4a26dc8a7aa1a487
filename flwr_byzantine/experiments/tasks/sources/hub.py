"""Hugging Face's sets of labelled images, through flwr-datasets: "hf:owner/name", or "hf:" and a folder that `datasets` reads."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from flwr_byzantine.declare.names import unknown_name
from flwr_byzantine.declare.own import in_a_line
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.datasets import HUB
from flwr_byzantine.experiments.tasks.sources.raw import Raw, raw_of

SPLITS = {"train": ("train",), "test": ("test", "validation", "valid")}  # of several names the first that there is
LABELS = ("label", "labels", "fine_label", "target")  # names of label columns that are not declared to be one
ARRAYS = ("Array2D", "Array3D", "List", "LargeList", "Sequence")


def read(dataset: str, options: Mapping[str, Any]) -> Raw:
    """The data set, from Hugging Face's cache, from a folder, or downloaded.

    Args:
        dataset: "hf:" and what `datasets.load_dataset` takes.
        options: image, label: the columns, where there is not one of each; group: a column that says whose an example is;
            subset: `load_dataset`'s name; train, test: the splits.

    Raises:
        InvalidParameter: it cannot be had, or it has no such columns or splits.
    """
    _check_folder(dataset)
    train, test = _splits(dataset, options)
    kinds = {name: type(kind).__name__ for name, kind in train.features.items()}
    image = _column(dataset, "image", _of(kinds, ["Image"]) or _of(kinds, ARRAYS), kinds, options)
    label = _column(dataset, "label", _of(kinds, ["ClassLabel"]) or [name for name in LABELS if name in kinds], kinds, options)
    groups = list(train[_column(dataset, "group", [], kinds, options)]) if "group" in options else None
    parts = [(_images(dataset, part[image]), np.asarray(list(part[label]))) for part in (train, test)]
    return raw_of(dataset, parts[0], parts[1], getattr(train.features[label], "num_classes", 0), groups)


def _check_folder(dataset: str) -> None:
    """Refuse a folder that is not there: `datasets` would look for it on the Hub."""
    name = dataset.removeprefix(HUB)
    if name.startswith((".", "/", "~")) and not Path(name).is_dir():
        where = "write the folder without ~" if name.startswith("~") else "there is no such folder"
        raise InvalidParameter(f"dataset {dataset!r}: {where}; 'hf:owner/name' is a set of Hugging Face's")


def _splits(dataset: str, options: Mapping[str, Any]) -> list[Any]:
    """The training and the test split."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    import datasets
    from flwr_datasets import FederatedDataset

    datasets.disable_progress_bars()
    name = dataset.removeprefix(HUB)
    source = FederatedDataset(dataset=name, subset=options.get("subset"), partitioners={}, shuffle=False)
    names = {which: (options[which],) if which in options else usual for which, usual in SPLITS.items()}
    unreachable = "" if Path(name).is_dir() else _unreachable()
    with _silent(offline=bool(unreachable)):
        return [_split(dataset, source, which, names[which], unreachable) for which in SPLITS]


def _unreachable() -> str:
    """Why the Hub cannot be reached, by one look, where its library would try six times; "" where it can, or is not to be asked.

    A Hub that is slow to answer can be reached; one that is slow to connect has $HF_HUB_ETAG_TIMEOUT seconds, by default ten.
    """
    import datasets
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE or datasets.config.HF_HUB_OFFLINE:
        return ""
    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # of httpx or requests, by the library's version
        return "" if type(error).__name__ == "ReadTimeout" else f"{constants.ENDPOINT} cannot be reached ({in_a_line(error)})"
    return ""


@contextmanager
def _silent(offline: bool) -> Iterator[None]:
    """The libraries log nothing, for what stops them is said here, and with `offline` they look in their cache alone."""
    import datasets
    from huggingface_hub.utils import logging as hub_logging

    loggings = (datasets.logging, hub_logging)
    levels, asked = [one.get_verbosity() for one in loggings], datasets.config.HF_HUB_OFFLINE
    for one in loggings:
        one.set_verbosity(logging.CRITICAL)
    datasets.config.HF_HUB_OFFLINE = asked or offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = asked
        for one, level in zip(loggings, levels, strict=True):
            one.set_verbosity(level)


def _split(dataset: str, source: Any, which: str, names: tuple[str, ...], unreachable: str) -> Any:
    """The first of the splits that there is."""
    try:
        return source.load_split(names[0])
    except Exception as error:
        absent = "not present" in str(error)
        if absent and len(names) > 1:
            return _split(dataset, source, which, names[1:], unreachable)
        problem = f"no {which} split could be read: {_why(error, unreachable)}"
    named = f'name it, as in {{name = "{dataset}", {which} = "..."}}'
    raise InvalidParameter(f"dataset {dataset!r}: {problem}; {named if absent else 'check the name, or fetch it where there is a network'}")


def _why(error: Exception, unreachable: str) -> str:
    from datasets.exceptions import DatasetGenerationError

    hidden = isinstance(error, DatasetGenerationError) and error.__cause__
    if not unreachable:
        return in_a_line(hidden or error)
    return f"{'it is not in the cache' if isinstance(error, ConnectionError) else in_a_line(hidden or error)}, and {unreachable}"


def _of(kinds: Mapping[str, str], wanted: Iterable[str]) -> list[str]:
    return [name for name, kind in kinds.items() if kind in wanted]


def _column(dataset: str, what: str, found: list[str], columns: Iterable[str], options: Mapping[str, Any]) -> str:
    """The column that the options name, else the only one found."""
    if what in options:
        if options[what] not in columns:
            raise unknown_name(f"{what} column of {dataset!r}", str(options[what]), columns)
        return str(options[what])
    if len(found) != 1:
        which = f"one of {', '.join(found)}" if found else f"none of its columns ({', '.join(columns)}) is known to be one"
        raise InvalidParameter(f'dataset {dataset!r}: which column is the {what}? {which}; write {{name = "{dataset}", {what} = "..."}}')
    return found[0]


def _images(dataset: str, column: Iterable[Any]) -> np.ndarray:
    """Pictures as bytes, (rows, height, width) or (rows, 3, height, width); arrays as they are."""
    values = list(column)
    if not hasattr(values[0], "convert"):
        return np.asarray(values)
    mode = "L" if values[0].mode in ("L", "1") else "RGB"
    sizes = {value.size for value in values}
    if len(sizes) > 1:
        raise InvalidParameter(
            f"dataset {dataset!r}: all images must have one size, got {len(sizes)}; scale them in a function of your own"
        )
    pixels = np.stack([np.asarray(value.convert(mode)) for value in values])
    return pixels if mode == "L" else pixels.transpose(0, 3, 1, 2)
