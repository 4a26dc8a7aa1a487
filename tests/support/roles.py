"""Rules, and a model of one vector that is trained and one odd array that is not."""

import numpy as np

from flwr_byzantine import rules
from tests.support.batchnorm import BAD, F, federate

RULES = {
    name: rules.parse(name, F)
    for name in (
        *("krum", "multi-krum", "bulyan", "median", "trimmed-mean", "geometric-median", "mea-med", "phocas", "cge", "mda", "smea"),
        *("monna", "caf", "dnc", "sign-guard", "clipped-clustering", "flame", "nnm+trimmed-mean", "nnm+krum", "nnm+geometric-median"),
    )
}
MASK = np.triu(np.full((3, 3), -np.inf, np.float32), 1)
ODD = {
    "a mask": (MASK, lambda node: MASK),
    "a fresh observer": (np.float32(np.inf), lambda node: np.float32(-1.5 - 0.01 * node)),
    "an observer that some have used": (np.float32(-np.inf), lambda node: np.float32(-np.inf if node < 8 else 1)),
    "not a number": (np.float32(np.nan), lambda node: np.float32(2)),
    "booleans": (
        np.tril(np.ones((3, 3), bool)),
        lambda node: np.tril(np.ones((3, 3), bool)) if node not in BAD else np.zeros((3, 3), bool),
    ),
    "integers": (np.array([3, 4], np.uint8), lambda node: np.array([5, 255 if node in BAD else 6], np.uint8)),
}


def toy(strategy, buffer, answer, api=federate, rounds=2):
    """A model of one weight vector w, trained towards 1 and more, with one more array; attackers send -10000."""
    model = {"w": np.zeros(10, np.float32), "extra": buffer}

    def reply(got, node):
        w = got["w"] + 1 + 0.01 * np.float32(node) if node not in BAD else np.full(10, -1e4, np.float32)
        return {"w": w, "extra": answer(node)}

    return api(strategy, reply=reply, model=model, rounds=rounds)
