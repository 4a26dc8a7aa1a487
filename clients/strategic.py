"""Clients that do not train, or that attack over many rounds; the arguments are those of `clients.model_attack`.

Each takes the parameters of its attack beside `seed`, `partition` and `context`. Give clients that are to attack together
the same `which`: it is the number of MPAF's base model and of Drift's random direction.
"""

from __future__ import annotations

from clients.model_attack import ModelAttackClient
from flwr_byzantine import attacks


class InfClient(ModelAttackClient):
    """Mounts `attacks.Inf`: `InfClient(honest, share=1.0, sign=1)`."""

    attack = attacks.Inf


class DisguisedFreeRiderClient(ModelAttackClient):
    """Mounts `attacks.DisguisedFreeRider`: sends the last global step again: `DisguisedFreeRiderClient(honest, sigma=None, gamma=1.0)`."""

    attack = attacks.DisguisedFreeRider


class MPAFClient(ModelAttackClient):
    """Mounts `attacks.MPAF`: a fake client that drags the model to a base model: `MPAFClient(honest, lam=1e6)`."""

    attack = attacks.MPAF


class SybilClient(ModelAttackClient):
    """Mounts `attacks.Sybil`: one of many identities over the same data: `SybilClient(honest, attack=attacks.SignFlip(), noise=0.0)`."""

    attack = attacks.Sybil


class DriftClient(ModelAttackClient):
    """Mounts `attacks.Drift`: `DriftClient(honest, step=0.5, direction="against")`."""

    attack = attacks.Drift


class OnOffClient(ModelAttackClient):
    """Mounts `attacks.OnOff`: `OnOffClient(honest, attack=attacks.SignFlip(scale=10.0), start=6, on=5, period=10)`."""

    attack = attacks.OnOff
