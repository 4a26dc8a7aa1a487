"""A Flower app for `flwr run .`: one federation, configured by the keys of `[tool.flwr.app.config]`."""
