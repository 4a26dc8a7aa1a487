"""Convolutional networks without shortcuts."""

from __future__ import annotations

from torch import nn

from flwr_byzantine.experiments.tasks.models.dense import Shape, mlp


def cnn(shape: Shape, classes: int) -> nn.Module:
    """Two 3 x 3 convolutions of 16 and 32 channels, each with 2 x 2 pooling, and one linear layer."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Unflatten(1, shape),
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * (height // 4) * (width // 4), classes)),
    )


def cnn_mnist(shape: Shape, classes: int) -> nn.Module:
    """ByzFL's network for MNIST: 5 x 5 convolutions of 20 and 50 channels, 500 hidden units.

    Theirs ends in a log-softmax and is trained with the negative log-likelihood: together our cross entropy of the scores.

    Source: González, Guerraoui, Pinot, Rizk, Stephan, Taïani, ByzFL, 2025; byzfl/fed_framework/models.py of
        github.com/LPD-EPFL/byzfl.
    """
    return nn.Sequential(
        nn.Unflatten(1, shape),
        *(nn.Conv2d(shape[0], 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), *mlp((50 * 4 * 4,), classes, (500,))),
    )


def cnn_cifar(shape: Shape, classes: int) -> nn.Module:
    """ByzFL's network for CIFAR: padded 5 x 5 convolutions of 20, 100 and 200 channels, 512 and 256 hidden units.

    Source: González, Guerraoui, Pinot, Rizk, Stephan, Taïani, ByzFL, 2025; byzfl/fed_framework/models.py of
        github.com/LPD-EPFL/byzfl.
    """
    return nn.Sequential(
        nn.Unflatten(1, shape),
        *(nn.Conv2d(shape[0], 20, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 100, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(100, 200, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), *mlp((200 * 4 * 4,), classes, (512, 256))),
    )


def bucketing_cnn(shape: Shape, classes: int) -> nn.Module:
    """The network of the bucketing paper for MNIST: 3 x 3 convolutions of 32 and 64 channels, 128 hidden units, dropout.

    Of a pooled channel all values are left out together (a quarter of the channels), of the hidden units half. No ReLU
    follows the second convolution; their log-softmax with the negative log-likelihood is our cross entropy of the scores.

    Source: Karimireddy, He, Jaggi, ICLR 2022; codes/tasks/mnist.py of github.com/epfml/byzantine-robust-noniid-optimizer.
    """
    return nn.Sequential(
        nn.Unflatten(1, shape),
        *(nn.Conv2d(shape[0], 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.MaxPool2d(2), nn.Dropout2d(0.25)),
        *(nn.Flatten(), nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, classes)),
    )


def fltrust_cnn(shape: Shape, classes: int) -> nn.Module:
    """FLTrust's network for MNIST and Fashion-MNIST: 3 x 3 convolutions of 30 and 50 channels, 100 hidden units.

    Source: Cao, Fang, Liu, Gong, FLTrust, NDSS 2021; fl/models/simplecnn.py of github.com/vio1etus/FLPoison.
    """
    return nn.Sequential(
        nn.Unflatten(1, shape),
        *(nn.Conv2d(shape[0], 30, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(30, 50, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), *mlp((50 * 5 * 5,), classes, (100,))),
    )


def lenet5(shape: Shape, classes: int) -> nn.Module:
    """LeNet-5 as it is used today, with ReLU and maximum pooling; images of 28 x 28 are padded to 32 x 32.

    Source: LeCun, Bottou, Bengio, Haffner, Proceedings of the IEEE 1998; fl/models/lenet5.py of github.com/vio1etus/FLPoison.
    """
    return nn.Sequential(
        nn.Unflatten(1, shape),
        *(nn.Conv2d(shape[0], 6, 5, padding=(32 - shape[1]) // 2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), *mlp((16 * 5 * 5,), classes, (120, 84))),
    )
