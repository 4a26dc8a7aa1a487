"""Data and their partition over the SuperNodes, the model, its training and its test."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from flwr.app import Context
from torch import nn

from byzantine_simulation.settings import Settings

Examples = tuple[torch.Tensor, torch.Tensor]
CLASSES = 10


@lru_cache(maxsize=1)
def load(dataset: str, root: str, seed: int) -> tuple[Examples, Examples]:
    """The training and the test examples: images as rows of floats in [0, 1], and labels."""
    return _fashion_mnist(root) if dataset == "fashion-mnist" else _digits(seed)


def _digits(seed: int) -> tuple[Examples, Examples]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    parts = train_test_split((x / 16).astype(np.float32), y, test_size=0.25, random_state=seed, stratify=y)
    train_x, test_x, train_y, test_y = map(torch.from_numpy, parts)
    return (train_x, train_y), (test_x, test_y)


def _fashion_mnist(root: str) -> tuple[Examples, Examples]:
    from torchvision.datasets import FashionMNIST

    train, test = (FashionMNIST(root or "data", train=part, download=not root) for part in (True, False))
    return (train.data.flatten(1) / 255, train.targets), (test.data.flatten(1) / 255, test.targets)


def which(context: Context) -> tuple[int, int]:
    """The number of this SuperNode's partition, and of partitions: Flower's engine gives them, in a deployment who starts the node."""
    try:
        return int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    except KeyError as missing:
        raise ValueError(f"this SuperNode has no {missing}: start it with --node-config 'partition-id=0 num-partitions=5'") from None


def local(settings: Settings, context: Context) -> Examples:
    """The examples of this SuperNode."""
    (x, y), _ = load(settings.dataset, settings.data_root, settings.seed)
    partition, partitions = which(context)
    rows = _partitions(settings, partitions)[partition]
    return x[rows], y[rows]


@lru_cache(maxsize=2)
def _partitions(settings: Settings, parts: int) -> list[Any]:
    from datasets import Dataset, disable_progress_bars
    from flwr_datasets.partitioner import DirichletPartitioner, IidPartitioner

    disable_progress_bars()
    (_, labels), _ = load(settings.dataset, settings.data_root, settings.seed)
    dirichlet = settings.partition == "dirichlet"
    options = {"partition_by": "label", "alpha": settings.alpha, "min_partition_size": 5, "seed": settings.seed}
    partitioner = DirichletPartitioner(parts, **options) if dirichlet else IidPartitioner(parts)
    partitioner.dataset = Dataset.from_dict({"row": list(range(len(labels))), "label": labels.tolist()}).shuffle(seed=settings.seed)
    return [partitioner.load_partition(number)["row"][:] for number in range(parts)]


def model(settings: Settings) -> nn.Module:
    """A new model: one hidden layer, the same for one seed."""
    pixels = 784 if settings.dataset == "fashion-mnist" else 64
    torch.manual_seed(settings.seed)
    return nn.Sequential(nn.Linear(pixels, 64), nn.ReLU(), nn.Linear(64, CLASSES))


def loss(net: nn.Module, batch: Examples) -> torch.Tensor:
    """Mean cross entropy of a batch."""
    return nn.functional.cross_entropy(net(batch[0]), batch[1])


def train(net: nn.Module, examples: Examples, settings: Settings) -> float:
    """Local epochs of plain SGD; the mean loss of the last one."""
    optimizer = torch.optim.SGD(net.parameters(), lr=settings.lr)
    losses = [0.0]
    for _ in range(settings.local_epochs):
        losses = []
        for rows in torch.randperm(len(examples[1])).split(settings.batch_size):
            optimizer.zero_grad()
            value = loss(net, (examples[0][rows], examples[1][rows]))
            value.backward()
            optimizer.step()
            losses.append(value.item())
    return float(np.mean(losses))


@torch.no_grad()
def test(net: nn.Module, examples: Examples) -> tuple[float, float]:
    """Loss and accuracy, in [0, 1]."""
    hits = net(examples[0]).argmax(1) == examples[1]
    return loss(net, examples).item(), hits.double().mean().item()
