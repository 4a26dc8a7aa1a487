"""Malicious `NumPyClient` variants: each wraps an honest one, `XClient(honest, **attack_args)`."""

from clients.base import MaliciousClient
from clients.model_attack import FreeRiderClient, GaussianClient, ModelAttackClient, NaNClient, ScalingClient, SignFlipClient
from clients.poisoning import (
    AlternatingMinimizationClient,
    BackdoorClient,
    BackdoorCriticalLayersClient,
    DistributedBackdoorClient,
    DynamicLabelFlipClient,
    EdgeCaseBackdoorClient,
    LabelFlipClient,
    PoisoningClient,
    ThreeDFedClient,
)
from clients.strategic import DisguisedFreeRiderClient, DriftClient, InfClient, MPAFClient, OnOffClient, SybilClient

__all__ = [
    "AlternatingMinimizationClient",
    "BackdoorClient",
    "BackdoorCriticalLayersClient",
    "DisguisedFreeRiderClient",
    "DistributedBackdoorClient",
    "DriftClient",
    "DynamicLabelFlipClient",
    "EdgeCaseBackdoorClient",
    "FreeRiderClient",
    "GaussianClient",
    "InfClient",
    "LabelFlipClient",
    "MPAFClient",
    "MaliciousClient",
    "ModelAttackClient",
    "NaNClient",
    "OnOffClient",
    "PoisoningClient",
    "ScalingClient",
    "SignFlipClient",
    "SybilClient",
    "ThreeDFedClient",
]
