"""The model, a small convolutional network, and the data: handwritten digits."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")  # or "tensorflow", or "jax"

import keras
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def load_model(learning_rate=0.001):
    """The same first model everywhere."""
    keras.utils.set_random_seed(0)
    convolution = [layers.Conv2D(16, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten()]
    model = keras.Sequential([keras.Input((8, 8, 1)), *convolution, layers.Dropout(0.2), layers.Dense(10, activation="softmax")])
    model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def load_data(partition_id, num_partitions):
    """A client's share of the images and labels, for training and for testing."""
    x, y = load_digits(return_X_y=True)
    images = (x / 16).astype("float32").reshape(-1, 8, 8, 1)
    parts = train_test_split(images, y, test_size=0.2, random_state=0)
    return [part[partition_id::num_partitions] for part in parts]
