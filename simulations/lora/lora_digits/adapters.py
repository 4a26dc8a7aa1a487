"""What server and clients agree on of adapters; what malicious clients send; plain averaging of factors, for comparison."""

import numpy as np

from flwr_byzantine import LoRA

RANKS, ALPHA = (4, 8, 16), 16
LORA = LoRA(alpha=ALPHA)


def malicious(attack, broadcast, begun, trained, seed):
    """What an attacker sends in place of its trained arrays: "flip", "hidden" or "turned"; name -> array.

    "flip" goes ten times the update backwards, in the space of products and in all other arrays. "hidden" writes that product in another
    basis, B R and R⁻¹ A. "turned" does so with the honest product, which is no harm to who looks at products.
    """
    sent = dict(trained)
    if attack != "turned":
        factors = {name for pair in LORA.pairs(list(sent)) for name in (pair.a, pair.b)}
        sent |= {name: broadcast[name] - 10 * (sent[name] - broadcast[name]) for name in sent if name not in factors}
        sent |= flipped(begun, trained)
    return turned(sent, np.random.default_rng(seed)) if attack in ("hidden", "turned") else sent


def flipped(begun, trained):
    """The factors of P₀ - 10 (P - P₀), as well as the adapter's rank can say it."""
    made, before, after = {}, LORA.products(begun), LORA.products(trained)
    for pair in LORA.pairs(list(trained)):
        rank = len(trained[pair.a])
        u, sizes, v = np.linalg.svd(11 * before[pair.layer] - 10 * after[pair.layer], full_matrices=False)
        made[pair.a] = v[:rank].astype(np.float32)
        made[pair.b] = (u[:, :rank] * sizes[:rank] / LORA.scale(pair.layer, rank)).astype(np.float32)
    return made


def turned(arrays, rng):
    """The same products from B R and R⁻¹ A, with R a random rotation of ten times the length."""
    made = dict(arrays)
    for pair in LORA.pairs(list(arrays)):
        R = 10 * np.linalg.qr(rng.normal(size=(len(arrays[pair.a]),) * 2))[0]
        made[pair.a] = np.linalg.solve(R, arrays[pair.a]).astype(np.float32)
        made[pair.b] = (arrays[pair.b] @ R).astype(np.float32)
    return made


def padded(arrays):
    """An adapter in the largest rank, filled up with zeros, so that factors can be averaged."""
    made, rank = {name: np.asarray(value) for name, value in arrays.items()}, max(RANKS)
    for pair in LORA.pairs(list(arrays)):
        missing, factor = rank - len(made[pair.a]), LORA.scale("", len(made[pair.a])) / LORA.scale("", rank)
        made[pair.a] = np.pad(made[pair.a], [(0, missing), (0, 0)])
        made[pair.b] = np.pad(factor * made[pair.b], [(0, 0), (0, missing)]).astype(np.float32)
    return made


def cut(arrays, rank):
    """What a client of a lower rank takes of factors that were averaged: the first rows and columns."""
    made = {name: np.asarray(value) for name, value in arrays.items()}
    for pair in LORA.pairs(list(arrays)):
        factor = LORA.scale("", len(made[pair.a])) / LORA.scale("", rank)
        made[pair.a], made[pair.b] = made[pair.a][:rank].copy(), (factor * made[pair.b][:, :rank]).astype(np.float32)
    return made
