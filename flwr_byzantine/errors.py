"""The package's errors, one small tree.

ByzantineError
├── InvalidParameter (ValueError)    a constructor argument is out of range or of the wrong kind
│   └── NotReproducible              reproducible=True of what has not the same bits on every machine
├── TooFewUpdates (ValueError)       n is below what the rule's guarantee needs
│   └── TooFewLeft                   what detectors leave is too few for the rule; says whom they left out
├── MalformedUpdate (ValueError)     an array or reply that cannot be used; says what was expected
│   └── NotFinite                    a value is NaN or infinite
├── InfeasibleRound (RuntimeError)   a federated round with too few valid replies, under on_infeasible="error"
└── MissingExtra (ModuleNotFoundError)   what an extra brings is not installed; says which one
"""

from __future__ import annotations

from typing import Any


class ByzantineError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidParameter(ByzantineError, ValueError):
    """A parameter is out of range, of the wrong kind, or an unknown name."""


class NotReproducible(InvalidParameter):
    """What `reproducible=True` cannot have, since its bits depend on the machine."""


class TooFewUpdates(ByzantineError, ValueError):
    """Fewer updates than the rule's guarantee needs."""


class TooFewLeft(TooFewUpdates):
    """What detectors leave is too few for the rule after them.

    Attributes:
        detections: what each of them said of all rows, `rules.results.Detection`s; none where it is not known.
    """

    def __init__(self, message: str, detections: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.detections = detections


class MalformedUpdate(ByzantineError, ValueError):
    """Updates that cannot be aggregated: empty, ragged, not numeric, or unlike the model."""


class NotFinite(MalformedUpdate):
    """NaN or infinity among values that must be finite."""


class InfeasibleRound(ByzantineError, RuntimeError):
    """Too few valid replies arrived for the rule's guarantee to hold."""


class MissingExtra(ByzantineError, ModuleNotFoundError):
    """What an extra of this package brings is not installed."""
