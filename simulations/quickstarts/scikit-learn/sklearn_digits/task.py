"""The model, which is logistic regression, and the data: handwritten digits."""

import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

warnings.filterwarnings("ignore", category=ConvergenceWarning)  # few epochs a round are meant


def first_model(epochs=1):
    """All zeros: scikit-learn makes the attributes of a model when it first sees data, which the server does not."""
    model = LogisticRegression(solver="saga", max_iter=epochs, warm_start=True, random_state=0)
    model.classes_ = np.arange(10)
    return with_params(model, [np.zeros((10, 64)), np.zeros(10)])


def params(model):
    """What is sent."""
    return [model.coef_, model.intercept_]


def with_params(model, arrays):
    """The model with what was received."""
    model.coef_, model.intercept_ = arrays
    return model


def load_data(partition_id, num_partitions):
    """A client's share of the images and labels, for training and for testing."""
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x / 16, y, test_size=0.2, random_state=0)
    return [part[partition_id::num_partitions] for part in parts]
