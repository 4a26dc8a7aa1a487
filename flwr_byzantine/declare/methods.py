"""The methods that `ByzantineSGD` and its clients carry out, by name, with their publications."""

from __future__ import annotations

from typing import ClassVar


class Method:
    """How the server steps, or what clients send; not to be made: its name and `reference` are all there is."""

    reference: ClassVar[str]


class ByzantineSGD(Method):
    """Gradients at the broadcast model, and a step against what the rule makes of them."""

    reference = "Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017; Roberts, Smyth, EURO J. Comput. Optim. 2022"


class WorkerMomentum(Method):
    """Clients send the momentum of their gradients: `gradient_reply(momentum=0.9)`."""

    reference = "El Mhamdi, Guerraoui, Rouault, ICLR 2021"


class ByzNSGDM(Method):
    """Steps of one length: `ByzantineSGD(normalized=True)`, with worker momentum and NNM in the rule."""

    reference = "Bolatov, Horváth, Takáč, Gorbunov, CPAL 2026"


class ByzVRMARINA(Method):
    """Full gradients now and then, else the last aggregate corrected: `ByzantineSGD(refresh=0.1)`, `gradient_reply(full=batches)`."""

    reference = "Gorbunov, Horváth, Richtárik, Gidel, ICLR 2023"


def available() -> list[type[Method]]:
    """All methods.

    Example:
        >>> [method.__name__ for method in available()]
        ['ByzantineSGD', 'WorkerMomentum', 'ByzNSGDM', 'ByzVRMARINA']
    """
    return Method.__subclasses__()
