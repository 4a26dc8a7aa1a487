"""Models by name are those of their sources: parameters, scores of the published code, PyTorch's own layers, the page."""

import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from flwr_byzantine.experiments.models import MODELS
from flwr_byzantine.experiments.tasks.models import MAKERS
from tests.support.named_models import CIFAR, MNIST, PARAMETERS, made

PAGE = Path(__file__).parents[2] / "docs" / "experiments.md"
PUBLISHED = {  # log-probabilities of the first three classes that the published code gives `IMAGE` with the weights of `filled`
    "cnn_mnist": (MNIST, [-0.9894, -41.635, -9.0073]),
    "cnn_cifar": (CIFAR, [-1.1284, -18.5087, -32.9798]),
    "bucketing-cnn": (MNIST, [-1.9683, -19.5788, -12.2702]),
    "fltrust-cnn": (MNIST, [-0.8706, -0.5687, -4.204]),
    "lenet5": (CIFAR, [-1.3264, -14.8934, -13.6208]),
    "flanders-mlp": (MNIST, [-0.5652, -1.4589, -8.8516]),
    "blades-mlp": (MNIST, [-1.4567, -16.779, -32.1409]),
    "resnet18-bn": (CIFAR, [-0.935, -176.1441, -0.4995]),
}


def filled(net):
    """Every weight from the sine of its place, about as large as initial weights are."""
    with torch.no_grad():
        for weight in net.parameters():
            waves = torch.sin(torch.arange(weight.numel(), dtype=torch.float64)).view(weight.shape)
            weight.copy_(2 * waves / math.sqrt(weight[0].numel()))
    return net.eval()


def test_each_name_has_a_maker_and_a_count():
    assert list(MODELS) == list(MAKERS) == list(PARAMETERS)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_as_many_parameters_as_its_source(name):
    assert sum(value.numel() for value in made(name).parameters()) == PARAMETERS[name][1]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_model_gives_the_scores_of_the_published_code(name):
    shape, expected = PUBLISHED[name]
    image = (torch.cos(torch.arange(math.prod(shape), dtype=torch.float64)) / 2 + 0.5).float()[None]
    with torch.no_grad():
        found = filled(made(name, shape))(image).log_softmax(1)[0, :3]
    assert found.tolist() == pytest.approx(expected, rel=1e-3)


def test_a_layer_of_the_transformer_is_pytorchs_own():
    net = made("transformer")
    theirs = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    ours, x = net.layers[0], torch.randn(3, 7, 64)
    attention, think = ours.attend[1], ours.think
    pairs = {"self_attn.in_proj_": attention.parts, "self_attn.out_proj.": attention.out, "norm1.": ours.attend[0]}
    pairs |= {"norm2.": think[0], "linear1.": think[1], "linear2.": think[3]}
    theirs.load_state_dict({f"{name}{kind}": getattr(part, kind) for name, part in pairs.items() for kind in ("weight", "bias")})
    torch.testing.assert_close(ours(x), theirs(x))


def test_the_page_has_each_model_with_its_parameters_and_source():
    rows = re.findall(r"^\| `([\w-]+)` \| (.*?) \| (.*?) \| (.*?) \|$", PAGE.read_text(), re.MULTILINE)
    assert [row[0] for row in rows if row[0] in MODELS] == list(MODELS)
    for name, takes, size, source in (row for row in rows if row[0] in MODELS):
        shape, count = PARAMETERS[name]
        at = "rows of 32 tokens of 96" if name == "transformer" else " x ".join(map(str, shape))
        assert (takes, size) == (str(MODELS[name]), f"{count:,} ({at})")
        said = " ".join(MAKERS[name].__doc__.split()).partition("Source: ")[2].removesuffix(".")
        assert source == (said or "-")
