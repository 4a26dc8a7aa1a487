"""PyTorch clients that answer with gradients of ½‖w - goal‖², and runs of Byzantine SGD over them."""

import numpy as np
import torch
from flwr.app import ArrayRecord
from flwr.clientapp import ClientApp

from flwr_byzantine import ByzantineSGD
from flwr_byzantine.adversary import AdversarialGrid
from flwr_byzantine.client import gradient_reply
from flwr_byzantine.flower.local import LocalGrid

N, F, D = 11, 2, 6
GOAL = torch.arange(D, dtype=torch.float32)


class Point(torch.nn.Module):
    """½‖w - goal‖² with noise in each batch; a buffer that training must leave alone."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(D))
        self.register_buffer("count", torch.tensor(3))


def loss(net, noise):
    return 0.5 * ((net.w - GOAL.to(noise.device) - noise) ** 2).sum()


def batches(context, server_round, scale=0.1, count=3):
    generator = torch.Generator().manual_seed(1000 * context.node_id + server_round)
    return [scale * torch.randn(D, generator=generator) for _ in range(count)]


def client_app(momentum=0.0, mods=None, scale=0.1, device="cpu"):
    app = ClientApp(mods=mods)

    @app.train()
    def train(message, context):
        data = [batch.to(device) for batch in batches(context, message.content["config"]["server-round"], scale)]
        metrics = {"partition-id": context.node_id - 1}
        return gradient_reply(message, context, Point().to(device), loss, data, momentum=momentum, metrics=metrics)

    return app


def start():
    return ArrayRecord(Point().state_dict())


def error(record):
    return float(np.abs(record["w"].numpy() - GOAL.numpy()).max())


def run(strategy, rounds=40, attack=None, **app):
    grid = LocalGrid(client_app(**app), N)
    if attack is not None:
        grid = AdversarialGrid(grid, attack, {2, 5})
    return strategy.start(grid, start(), rounds, evaluate_fn=None).arrays


def sgd(rule, step_size=0.3, **arguments):
    from flwr.serverapp.strategy import FedAvg

    return ByzantineSGD(rule, step_size=step_size, strategy=FedAvg(fraction_evaluate=0.0), **arguments)
