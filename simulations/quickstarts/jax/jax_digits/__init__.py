"""A Flower app with JAX and Flax."""
