"""A zoo of models as people send them, each small and really trained on digits by eleven clients, of which two are hostile."""

import warnings
from copy import deepcopy
from functools import cache

import numpy as np
import torch
from sklearn.linear_model import SGDClassifier
from torch import nn
from torch.ao import quantization

from flwr_byzantine import trained_names
from tests.support.batchnorm import share


class Masked(nn.Module):
    """Causal attention over the eight rows of an image: an additive mask of -inf, and one of truth values."""

    def __init__(self):
        super().__init__()
        self.inputs, self.qkv, self.head = nn.Linear(8, 12), nn.Linear(12, 36), nn.Linear(12, 10)
        self.register_buffer("mask", torch.triu(torch.full((8, 8), -torch.inf), 1))
        self.register_buffer("used", torch.ones(8, dtype=torch.bool))

    def forward(self, x):
        q, k, v = self.qkv(self.inputs(x.view(-1, 8, 8))).chunk(3, -1)
        mixed = torch.softmax(q @ k.mT / 12**0.5 + self.mask, -1) @ v
        return self.head((mixed * self.used[:, None]).mean(1))


class Tied(nn.Module):
    """One matrix under two names."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.head = nn.Linear(64, 16, bias=False), nn.Linear(64, 16, bias=False), nn.Linear(16, 10)
        self.again.weight = self.first.weight

    def forward(self, x):
        return self.head(torch.relu(self.first(x) + self.again(x.flip(1))))


class Counting(nn.Module):
    """Counters of several integer types, of batches and of images per level of brightness."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)
        self.register_buffer("batches", torch.tensor(0))
        self.register_buffer("levels", torch.zeros(4, dtype=torch.int32))
        self.register_buffer("some", torch.zeros(3, dtype=torch.uint8))

    def forward(self, x):
        self.batches += 1
        self.some += 1
        self.levels += torch.histc(x.mean(1), 4, 0, 1).int()
        return self.fc(x)


class Embedding(nn.Module):
    """A vector for each brightness of each pixel: most clients touch few of them."""

    def __init__(self):
        super().__init__()
        self.emb, self.head = nn.EmbeddingBag(64 * 17, 4, mode="mean"), nn.Linear(4, 10)

    def forward(self, x):
        return self.head(self.emb((x * 16).long() + 17 * torch.arange(64)))


class LoRA(nn.Module):
    """Adapters alone are sent, of which B begins at zero; the base is everybody's and frozen."""

    def __init__(self):
        super().__init__()
        self.register_buffer("base", torch.randn(10, 64) / 8, persistent=False)
        self.base_model = nn.ModuleDict({"lora_A": nn.Linear(64, 2, bias=False), "lora_B": nn.Linear(2, 10, bias=False)})
        nn.init.zeros_(self.base_model["lora_B"].weight)

    def forward(self, x):
        return x @ self.base.T + self.base_model["lora_B"](self.base_model["lora_A"](x))


class Odd(nn.Module):
    """A temperature without dimensions, weights without entries, a list that grows from nothing."""

    def __init__(self):
        super().__init__()
        self.fc, self.temperature, self.none = nn.Linear(64, 10), nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.zeros(0, 3))
        self.register_buffer("nothing", torch.zeros(0))

    def forward(self, x):
        return self.fc(x) * self.temperature


def prepared(net, backend):
    """The layers, for quantisation-aware training; PyTorch says that this is to move to another package."""
    net = nn.Sequential(quantization.QuantStub(), *net)
    net.qconfig = quantization.get_default_qat_qconfig(backend)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", ".*reduce_range", UserWarning)
        return quantization.prepare_qat(net.train())


def convolution(norm, **form):
    layers = [
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 4, 3),
        norm,
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Flatten(),
        nn.Linear(16, 10),
    ]
    return nn.Sequential(*layers).to(**form)


def dense():
    return nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))


@cache
def quantised(backend):
    return prepared(nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)), backend)


class TorchKind:
    """A torch module whose state_dict is sent.

    Args:
        make: gives the module.
        computes: its dtype while it is trained.
        sends: dtype of what is sent.
    """

    def __init__(self, make, computes=torch.float32, sends=torch.float32):
        self.make, self.computes, self.sends = make, computes, sends

    def model(self):
        return self._sent(self._net())

    def judged(self):
        return trained_names(self._net())

    def trained(self, got, node, seed, epochs=1):
        """What an honest client answers."""
        torch.set_num_threads(1)
        (x, y), net = share(node), self._net()
        net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in got.items()})
        optimizer, generator = torch.optim.SGD(net.parameters(), lr=0.1), torch.Generator().manual_seed(100 * seed + node)
        for part in [rows for _ in range(epochs) for rows in torch.randperm(len(x), generator=generator)[:60].split(20)]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[part].to(self.computes)).float(), y[part]).backward()
            optimizer.step()
        return self._sent(net)

    def _net(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.make().to(self.computes).train()

    def _sent(self, net):
        return {name: (value.to(self.sends) if value.is_floating_point() else value).numpy() for name, value in net.state_dict().items()}


class ScikitLearn:
    """Softmax-free linear classifiers in float64, as Flower's scikit-learn example sends them."""

    def model(self):
        return {"coef_": np.zeros((10, 64)), "intercept_": np.zeros(10)}

    def judged(self):
        return list(self.model())

    def trained(self, got, node, seed):
        (x, y), made = share(node), SGDClassifier(random_state=100 * seed + node, learning_rate="constant", eta0=0.01)
        made.partial_fit(x[:1].double().numpy(), y[:1].numpy(), classes=np.arange(10))
        made.coef_, made.intercept_ = (np.array(value) for value in got.values())
        made.partial_fit(x.double().numpy(), y.numpy())
        return {"coef_": made.coef_, "intercept_": made.intercept_}


KINDS = {
    "BatchNorm": TorchKind(lambda: convolution(nn.BatchNorm2d(4))),
    "GroupNorm": TorchKind(lambda: convolution(nn.GroupNorm(2, 4))),
    "channels last": TorchKind(lambda: convolution(nn.Identity(), memory_format=torch.channels_last)),
    "tied weights": TorchKind(Tied),
    "QAT, per channel": TorchKind(lambda: deepcopy(quantised("x86"))),
    "QAT, per tensor": TorchKind(lambda: deepcopy(quantised("qnnpack"))),
    "masks": TorchKind(Masked),
    "counters": TorchKind(Counting),
    "embedding rows": TorchKind(Embedding),
    "float64 scikit-learn": ScikitLearn(),
    "LoRA adapters": TorchKind(LoRA),
    "float32 of bfloat16": TorchKind(dense, computes=torch.bfloat16),
    "float16": TorchKind(dense, sends=torch.float16),
    "no dimensions, no entries": TorchKind(Odd),
}


def backwards(old, new):
    """Three times the update, backwards."""
    return (old - 3.0 * (new - old.astype(np.float64))).astype(new.dtype)


def absurd(value, sign):
    """The largest or the smallest value of the dtype, or the contrary of a truth value."""
    if value.dtype.kind == "b":
        return ~value
    top = np.iinfo(value.dtype) if value.dtype.kind in "iu" else np.finfo(value.dtype)
    return np.full_like(value, top.max if sign > 0 else top.min)


def infinite(value):
    """The first value is none any more."""
    spoilt = np.array(value)
    spoilt.flat[:1] = np.inf
    return spoilt
