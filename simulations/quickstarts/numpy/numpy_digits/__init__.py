"""A Flower app with NumPy."""
