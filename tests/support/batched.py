"""Federations for both engines: methods, strategies and attacks, and models that are easy or impossible to train together."""

from dataclasses import replace

import torch
from torch import nn

from flwr_byzantine import attacks
from flwr_byzantine.experiments.tasks import Task

MODELS = Task(num_clients=8, num_malicious=2, alpha=0.5, local_epochs=1, batch_size=32)
GRADIENTS = replace(MODELS, method="byzantine-sgd", momentum=0.9, weight_decay=1e-3)
PLAIN = replace(GRADIENTS, momentum_form="sum", shares="honest", attackers_data="iid", attackers_momentum=False)
IDLE = replace(GRADIENTS, model="tests.support.batched:idle_and_dropping")
ONE_ASKED = replace(MODELS, num_clients=4, num_malicious=3, clients_per_round=1)
ONE = (("partition_sizes", (40, 40, 1)),)
CELLS = {
    "plain average": (MODELS, "fedavg", None),
    "sign flip": (MODELS, "krum", attacks.SignFlip()),
    "alie": (replace(MODELS, optimizer="adam", lr=0.01), "nnm+trimmed-mean", attacks.ALIE(z=1.5)),
    "average under alie": (MODELS, "fedavg", attacks.ALIE(z=1.5)),
    "label flip": (MODELS, "median", attacks.LabelFlip()),
    "labels by the model": (MODELS, "median", attacks.DynamicLabelFlip()),
    "backdoor": (MODELS, "fedavg", attacks.Backdoor()),
    "rule known": (MODELS, "krum", attacks.FangKrum()),
    "memory": (MODELS, "geometric-median", attacks.Mimic()),
    "copies of shares": (replace(MODELS, shares="honest"), "multi-krum", attacks.IPM()),
    "some take part": (replace(MODELS, clients_per_round=5), "median", attacks.SignFlip()),
    "rounds of one, an attacker perhaps": (ONE_ASKED, "fedavg", attacks.ALIE(z=1.5)),
    "rounds of one, an attacker who sees itself": (ONE_ASKED, "fedavg", attacks.SignFlip()),
    "attackers anew": (replace(MODELS, attackers="redrawn", clients_per_round=6), "median", attacks.LabelFlip()),
    "server momentum": (replace(MODELS, server_momentum=0.5, server_lr=0.7), "krum", attacks.ALIE(z=1.5)),
    "average with server momentum": (replace(MODELS, server_momentum=0.5), "fedavg", None),
    "schedule": (replace(MODELS, milestones=(1,), warm_up=2), "median", None),
    "local steps": (replace(MODELS, local_steps=7, momentum=0.5), "median", None),
    "dropout": (replace(MODELS, dataset="digits", model="tests.support.batched:dropping"), "median", attacks.ALIE(z=1.5)),
    "batch norm": (replace(MODELS, model="tests.support.batched:normed"), "krum", attacks.SignFlip()),
    "convolutions": (replace(MODELS, model="cnn"), "median", attacks.ALIE(z=1.5)),
    "tied weights": (replace(MODELS, model="tests.support.batched:tied"), "median", attacks.ALIE(z=1.5)),
    "frozen layer": (replace(MODELS, model="tests.support.batched:frozen"), "median", attacks.ALIE(z=1.5)),
    "scalars and counters": (replace(MODELS, model="tests.support.batched:Counting"), "median", attacks.SignFlip()),
    "running mean": (replace(MODELS, model="tests.support.batched:Centred"), "fedavg", None),
    "tables of integers": (replace(MODELS, model="tests.support.batched:Looking"), "fedavg", None),
    "a client with one example": (replace(MODELS, num_malicious=0, num_clients=3, partition="size", partition_options=ONE), "fedavg", None),
    "the server's own update": (replace(MODELS, validation=0.2), "zeno-plus-plus+mean", attacks.SignFlip()),
    "the server's own gradient": (replace(GRADIENTS, validation=0.2), "fltrust", attacks.ALIE(z=1.5)),
    "the server's loss and predictions": (replace(MODELS, validation=0.2), "zeno+deepsight+mean", attacks.LabelFlip()),
    "what is not used": (replace(MODELS, model="tests.support.batched:Idle", weight_decay=1e-2), "median", attacks.SignFlip()),
    "steps by values": (replace(MODELS, model="tests.support.batched:Branching"), "median", attacks.SignFlip()),
    "gradients": (GRADIENTS, "clipping+nnm+geometric-median", attacks.ALIE(z=1.5)),
    "gradients added up": (replace(GRADIENTS, momentum_form="sum", server_momentum=0.5), "krum", attacks.IPM()),
    "gradients of some": (replace(GRADIENTS, clients_per_round=5), "median", attacks.LabelFlip()),
    "gradients with dropout": (replace(GRADIENTS, model="tests.support.batched:dropping"), "median", attacks.Mimic()),
    "gradients of convolutions": (replace(GRADIENTS, model="cnn"), "median", attacks.ALIE(z=1.5)),
    "gradients of scalars": (replace(GRADIENTS, model="tests.support.batched:Counting"), "median", attacks.SignFlip()),
    "gradients of a recurrent net": (replace(GRADIENTS, model="tests.support.batched:Recurrent"), "median", attacks.SignFlip()),
    "momentum of attackers drawn anew": (replace(GRADIENTS, attackers="redrawn"), "median", attacks.ALIE(z=1.5)),
    "plain gradients of iid data": (PLAIN, "median", attacks.SignFlip()),
    "plain gradients of flipped labels": (replace(PLAIN, clients_per_round=6), "median", attacks.LabelFlip()),
    "averaged momentum beside plain gradients": (replace(PLAIN, momentum_form="averaged"), "median", attacks.SignFlip()),
    "gradients of what is not used": (replace(GRADIENTS, model="tests.support.batched:Idle"), "median", attacks.SignFlip()),
    "gradients of what is not used, one by one": (replace(IDLE, weight_decay=0.0), "median", attacks.SignFlip()),
    "decay of what is not used, one by one": (IDLE, "median", attacks.SignFlip()),
    "gradients of tied weights": (replace(GRADIENTS, model="tests.support.batched:tied"), "mean", attacks.ALIE(z=1.5)),
}


def dropping(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, classes))


def normed(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, classes))


def tied(shape, classes):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12), nn.Linear(12, classes))
    net[4].weight = net[2].weight
    return net


def frozen(shape, classes):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, classes))
    net[1].weight.requires_grad_(False)
    return net


class Counting(nn.Module):
    """With a parameter without dimensions, and a buffer that counts."""

    def __init__(self, shape, classes):
        super().__init__()
        self.linear, self.temperature = nn.Linear(64, classes), nn.Parameter(torch.tensor(2.0))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x):
        self.count += 1
        return self.linear(x.flatten(1)) / self.temperature


class Branching(Counting):
    """Looks at its own values, which vmap cannot."""

    def forward(self, x):
        return super().forward(x) * (2 if self.linear.weight.sum() > 0 else 1)


class Centred(nn.Module):
    """Keeps a running mean of its batches for evaluation, of which nothing is seen in training."""

    def __init__(self, shape, classes):
        super().__init__()
        self.linear = nn.Linear(64, classes)
        self.register_buffer("mean", torch.zeros(64))

    def forward(self, x):
        x = x.flatten(1)
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
            return self.linear(x)
        return self.linear(x - self.mean)


class Looking(nn.Module):
    """Looks up where the values are, and which count."""

    def __init__(self, shape, classes):
        super().__init__()
        self.linear, self.places = nn.Linear(64, classes), nn.Embedding(64, 1)
        self.register_buffer("at", torch.arange(64) % 2)
        self.register_buffer("counts", torch.arange(64) > 8)

    def forward(self, x):
        return self.linear((x.flatten(1) + self.places(self.at)[:, 0]) * torch.where(self.counts, 1.0, 0.0))


class Idle(nn.Module):
    """With a layer that no output depends on, and one whose values count by their sum alone."""

    def __init__(self, shape, classes, dropped=0.0):
        super().__init__()
        self.linear, self.dropout, self.idle = nn.Linear(64, classes), nn.Dropout(dropped), nn.Linear(3, 3)
        self.summed = nn.Parameter(torch.ones(5))

    def forward(self, x):
        return self.dropout(self.linear(x.flatten(1))) * self.summed.sum()


def idle_and_dropping(shape, classes):
    return Idle(shape, classes, dropped=0.5)


class Recurrent(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.gru, self.linear = nn.GRU(8, 6, batch_first=True), nn.Linear(6, classes)

    def forward(self, x):
        return self.linear(self.gru(x[:, 0])[0][:, -1])
