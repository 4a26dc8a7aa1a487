"""What all malicious clients share: they wrap an honest client."""

from __future__ import annotations

from typing import Any

from flwr.client import NumPyClient


class MaliciousClient(NumPyClient):
    """Does what the honest client does; subclasses change `fit`.

    Args:
        honest: the client to wrap; also gives the properties, the parameters and the evaluation.
    """

    def __init__(self, honest: NumPyClient) -> None:
        super().__init__()
        if not isinstance(honest, NumPyClient):
            raise TypeError(f"{type(self).__name__} wraps an honest NumPyClient, got {honest!r}")
        self.honest = honest

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        """The honest client's properties."""
        return self.honest.get_properties(config)

    def get_parameters(self, config: dict[str, Any]) -> list[Any]:
        """The honest client's parameters."""
        return self.honest.get_parameters(config)

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """The honest client's result of training."""
        return self.honest.fit(parameters, config)

    def evaluate(self, parameters: list[Any], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """The honest client's result of evaluation."""
        return self.honest.evaluate(parameters, config)
