"""Models by name and by one's own function: what they are, what they take, and that torch.func can train many of them at once."""

import copy

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from flwr_byzantine import attacks
from flwr_byzantine.attacks.poisoning import predictor
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.models import MODELS, fits
from flwr_byzantine.experiments.sweep import read
from flwr_byzantine.experiments.tasks import Task, training
from flwr_byzantine.experiments.tasks.client import client_app
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.flower.codec import flat
from flwr_byzantine.flower.local import LocalGrid
from tests.support.named_models import CIFAR, DIGIT, PARAMETERS, ROW, SMALL, examples, made

HEAVY = ("resnet18-bn", "resnet18-gn")
ALL = [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in MODELS]


@pytest.mark.parametrize("name", ALL)
def test_clients_that_train_at_once_under_vmap_do_what_they_do_one_by_one(name):
    """Gradients within 2e-4 of the largest, statistics of batch norm too; dropout is off, as it draws in another order."""
    shape = SMALL if name in HEAVY else PARAMETERS[name][0]
    nets = [made(name, shape) for _ in range(2)]
    for net in nets:
        for part in net.modules():
            part.p = 0.0 if isinstance(part, torch.nn.modules.dropout._DropoutNd) else None
    with torch.no_grad():
        for weight in nets[1].parameters():
            weight.mul_(1.1)
    x, y = examples(name, shape, 2, 3)
    parameters, buffers = stack_module_state(nets)
    parameters = {key: value.detach() for key, value in parameters.items()}
    spare = copy.deepcopy(nets[0])

    def loss(weights, state, x, y):
        return cross_entropy(functional_call(spare, (weights, state), (x,)), y)

    together = vmap(grad(loss), randomness="different")(parameters, buffers, x, y)
    for k, net in enumerate(nets):
        alone = torch.autograd.grad(cross_entropy(net(x[k]), y[k]), list(net.parameters()))
        largest = max(value.abs().max() for value in alone)
        for (key, _), value in zip(net.named_parameters(), alone, strict=True):
            assert (together[key][k] - value).abs().max() <= 2e-4 * largest
        for key, value in net.named_buffers():
            torch.testing.assert_close(buffers[key][k], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["bucketing-cnn", "flanders-mlp", "blades-mlp"])
def test_dropout_differs_between_clients_under_vmap_and_comes_again_with_the_seed(name):
    net = made(name)
    weights = {key: value.detach() for key, value in net.named_parameters()}
    x, y = (part.expand(2, *part.shape[1:]) for part in examples(name, PARAMETERS[name][0], 1, 3))

    def gradients():
        with training.drawing(net, x[0], torch.Generator().manual_seed(5)):
            step = vmap(grad(lambda w, x, y: cross_entropy(functional_call(net, w, (x,)), y)), in_dims=(None, 0, 0), randomness="different")
            return step(weights, x, y)

    first, again = gradients(), gradients()
    assert all(torch.equal(first[key], again[key]) for key in weights)
    assert not torch.equal(*next(iter(first.values())))


def test_convolutions_compute_channel_by_channel_in_memory():
    task = Task(model="cnn")
    net = model(task)
    assert net[:4](load(task).test_x[:5]).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "dataset", "shape", "vocabulary", "message"),
    [
        (
            "cnn_cifar",
            "digits",
            DIGIT,
            0,
            "'cnn_cifar' takes 3 x 32 x 32 images, got digits (1 x 8 x 8); for those take one of: 'mlp', 'softm",
        ),
        ("cnn_mnist", "cifar-10", CIFAR, 0, "takes 1 x 28 x 28 images, got cifar-10 (3 x 32 x 32)"),
        ("lenet5", "digits", DIGIT, 0, "takes 1 x 28 x 28 or 3 x 32 x 32 images, got digits (1 x 8 x 8)"),
        ("resnet18-gn", "digits", DIGIT, 0, "takes images of 16 x 16 or more, got digits (1 x 8 x 8)"),
        ("transformer", "digits", DIGIT, 0, "takes rows of tokens, got digits (1 x 8 x 8)"),
        ("mlp", "pydoc", ROW, 96, "takes images, or rows of features, got pydoc (rows of 32 tokens); for those take one of: 'transformer'"),
        (
            "cnn",
            "mine:data",
            ROW,
            0,
            "takes images of 4 x 4 or more, got mine:data (rows of 32 features); for those take one of: 'mlp', 'softmax', 'fl",
        ),
    ],
)
def test_a_model_that_does_not_take_such_data_says_which_do(name, dataset, shape, vocabulary, message):
    with pytest.raises(InvalidParameter) as error:
        fits(name, dataset, shape, vocabulary)
    assert message in str(error.value)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_takes_what_its_table_says(name):
    shape = PARAMETERS[name][0]
    fits(name, "it", shape, 96 if name == "transformer" else 0)
    assert made(name).eval()(examples(name, shape, 1, 2)[0][0]).shape == (2, 96 if name == "transformer" else 10)


def test_names_and_data_that_do_not_fit_are_one_sentence_before_a_sweep_runs(tmp_path):
    for change, message in (
        ('model = "resnet"', "[task] model: unknown model 'resnet'; did you mean"),
        ('model = "cnn_cifar"', "task: model 'cnn_cifar' takes 3 x 32 x 32 images, got digits"),
        ('model = "no_such_module:net"', "model 'no_such_module:net': cannot import 'no_such_module'"),
    ):
        path = tmp_path / "a.toml"
        path.write_text(f"[task]\n{change}\n")
        with pytest.raises(InvalidParameter) as error:
            read(path)
        assert message in str(error.value)
        assert str(error.value).startswith(f"{path}: ")
    with pytest.raises(InvalidParameter, match="unknown model 'resnet18'; did you mean 'resnet18-"):
        Task(model="resnet18")


@pytest.mark.parametrize("method", ["local-sgd", "byzantine-sgd"])
def test_dropout_is_the_same_in_each_run_and_off_where_models_are_measured(method):
    task = Task(model="flanders-mlp", num_clients=2, local_epochs=1, method=method)
    before = torch.random.get_rng_state()
    (one, first), (two, second) = (federate(LocalGrid(client_app(), 2), task, None, None, 2) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.loss == two.loss
    assert (flat(first) == flat(second)).all()
    net, data = model(task).eval(), load(task)
    with torch.no_grad():
        assert one.loss[0] == pytest.approx(cross_entropy(net(data.test_x), data.test_y).item())
    assert training.evaluate(net.train(), data.test_x, data.test_y) == training.evaluate(net.train(), data.test_x, data.test_y)


def test_dropout_changes_what_is_trained():
    task = Task(model="flanders-mlp", local_epochs=1)
    x, y = training.local_data(task, 0)
    nets = model(task), model(task)
    for part in nets[1].modules():
        part.p = 0.0
    for net in nets:
        training.train(net, task, x, y, training.randomness(task, 0, 1))
    assert not torch.equal(next(nets[0].parameters()), next(nets[1].parameters()))


def test_an_attack_that_asks_the_model_can_ask_one_of_tokens():
    net = made("transformer")
    x = examples("transformer", ROW, 1, 5)[0][0]
    flipped = attacks.DynamicLabelFlip().poison(x, torch.zeros(5, dtype=torch.long), 96, np.random.default_rng(0), predict=predictor(net))[
        1
    ]
    assert flipped.shape == (5,)
