"""FLANDERS' images: clients train on values in [-1, 1], and the server evaluates on values in [0, 1], as the baseline's code does."""

from __future__ import annotations

import os
from typing import Any

from flwr_byzantine.experiments.tasks.data import ROOT_VARIABLE
from flwr_byzantine.experiments.tasks.sources import read


def flanders(images: str) -> tuple[Any, Any, Any, Any]:
    """Images and labels of both parts of a set of torchvision, "mnist" or "fashion-mnist".

    Source: Gabrielli, Tolomei, Belli, Miori, 2023; dataset.py and utils.py of Flower's baseline, which normalises by 0.5 and 0.5 where
        it trains, and not where it evaluates.
    """
    raw = read(images, (), os.environ.get(ROOT_VARIABLE, ""), 0)
    return raw.train_x / 127.5 - 1, raw.train_y, raw.test_x / 255, raw.test_y
