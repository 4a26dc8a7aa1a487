"""Malicious `NumPyClient` variants: each wraps an honest one."""

from clients.base import MaliciousClient
from clients.model_attack import FreeRiderClient, GaussianClient, NaNClient, ScalingClient, SignFlipClient
from clients.poisoning import LabelFlipClient

__all__ = [
    "FreeRiderClient",
    "GaussianClient",
    "LabelFlipClient",
    "MaliciousClient",
    "NaNClient",
    "ScalingClient",
    "SignFlipClient",
]
