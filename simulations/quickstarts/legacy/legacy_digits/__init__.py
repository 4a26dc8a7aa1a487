"""A Flower app with Flower's legacy API."""
