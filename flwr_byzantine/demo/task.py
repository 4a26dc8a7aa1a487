"""The learning task: data, its partition over clients, a PyTorch model, training and evaluation."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.kernels import Array
from flwr_byzantine.params import Constraint, check, unknown_name


@dataclass(frozen=True)
class Task:
    """What each client and the server must know to agree on the data and the training.

    Attributes:
        dataset: "digits" (scikit-learn's, embedded) or "fashion-mnist" (through torchvision).
        data_root: where torchvision finds or puts its files; "" is ./data.
        partition: "iid" or "dirichlet".
        alpha: Dirichlet concentration; smaller is more heterogeneous.
        num_clients: number of partitions.
        method: "local-sgd" (clients train and send models) or "byzantine-sgd" (clients send a gradient at the broadcast model).
        local_epochs, batch_size, lr: plain SGD on each client; under "byzantine-sgd" lr is the server's step size.
        momentum: worker momentum of "byzantine-sgd".
        seed: of split, partition, initial model and batches.
    """

    dataset: str = "digits"
    data_root: str = ""
    partition: str = "dirichlet"
    alpha: float = 0.5
    num_clients: int = 20
    method: str = "local-sgd"
    local_epochs: int = 5
    batch_size: int = 16
    lr: float = 0.1
    momentum: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """One clear sentence for each mistake."""
        if self.dataset not in LOADERS:
            raise unknown_name("dataset", self.dataset, LOADERS)
        check("task", "partition", self.partition, Constraint(str, choices=("iid", "dirichlet")))
        check("task", "method", self.method, Constraint(str, choices=("local-sgd", "byzantine-sgd")))
        check("task", "momentum", self.momentum, Constraint(float, ge=0, lt=1))
        check("task", "alpha", self.alpha, Constraint(float, gt=0))
        for name in ("num_clients", "local_epochs", "batch_size"):
            check("task", name, getattr(self, name), Constraint(int, ge=1))
        check("task", "lr", self.lr, Constraint(float, gt=0))


@dataclass(frozen=True)
class Data:
    """Images as float32 rows in [0, 1], labels, and the number of classes."""

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor
    classes: int


def _digits(_root: str, seed: int) -> Data:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    parts = train_test_split((x / 16.0).astype(np.float32), y, test_size=0.25, random_state=seed, stratify=y)
    train_x, test_x, train_y, test_y = (torch.from_numpy(part) for part in parts)
    return Data(train_x, train_y, test_x, test_y, 10)


def _fashion_mnist(root: str, _seed: int) -> Data:
    with tempfile.TemporaryDirectory() as scratch:
        train, test = _fashion_parts(root, scratch)
    x = [part.data.reshape(len(part.data), -1).float() / 255 for part in (train, test)]
    return Data(x[0], train.targets, x[1], test.targets, 10)


def _fashion_parts(root: str, scratch: str) -> list[Any]:
    """Torchvision's two parts; a root that holds only the compressed files (it may be read-only) is unpacked elsewhere."""
    from torchvision.datasets import FashionMNIST
    from torchvision.datasets.utils import extract_archive

    packed = sorted(Path(root or "data", "FashionMNIST", "raw").glob("*-ubyte.gz"))
    unpacked = all(file.with_suffix("").exists() for file in packed)
    if root and packed and not unpacked:
        target = Path(scratch, "FashionMNIST", "raw")
        target.mkdir(parents=True)
        for file in packed:
            extract_archive(str(file), str(target))
        root = scratch
    try:
        return [FashionMNIST(root or "data", train=part, download=not root) for part in (True, False)]
    except RuntimeError as error:
        problem = f"data-root {root!r} holds no Fashion-MNIST in torchvision's layout ({error})"
        raise InvalidParameter(f"{problem}; leave it empty to download") from None


LOADERS = {"digits": _digits, "fashion-mnist": _fashion_mnist}


@cache
def load(task: Task) -> Data:
    """The task's data, read once a process."""
    return LOADERS[task.dataset](task.data_root, task.seed)


@cache
def partitions(task: Task) -> list[Array]:
    """Row indices of each client's training data, by flwr-datasets' partitioners."""
    import datasets
    from flwr_datasets.partitioner import DirichletPartitioner, IidPartitioner

    datasets.disable_progress_bars()
    labels = load(task).train_y.tolist()
    rows = datasets.Dataset.from_dict({"row": list(range(len(labels))), "label": labels})
    partitioner: Any = (
        IidPartitioner(task.num_clients)
        if task.partition == "iid"
        else DirichletPartitioner(task.num_clients, partition_by="label", alpha=task.alpha, min_partition_size=10, seed=task.seed)
    )
    partitioner.dataset = rows.shuffle(seed=task.seed)
    return [np.array(partitioner.load_partition(k)["row"]) for k in range(task.num_clients)]


def model(task: Task) -> nn.Module:
    """A multilayer perceptron with one hidden layer, from the task's seed."""
    data = load(task)
    width = data.train_x.shape[1]
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        return nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, data.classes))


def local_data(task: Task, client: int, server_round: int) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    """One client's examples and labels, and the randomness of one of its rounds."""
    data, rows = load(task), torch.from_numpy(partitions(task)[client])
    generator = torch.Generator().manual_seed(hash((task.seed, client, server_round)) % 2**31)
    return data.train_x[rows], data.train_y[rows], generator


def batches(task: Task, client: int, server_round: int, count: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """A few random batches of one client, for one gradient and the estimate of its noise."""
    x, y, generator = local_data(task, client, server_round)
    draws = [torch.randint(len(x), (task.batch_size,), generator=generator) for _ in range(count)]
    return [(x[rows], y[rows]) for rows in draws]


def train(net: nn.Module, task: Task, client: int, server_round: int) -> tuple[float, int]:
    """Local SGD of one client in one round: mean loss and number of examples."""
    x, y, generator = local_data(task, client, server_round)
    optimiser, losses = torch.optim.SGD(net.parameters(), lr=task.lr), []
    for _ in range(task.local_epochs):
        for batch in torch.randperm(len(x), generator=generator).split(task.batch_size):  # type: ignore[no-untyped-call]
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(loss.item())
    return float(np.mean(losses)), len(x)


def evaluate(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Mean loss and accuracy in [0, 1]."""
    with torch.no_grad():
        output = net(x)
        return float(nn.functional.cross_entropy(output, y)), float((output.argmax(1) == y).float().mean())
