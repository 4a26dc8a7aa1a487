"""Torchvision's sets of small labelled images, read by torchvision's own classes from files in its layout."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flwr_byzantine.declare.own import in_a_line
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.datasets import DATASETS
from flwr_byzantine.experiments.tasks.sources.raw import Raw, raw_of

ROOT_VARIABLE = "FLWR_BYZANTINE_DATA"


@dataclass(frozen=True)
class Source:
    """How torchvision has a data set.

    Attributes:
        cls: its class.
        files: that must lie under the root, each as it is or with ".gz" after its name.
        train, test: arguments of the class for the two parts.
        archive: that holds all files, which will do in their place.
        convert: from an object of the class to images (rows, height, width) or (rows, channels, height, width), labels, and
            whose they are (None where nobody knows).
    """

    cls: str
    files: tuple[str, ...]
    train: dict[str, Any]
    test: dict[str, Any]
    archive: str = ""
    convert: Callable[[Any], tuple[Any, Any, Any]] = lambda part: (part.data, part.targets, None)


def _halves(cls: str, files: list[str], archive: str = "", **more: Any) -> Source:
    """A set whose class is told the half by `train`."""
    convert = {} if "convert" not in more else {"convert": more.pop("convert")}
    return Source(cls, tuple(files), {"train": True, **more}, {"train": False, **more}, archive, **convert)


def _idx(cls: str) -> Source:
    return _halves(cls, [f"{cls}/raw/{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")])


def _emnist(split: str) -> Source:
    kinds = [f"{part}-{kind}-ubyte" for part in ("train", "test") for kind in ("images-idx3", "labels-idx1")]
    first = 1 if split == "letters" else 0  # torchvision counts letters from 1
    files = [f"EMNIST/raw/emnist-{split}-{kind}" for kind in kinds]
    return _halves("EMNIST", files, split=split, convert=lambda part: (part.data, part.targets - first, None))


def _qmnist() -> Source:
    files = [f"QMNIST/raw/qmnist-{part}-{kind}" for part in ("train", "test") for kind in ("images-idx3-ubyte", "labels-idx2-int")]
    return _halves("QMNIST", files, convert=lambda part: (part.data, part.targets[:, 0], part.targets[:, 2]))  # 2: the writer


def _cifar(classes: int, parts: list[str]) -> Source:
    folder = "cifar-10-batches-py" if classes == 10 else "cifar-100-python"
    return _halves(
        f"CIFAR{classes}",
        [f"{folder}/{part}" for part in parts],
        f"cifar-{classes}-python.tar.gz",
        convert=lambda part: (part.data.transpose(0, 3, 1, 2), part.targets, None),
    )


SETS = {
    "mnist": _idx("MNIST"),
    "fashion-mnist": _idx("FashionMNIST"),
    "kmnist": _idx("KMNIST"),
    "qmnist": _qmnist(),
    **{f"emnist-{split}": _emnist(split) for split in ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")},
    "usps": _halves("USPS", ["usps.bz2", "usps.t.bz2"]),
    "cifar-10": _cifar(10, [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"]),
    "cifar-100": _cifar(100, ["train", "test", "meta"]),
    "svhn": Source(
        "SVHN",
        ("train_32x32.mat", "test_32x32.mat"),
        {"split": "train"},
        {"split": "test"},
        convert=lambda part: (part.data, part.labels, None),
    ),
}


def missing(dataset: str, root: str) -> str:
    """What of the data set is not under the root, where that is, and what to do; "" if all is there.

    Example:
        >>> missing("svhn", "nowhere").partition(";")[0]
        "'nowhere' holds no svhn in torchvision's layout: train_32x32.mat is missing"
    """
    source, folder = SETS[dataset], Path(root or "data")
    absent = [file for file in source.files if not _there(folder / file)]
    if not absent or (source.archive and (folder / source.archive).exists()):
        return ""
    packed = f" (or {source.archive})" if source.archive else " (or .gz)" if "/raw/" in absent[0] else ""
    how = f"set data-root in [task] or the variable {ROOT_VARIABLE} to the folder that has it, or let torchvision download it"
    problem = f"{str(folder)!r} holds no {dataset} in torchvision's layout: {absent[0]}{packed} is missing"
    return f"{problem}; {how}: {_download(source, folder)}"


def _download(source: Source, folder: Path) -> str:
    """How torchvision fetches it."""
    call = ", ".join(f"{key}={value!r}" for key, value in {**source.train, "download": True}.items())
    other = next(f"{key}={value!r}" for key, value in source.test.items() if value != source.train[key])
    return f"torchvision.datasets.{source.cls}({str(folder)!r}, {call}), and so with {other}"


def _there(file: Path) -> bool:
    return file.exists() or file.with_name(f"{file.name}.gz").exists()


def read(dataset: str, root: str) -> Raw:
    """The data set from the root; without a root from ./data, where torchvision downloads it if it is not there.

    Files that are only there packed are unpacked elsewhere, since the root may be read-only.

    Raises:
        InvalidParameter: the root has not all files, or they are not what torchvision expects; or they cannot be downloaded.
    """
    problem = missing(dataset, root)
    if problem and root:
        raise InvalidParameter(f"data-root: {problem}")
    try:
        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickles and of torchvision's own reading
            return _read(dataset, SETS[dataset], root if problem else _unpacked(SETS[dataset], Path(root or "data"), Path(scratch)))
    except Exception as error:
        where = problem or f"data-root: {root or 'data'!r} has no {dataset} that torchvision can read"
        anew = "" if problem else f"; remove its files and fetch them anew: {_download(SETS[dataset], Path(root or 'data'))}"
        raise InvalidParameter(f"{where} ({in_a_line(error)}){anew}") from None


def _read(dataset: str, source: Source, root: str) -> Raw:
    import torchvision.datasets

    cls = getattr(torchvision.datasets, source.cls)
    parts = [source.convert(cls(root or "data", **options, download=not root)) for options in (source.train, source.test)]
    (x, y, groups), (test_x, test_y, _) = parts
    return raw_of(dataset, (x, np.asarray(y)), (test_x, np.asarray(test_y)), DATASETS[dataset].classes, groups)


def _unpacked(source: Source, folder: Path, scratch: Path) -> str:
    """A folder with all files as they are: the given one, or else one in which they have been unpacked."""
    if all((folder / file).exists() for file in source.files):
        return str(folder)
    if source.archive and not all(_there(folder / file) for file in source.files):
        with tarfile.open(folder / source.archive) as archive:
            archive.extractall(scratch, filter="data")
        return str(scratch)
    for file in source.files:
        (scratch / file).parent.mkdir(parents=True, exist_ok=True)
        opener, name = (open, file) if (folder / file).exists() else (gzip.open, f"{file}.gz")
        with opener(folder / name, "rb") as packed, open(scratch / file, "wb") as target:
            shutil.copyfileobj(packed, target)
    return str(scratch)
