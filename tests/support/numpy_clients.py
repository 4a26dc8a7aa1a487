"""NumPyClients to wrap: one that moves the model by known steps, and one that learns digits."""

import numpy as np
import torch
from flwr.client import NumPyClient
from torch.utils.data import DataLoader, TensorDataset

from tests.support import digits


class Steps(NumPyClient):
    """Adds round times coordinate to the model."""

    def fit(self, parameters, config):
        return (
            [
                value + np.float32(config["server_round"]) * np.arange(value.size, dtype=value.dtype).reshape(value.shape)
                for value in parameters
            ],
            5,
            {"loss": 1.0},
        )

    def evaluate(self, parameters, config):
        return 0.5, 5, {"accuracy": 0.1}


class Learner(NumPyClient):
    """A network on digits; `fails` raises in the middle of training."""

    def __init__(self, part=0, fails=False):
        super().__init__()
        self.x, self.y = digits.shares()[part]
        self.trainloader = DataLoader(TensorDataset(self.x, self.y), batch_size=16)
        self.model, self.fails, self.seen = digits.network(), fails, []

    def fit(self, parameters, config):
        self.model.load_state_dict(dict(zip(self.model.state_dict(), map(torch.as_tensor, parameters), strict=True)))
        batches = list(self.trainloader)
        self.seen.append(torch.cat([y for _, y in batches]))
        if self.fails:
            raise RuntimeError("no more power")
        digits.train(self.model, torch.cat([x for x, _ in batches]), self.seen[-1], epochs=1)
        return [value.numpy().copy() for value in self.model.state_dict().values()], len(self.seen[-1]), {}


def parameters():
    return [value.numpy() for value in digits.network().state_dict().values()]


def flat(arrays):
    return np.concatenate([np.ravel(value).astype(np.float64) for value in arrays])
