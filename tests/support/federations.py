"""Federations of twenty clients on digits, four of them hostile, for models of any kind: what a rule reaches with each."""

import logging
from functools import cache

import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from torch import nn

from flwr_byzantine import Robust, attacks, rules
from flwr_byzantine.adversary import AdversarialGrid
from flwr_byzantine.flower.local import LocalGrid
from tests.support.digits import split
from tests.support.models import prepared

N, F = 20, 4
BAD = {3, 8, 13, 18}
ATTACKS = {"none": None, "sign flip": attacks.SignFlip(scale=3.0), "ALIE": attacks.ALIE(z=1.5)}
RULES = ["nnm+trimmed-mean", "multi-krum", "median", "geometric-median"]


class Residual(nn.Module):
    """Two convolutions with norms, around which the input goes."""

    def __init__(self, norm, channels):
        super().__init__()
        convolutions = [nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2)]
        self.inner = nn.Sequential(convolutions[0], norm(channels), nn.ReLU(), convolutions[1], norm(channels))

    def forward(self, x):
        return torch.relu(x + self.inner(x))


def resnet(norm):
    """Stem, two residual blocks, pooling between them: five norms."""
    stem = [nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3, padding=1, bias=False), norm(8), nn.ReLU()]
    return nn.Sequential(*stem, Residual(norm, 8), nn.MaxPool2d(2), Residual(norm, 8), nn.Flatten(), nn.Linear(128, 10))


class Attention(nn.Module):
    """Causal attention whose queries and keys share one matrix; the mask is a buffer, or made anew each time."""

    def __init__(self, d, buffers):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(d, d) for _ in range(4))
        self.k.weight = self.q.weight
        self.register_buffer("mask", self.new_mask(), persistent=buffers)
        self.register_buffer("used", torch.ones(8, dtype=torch.bool), persistent=buffers)

    def new_mask(self):
        return torch.triu(torch.full((8, 8), -torch.inf), 1)

    def forward(self, x):
        scores = self.q(x) @ self.k(x).mT / x.shape[-1] ** 0.5 + self.mask
        return self.out(torch.softmax(scores, -1) @ (self.v(x) * self.used[:, None]))


class Transformer(nn.Module):
    """Reads the eight rows of an image from top to bottom; two layers."""

    def __init__(self, buffers, d=24):
        super().__init__()
        self.inputs, self.places = nn.Linear(8, d), nn.Parameter(0.1 * torch.randn(8, d))
        self.attention = nn.ModuleList([Attention(d, buffers) for _ in range(2)])
        self.dense = nn.ModuleList([nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d)) for _ in range(2)])
        self.head = nn.Linear(d, 10)

    def forward(self, x):
        x = self.inputs(x.view(-1, 8, 8)) + self.places
        for attention, dense in zip(self.attention, self.dense, strict=True):
            x = x + attention(x)
            x = x + dense(x)
        return self.head(x[:, -1])


def quantised(net):
    """With observers that follow in ten steps what PyTorch's default follows in a hundred, which costs so short a training four points."""
    made = prepared(net, "x86")
    for module in made.modules():
        if hasattr(module, "averaging_constant"):
            module.averaging_constant = 0.1
    return made


def mlp():
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def cnn():
    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))


NETS = {
    "ResNet, BatchNorm": lambda: resnet(nn.BatchNorm2d),
    "ResNet, GroupNorm": lambda: resnet(lambda channels: nn.GroupNorm(2, channels)),
    "transformer, buffers": lambda: Transformer(True),
    "transformer, none": lambda: Transformer(False),
    "MLP, QAT": lambda: quantised(mlp()),
    "MLP, float": mlp,
    "CNN, QAT": lambda: quantised(cnn()),
    "CNN, float": cnn,
}


def made(name, arrays=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = NETS[name]()
    if arrays is not None:
        net.load_state_dict({key: torch.from_numpy(array.numpy().copy()) for key, array in arrays.items()})
    return net


@cache
def parts(seed):
    """Rows of each client: equal parts of the training data, at random."""
    return torch.randperm(len(split()[0]), generator=torch.Generator().manual_seed(seed)).chunk(N)


def clients(name, seed, epochs):
    """Each trains by SGD on its part."""
    app, (x, _, y, _) = ClientApp(), split()

    @app.train()
    def train(message, context):
        number, node = message.content["config"]["server-round"], context.node_id
        net, rows = made(name, message.content["arrays"]).train(), parts(seed)[node - 1]
        generator = torch.Generator().manual_seed(10_000 * seed + 100 * number + node)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
        for batch in [part for _ in range(epochs) for part in rows[torch.randperm(len(rows), generator=generator)].split(16)]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
        content = {"arrays": record(net), "metrics": MetricRecord({"num-examples": len(rows), "partition-id": node - 1})}
        return Message(RecordDict(content), reply_to=message)

    return app


def record(net):
    return ArrayRecord({key: Array(value.numpy()) for key, value in net.state_dict().items()})


def reached(name, rule, attack, seed=0, rounds=10, epochs=3):
    """Test accuracy, in percent, of the last model; FedAvg where there is no rule."""
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    average = FedAvg(fraction_evaluate=0.0, min_train_nodes=N, min_available_nodes=N)
    chosen, grid = None if rule is None else rules.parse(rule, F), LocalGrid(clients(name, seed, epochs), N)
    grid = grid if ATTACKS[attack] is None else AdversarialGrid(grid, ATTACKS[attack], BAD, chosen)
    result = (average if chosen is None else Robust(chosen, average)).start(grid, record(made(name)), rounds)
    net, (_, x, _, y) = made(name, result.arrays).eval(), split()
    with torch.no_grad():
        return 100 * float((net(x).argmax(1) == y).float().mean())
