"""The models that sweeps know by name, with the parameters that their sources have."""

import math

import torch

from flwr_byzantine.experiments.tasks.models import MAKERS

DIGIT, SMALL, MNIST, CIFAR, ROW = (1, 8, 8), (1, 16, 16), (1, 28, 28), (3, 32, 32), (32,)
PARAMETERS = {  # for ten classes (96 of "transformer"), on examples of this shape
    "mlp": (DIGIT, 4_810),
    "softmax": (DIGIT, 650),
    "cnn": (DIGIT, 6_090),
    "cnn_mnist": (MNIST, 431_080),
    "cnn_cifar": (CIFAR, 2_324_630),
    "bucketing-cnn": (MNIST, 1_199_882),
    "fltrust-cnn": (MNIST, 139_960),
    "lenet5": (MNIST, 61_706),
    "flanders-mlp": (MNIST, 242_762),
    "blades-mlp": (MNIST, 136_074),
    "resnet18-bn": (CIFAR, 11_173_962),
    "resnet18-gn": (CIFAR, 11_173_962),
    "transformer": (ROW, 114_528),
}


def made(name, shape=None):
    shape = shape or PARAMETERS[name][0]
    extra = {"transformer": {"vocabulary": 96}, "mlp": {"hidden": (64,)}}.get(name, {})
    torch.manual_seed(0)
    return MAKERS[name](shape, 96 if name == "transformer" else 10, **extra).to(memory_format=torch.channels_last)


def examples(name, shape, clients, rows):
    x = torch.randint(96, (clients, rows, *shape)) if name == "transformer" else torch.rand(clients, rows, math.prod(shape))
    return x, torch.randint(10, (clients, rows))
