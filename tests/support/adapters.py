"""Adapters of two layers and a head, by PEFT's names, and rounds over them in this process."""

import numpy as np

from flwr_byzantine import LoRA, Robust
from flwr_byzantine.strategy.in_process import InProcess

PREFIX = "base_model.model."
LAYERS = {"mlp.up": (9, 6), "mlp.down": (6, 9)}
A, B, HEAD = f"{PREFIX}mlp.up.lora_A.weight", f"{PREFIX}mlp.up.lora_B.weight", f"{PREFIX}head.weight"
ALPHA = LoRA(alpha=8)


def adapter(rank, seed, b=1.0):
    """An adapter of this rank whose products have entries of about b."""
    rng, arrays = np.random.default_rng(seed), {}
    for layer, (p, q) in LAYERS.items():
        arrays[f"{PREFIX}{layer}.lora_A.weight"] = rng.normal(size=(rank, q)).astype(np.float32)
        arrays[f"{PREFIX}{layer}.lora_B.weight"] = (b * rng.normal(size=(p, rank)) / rank).astype(np.float32)
    return arrays | {f"{PREFIX}head.weight": rng.normal(size=(3, 4)).astype(np.float32)}


def replies(ranks=(1, 2, 4, 4, 8, 8, 2), b=1.0):
    return {node: adapter(rank, 100 + node, b) for node, rank in enumerate(ranks, 1)}


def turned(arrays, seed=0, size=1.0):
    """The same products from other factors: B R and R⁻¹ A."""
    rng, made = np.random.default_rng(seed), dict(arrays)
    for layer in LAYERS:
        a, b = f"{PREFIX}{layer}.lora_A.weight", f"{PREFIX}{layer}.lora_B.weight"
        R = size * np.linalg.qr(rng.normal(size=(len(arrays[a]),) * 2))[0]
        made |= {a: np.linalg.solve(R, arrays[a]).astype(np.float32), b: (arrays[b] @ R).astype(np.float32)}
    return made


def one_round(rule, given, lora=ALPHA, model=None, **policy):
    """The model after a round, and the round's report."""
    server = InProcess(Robust(rule, lora=lora, **policy))
    model = adapter(4, 0) if model is None else model
    server.core.ensure_begun()
    return server.round(1, model, given), server.core.reports[-1]


def rank_of(model, layer="mlp.up"):
    return len(model[f"{PREFIX}{layer}.lora_A.weight"])
