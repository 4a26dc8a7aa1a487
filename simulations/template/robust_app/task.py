"""Your model and your data: all that this app knows of learning."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def model() -> nn.Module:
    """A new model; server and clients make the same one."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def loaders(partition: int, partitions: int) -> tuple[DataLoader, DataLoader]:
    """One SuperNode's data, to train on and to evaluate on: here every `partitions`-th of scikit-learn's handwritten digits."""
    x, y = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(x[partition::partitions] / 16, dtype=torch.float32), torch.tensor(y[partition::partitions]))
    train, test = torch.utils.data.random_split(data, [0.8, 0.2], torch.Generator().manual_seed(0))
    return DataLoader(train, batch_size=16, shuffle=True), DataLoader(test, batch_size=256)


def train(net: nn.Module, data: DataLoader) -> float:
    """One pass over the data; the mean loss."""
    optimizer, total = torch.optim.SGD(net.parameters(), lr=0.1), 0.0
    for x, y in data:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() / len(data)
    return total


@torch.no_grad()
def evaluate(net: nn.Module, data: DataLoader) -> float:
    """The accuracy, in [0, 1]."""
    hits = [(net(x).argmax(1) == y).sum().item() for x, y in data]
    return sum(hits) / len(data.dataset)
