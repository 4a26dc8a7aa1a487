"""The model, a network with batch normalisation, and the data: handwritten digits."""

import jax
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from flwr.app import Array, ArrayRecord
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Network(nn.Module):
    """Two layers, between them batch normalisation, whose running statistics nobody trains."""

    @nn.compact
    def __call__(self, x, train):
        """The score of each digit."""
        hidden = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(32)(x))
        return nn.Dense(10)(nn.relu(hidden))


def first_model():
    """The variables that everybody begins with: "params" and "batch_stats"."""
    return Network().init(jax.random.key(0), np.zeros((1, 64)), train=False)


def to_record(variables):
    """What is sent: each leaf under its path, such as "batch_stats/BatchNorm_0/mean"."""
    return ArrayRecord({name: Array(np.asarray(leaf)) for name, leaf in flatten_dict(variables, sep="/").items()})


def from_record(record):
    """The variables that were received."""
    return unflatten_dict({name: array.numpy() for name, array in record.items()}, sep="/")


def train(variables, x, y, epochs, batch_size, learning_rate):
    """The variables after some epochs, and the last loss."""
    rate, rows = np.float32(learning_rate), np.arange(len(x))
    for epoch in range(epochs):
        np.random.default_rng(epoch).shuffle(rows)
        for batch in np.split(rows[: len(rows) // batch_size * batch_size], len(rows) // batch_size):
            variables, loss = step(variables, x[batch], y[batch], rate)
    return variables, float(loss)


@jax.jit
def step(variables, x, y, rate):
    """One step of gradient descent: new parameters and new statistics."""

    def loss_of(params):
        scores, updated = Network().apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean(), updated

    (loss, updated), gradient = jax.value_and_grad(loss_of, has_aux=True)(variables["params"])
    params = jax.tree.map(lambda value, slope: value - rate * slope, variables["params"], gradient)
    return {"params": params, **updated}, loss


def accuracy(variables, x, y):
    """Share of the images whose digit is found."""
    return float((Network().apply(variables, x, train=False).argmax(-1) == y).mean())


def load_data(partition_id, num_partitions):
    """A client's share of the images and labels, for training and for testing."""
    x, y = load_digits(return_X_y=True)
    parts = train_test_split((x / 16).astype(np.float32), y, test_size=0.2, random_state=0)
    return [part[partition_id::num_partitions] for part in parts]
