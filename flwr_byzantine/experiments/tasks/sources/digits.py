"""Scikit-learn's digits: 1,797 images of 8 x 8, a quarter of them for the test, drawn by the seed."""

from __future__ import annotations

import numpy as np

from flwr_byzantine.experiments.tasks.sources.raw import Raw, raw_of


def read(seed: int) -> Raw:
    """The digits, each label in equal shares in both parts."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    images = (x / 16.0).astype(np.float32).reshape(-1, 1, 8, 8)
    train_x, test_x, train_y, test_y = train_test_split(images, y, test_size=0.25, random_state=seed, stratify=y)
    return raw_of("digits", (train_x, train_y), (test_x, test_y))
