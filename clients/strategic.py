"""Clients that do not train, or that plan over rounds: thin like those of `clients.model_attack`, with the same arguments.

`seed` is the client's; `which` numbers the base model of MPAF and the random direction of Drift, and is the same for
attackers who pull the same way.
"""

from __future__ import annotations

from clients.model_attack import ModelAttackClient
from flwr_byzantine import attacks


class InfClient(ModelAttackClient):
    """`attacks.Inf`: `InfClient(honest, share=1.0, sign=1)`."""

    attack = attacks.Inf


class DisguisedFreeRiderClient(ModelAttackClient):
    """`attacks.DisguisedFreeRider`: sends the last global step again: `DisguisedFreeRiderClient(honest, sigma=None, gamma=1.0)`."""

    attack = attacks.DisguisedFreeRider


class MPAFClient(ModelAttackClient):
    """`attacks.MPAF`: a fake client that drags the model to a base model: `MPAFClient(honest, lam=1e6)`."""

    attack = attacks.MPAF


class SybilClient(ModelAttackClient):
    """`attacks.Sybil`: one of many identities over the same data: `SybilClient(honest, attack=attacks.SignFlip(), noise=0.0)`."""

    attack = attacks.Sybil


class DriftClient(ModelAttackClient):
    """`attacks.Drift`: little by little: `DriftClient(honest, step=0.5, direction="against")`."""

    attack = attacks.Drift


class OnOffClient(ModelAttackClient):
    """`attacks.OnOff`: behaves, then strikes: `OnOffClient(honest, attack=attacks.SignFlip(scale=10.0), start=6, on=5, period=10)`."""

    attack = attacks.OnOff
