"""Models of which clients share a part: digits with BatchNorm, and one vector beside a personal head and a mask."""

import numpy as np

from tests.support.batchnorm import BAD, federate

SENT = ["0.weight", "0.bias", "3.weight", "3.bias"]  # positions 0, 1, 7 and 8


def toy(strategy, model, answer, api=federate, rounds=2):
    """A model of one weight vector w, trained towards 1 and more; attackers send -10000."""

    def reply(got, node):
        w = got["w"] + 1 + 0.01 * np.float32(node) if node not in BAD else np.full(4, -1e4, np.float32)
        return answer({"w": w.astype(np.float32)}, node)

    return api(strategy, reply=reply, model=model, rounds=rounds)


MODEL = {"head": np.array([np.nan, -np.inf], np.float32), "w": np.zeros(4, np.float32), "mask": np.array([True, False])}
HEADS = {
    "none": lambda sent, node: sent,
    "of a class more for each": lambda sent, node: {"head": np.ones(node, np.float32), **sent},
    "bytes that are none": lambda sent, node: sent | {"head": np.array(["odd"] * node)},
    "large": lambda sent, node: sent | {"head": np.zeros(300_000)},
    "of arrays that the server has not": lambda sent, node: sent | {f"head.{node}.{k}": np.zeros(3) for k in range(node)},
}
