"""No reply can break a round over adapters; what is no adapter is invalid, skips a round or is refused in one sentence."""

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAdam

from flwr_byzantine import ByzantineSGD, InfeasibleRound, InvalidParameter, LoRA, Robust, rules
from tests.support.adapters import ALPHA, HEAD, PREFIX, A, B, adapter, one_round, rank_of, replies


def broken(name, change):
    return lambda arrays: arrays | {name: change(arrays[name])}


HOSTILE = {
    "rank 0": lambda arrays: arrays | {A: np.zeros((0, 6), np.float32), B: np.zeros((9, 0), np.float32)},
    "rank beyond max_rank": lambda arrays: arrays | {A: np.zeros((65, 6), np.float32), B: np.zeros((9, 65), np.float32)},
    "ranks that differ": broken(A, lambda a: a[:1]),
    "A transposed": broken(A, lambda a: a.T.copy()),
    "B transposed": broken(B, lambda b: b.T.copy()),
    "A and B exchanged": lambda arrays: arrays | {A: arrays[B], B: arrays[A]},
    "no A": lambda arrays: {name: value for name, value in arrays.items() if name != A},
    "no B": lambda arrays: {name: value for name, value in arrays.items() if name != B},
    "one more layer": lambda arrays: arrays | {"x.lora_A.weight": arrays[A], "x.lora_B.weight": arrays[B]},
    "flat": broken(A, np.ravel),
    "three axes": broken(A, lambda a: a[None]),
    "a number": broken(A, lambda a: np.float32(1.0)),
    "NaN": broken(A, lambda a: np.full_like(a, np.nan)),
    "infinite": broken(B, lambda b: np.full_like(b, -np.inf)),
    "complex": broken(B, lambda b: b.astype(complex)),
    "text": broken(B, lambda b: b.astype(str)),
    "a product beyond any": lambda arrays: arrays | {A: np.full_like(arrays[A], 1e30), B: np.full_like(arrays[B], 1e30)},
    "a huge A beside a B of zeros": lambda arrays: arrays | {A: np.full_like(arrays[A], 3e38), B: np.zeros_like(arrays[B])},
    "the head of another shape": broken(HEAD, lambda h: h[:1]),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_reply_that_is_no_adapter_is_invalid_and_costs_nobody_else(kind):
    given = replies((4, 4, 4, 4, 4, 4, 4))
    model, report = one_round(rules.Krum(f=1), given | {3: HOSTILE[kind](given[3])})
    assert report.nodes[3].status == "invalid"
    assert report.nodes[3].reason
    assert report.aggregated
    assert all(np.isfinite(value).all() for value in model.values())


@pytest.mark.parametrize("kind", HOSTILE)
def test_too_many_such_replies_skip_the_round(kind):
    given, start = replies((4, 4, 4, 4, 4)), adapter(4, 0)
    model, report = one_round(rules.Krum(f=1), {node: HOSTILE[kind](arrays) for node, arrays in given.items()}, model=start)
    assert not report.aggregated
    assert model is start


@pytest.mark.parametrize(("a", "b"), [(1e28, 1.0), (1e28, 0.0), (1e28, 1e-44), (1e-44, 1e28), (1e-44, 1e-44), (0.0, 0.0)])
def test_values_at_the_edges_of_float32_do_not_stop_a_round(a, b):
    given = replies((4,) * 7)
    edge = given[2] | {A: np.full_like(given[2][A], a), B: np.full_like(given[2][B], b)}
    model, report = one_round(rules.parse("nnm+krum", 1), given | {2: edge})
    assert report.nodes[2].status != "invalid"
    assert report.aggregated
    assert np.abs(ALPHA.products(model)["mlp.up"]).max() < 1e3


def test_a_truncation_beyond_the_limit_skips_the_round():
    start = adapter(4, 0)
    model, report = one_round(rules.Mean(), replies(), LoRA(alpha=8, max_error=0.01), start)
    assert (model is start, report.aggregated) == (True, False)
    assert "more than max_error=0.01" in report.note
    with pytest.raises(InfeasibleRound, match="more than max_error"):
        one_round(rules.Mean(), replies(), LoRA(alpha=8, max_error=0.01), start, on_infeasible="error")
    assert one_round(rules.Mean(), replies(), LoRA(alpha=8, max_error=0.9), start)[1].aggregated


def test_too_few_replies_skip_the_round():
    start = adapter(4, 0)
    model, report = one_round(rules.Krum(f=2), replies((4, 4, 4)), model=start)
    assert (model is start, report.aggregated) == (True, False)


@pytest.mark.parametrize("rule", [rules.Median(), rules.TrimmedMean(f=1), rules.parse("nnm+trimmed-mean", 1)], ids=str)
def test_coordinate_wise_rules_take_one_rank_and_say_so(rule):
    model, report = one_round(rule, replies((4, 4, 2, 4, 4, 4, 4)))
    assert report.nodes[3].status == "invalid"
    assert "expected shape (4, 6), got (2, 6)" in report.nodes[3].reason
    assert any("works coordinate by coordinate" in note for note in report.notes)
    assert rank_of(model) == 4


def test_a_rule_that_turns_coordinate_wise_meets_differing_ranks():
    def changing(n):
        return rules.Mean() if n > 10 else rules.Median()

    start = adapter(4, 0)
    model, report = one_round(changing, replies(), model=start)
    assert (model is start, "ranks differ" in report.note) == (True, True)


def test_capped_weights_and_certificates_are_of_products():
    _, report = one_round(rules.MultiKrum(f=1), replies(), weighting="capped")
    assert report.aggregated
    _, report = one_round(rules.parse("nnm+krum", 1), replies(), certificate=True)
    assert report.certificate is not None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LoRA(), "give alpha="),
        (lambda: LoRA(alpha=8, scaling=2.0), "give alpha="),
        (lambda: LoRA(scaling=2.0, rslora=True), "go with alpha="),
        (lambda: LoRA(alpha=8, aggregate="stack", rank=4), "its rank grows"),
        (lambda: LoRA(alpha=8, aggregate="mean"), "aggregate must be"),
        (lambda: LoRA(alpha=8, max_rank=0), "max_rank must be"),
        (lambda: LoRA(alpha=8, alpha_pattern={"x": -1.0}), "alpha_pattern"),
        (lambda: Robust(rules.Krum(f=1), lora=8), "lora must be"),
        (lambda: Robust(rules.Krum(f=1), lora=ALPHA, scale="per-array"), "scale=None"),
        (lambda: Robust(rules.Krum(f=1), FedAdam(), lora=ALPHA), "FedAdam takes its steps in the factors"),
        (lambda: ByzantineSGD(rules.Krum(f=1), 0.1, lora=ALPHA), "gradients takes its steps in the factors"),
        (lambda: Robust(rules.FLAME(f=1), lora=ALPHA), "FLAME: noise=0"),
        (lambda: Robust(rules.chain(rules.FLANDERS(f=1), rules.Krum(f=1)), lora=ALPHA), "FLANDERS.* cannot be run on the products"),
        (lambda: Robust(rules.chain(rules.Zeno(f=1), rules.Mean()), lora=ALPHA), "cannot be run on the products"),
        (lambda: Robust(rules.Mean(), lora=ALPHA, server_loss=len), "goes without server_loss"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run(make, words):
    with pytest.raises(InvalidParameter, match=words):
        make()


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"base_model.model.x.lora_magnitude_vector": np.ones(3, np.float32)}, "DoRA"),
        ({f"{PREFIX}mlp.up.lora_B.bias": np.ones(3, np.float32)}, "lora_bias"),
        ({f"{PREFIX}other.lora_A.weight": np.ones((2, 3), np.float32)}, "in pairs"),
        ({A: np.ones((3, 6), np.float32)}, "finite float factors"),
        ({A: np.full((4, 6), np.nan, np.float32)}, "finite float factors"),
    ],
)
def test_a_model_of_other_adapters_is_refused(extra, words):
    with pytest.raises(InvalidParameter, match=words):
        one_round(rules.Mean(), replies(), model=adapter(4, 0) | extra)


def test_a_model_without_adapters_is_refused():
    with pytest.raises(InvalidParameter, match="lora= needs arrays called"):
        one_round(rules.Mean(), {1: {"w": np.ones(2)}}, model={"w": np.ones(2)})
