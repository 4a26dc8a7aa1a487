"""A Flower app with Keras."""
