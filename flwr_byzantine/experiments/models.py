"""The models by name: which examples each takes, known without PyTorch. `tasks.models` makes them."""

from __future__ import annotations

from dataclasses import dataclass

from flwr_byzantine.declare.names import unknown_name
from flwr_byzantine.errors import InvalidParameter

OWN = ":"  # in the name of a model of one's own, "module:function"


@dataclass(frozen=True)
class Model:
    """Which examples a model takes: images, and rows of features, where nothing is said.

    Attributes:
        shapes: the only (channels, height, width) that it takes; () takes any.
        smallest: least height and width of an image; 0 takes rows of features too.
        tokens: whether it takes rows of tokens and nothing else.
    """

    shapes: tuple[tuple[int, int, int], ...] = ()
    smallest: int = 0
    tokens: bool = False

    def takes(self, shape: tuple[int, ...], vocabulary: int = 0) -> bool:
        """Whether examples of this shape are such; tokens have a vocabulary.

        Example:
            >>> MODELS["cnn_cifar"].takes((3, 32, 32)), MODELS["cnn_cifar"].takes((1, 8, 8))
            (True, False)
        """
        if self.tokens or vocabulary:
            return self.tokens and vocabulary > 0
        image = len(shape) == 3
        return shape in self.shapes if self.shapes else not self.smallest or (image and min(shape[1:]) >= self.smallest)

    def __str__(self) -> str:
        if self.tokens:
            return "rows of tokens"
        if self.shapes:
            return " or ".join(" x ".join(map(str, shape)) for shape in self.shapes) + " images"
        return f"images of {self.smallest} x {self.smallest} or more" if self.smallest else "images, or rows of features"


MNIST, CIFAR = (1, 28, 28), (3, 32, 32)
MODELS = {
    "mlp": Model(),
    "softmax": Model(),
    "cnn": Model(smallest=4),
    "cnn_mnist": Model((MNIST,)),
    "cnn_cifar": Model((CIFAR,)),
    "bucketing-cnn": Model((MNIST,)),
    "fltrust-cnn": Model((MNIST,)),
    "lenet5": Model((MNIST, CIFAR)),
    "flanders-mlp": Model(),
    "blades-mlp": Model(),
    "resnet18-bn": Model(smallest=16),
    "resnet18-gn": Model(smallest=16),
    "transformer": Model(tokens=True),
}


def known(name: str, where: str = "") -> str:
    """The name, if it is one of `MODELS` or of the form "module:function".

    Raises:
        InvalidParameter: it is neither.

    Example:
        >>> known("my_nets:small")
        'my_nets:small'
    """
    if name in MODELS or OWN in name:
        return name
    raise unknown_name("model", name, [*MODELS, "module:function (your own)"], where)


def fits(name: str, dataset: str, shape: tuple[int, ...], vocabulary: int = 0) -> None:
    """Check that the named model takes the data set's examples; one's own is tried out by `tasks.models.model`.

    Raises:
        InvalidParameter: it does not; the message names those that do.

    Example:
        >>> fits("cnn_cifar", "digits", (1, 8, 8))
        Traceback (most recent call last):
        ...
        flwr_byzantine.errors.InvalidParameter: task: model 'cnn_cifar' takes 3 x 32 x 32 images, got digits (1 x 8 x 8); ...
    """
    if name not in MODELS or MODELS[name].takes(shape, vocabulary):
        return
    row = f"rows of {shape[0]} {'tokens' if vocabulary else 'features'}"
    others = ", ".join(repr(other) for other, model in MODELS.items() if model.takes(shape, vocabulary))
    got = row if len(shape) == 1 else " x ".join(map(str, shape))
    raise InvalidParameter(f"task: model {name!r} takes {MODELS[name]}, got {dataset} ({got}); for those take one of: {others}")
