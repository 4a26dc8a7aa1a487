"""Adapters under a robust strategy: compared as products, broadcast as factors, and what a client begins with."""

import numpy as np
import pytest

from flwr_byzantine import FedMedian, LoRA, MultiKrum, Robust, rules
from flwr_byzantine.arrays.adapters import Adapters, Layer, packed
from flwr_byzantine.arrays.factors import Factors, zero
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.server import Server
from flwr_byzantine.strategy.lora import Pair
from tests.support.adapters import ALPHA, HEAD, LAYERS, A, B, adapter, one_round, rank_of, replies, turned

STACK = LoRA(alpha=8, aggregate="stack")
MIXING = [
    rules.Krum(f=1),
    rules.MultiKrum(f=1),
    rules.GeometricMedian(f=1),
    rules.parse("nnm+krum", 1),
    rules.parse("nnm+geometric-median", 1),
]


def weighed(lora, report, given, layer="mlp.up"):
    return sum(report.nodes[node].weight * lora.products(arrays)[layer] for node, arrays in given.items())


@pytest.mark.parametrize("rule", MIXING, ids=str)
def test_the_stacked_aggregate_is_the_mixture_of_products(rule):
    given = replies()
    model, report = one_round(rule, given, STACK)
    for layer in LAYERS:
        assert STACK.products(model)[layer] == pytest.approx(weighed(STACK, report, given, layer), abs=1e-5)
    assert model[HEAD] == pytest.approx(sum(report.nodes[node].weight * arrays[HEAD] for node, arrays in given.items()), abs=1e-6)
    assert report.truncation == 0


def test_stacking_adds_the_ranks_of_those_that_are_kept():
    ranks = (1, 1, 1, 2, 2)
    assert rank_of(one_round(rules.Mean(), replies(ranks[:3]), STACK)[0]) == 3
    assert rank_of(one_round(rules.Mean(), replies(ranks), STACK)[0]) == 6, "no more than the smaller side of the layer"


@pytest.mark.parametrize("rule", MIXING, ids=str)
def test_the_servers_adapter_is_the_best_of_its_rank_and_the_report_says_what_is_left_out(rule):
    given = replies()
    model, report = one_round(rule, given)
    worst = 0.0
    for layer in LAYERS:
        u, sizes, v = np.linalg.svd(weighed(ALPHA, report, given, layer), full_matrices=False)
        assert ALPHA.products(model)[layer] == pytest.approx((u[:, :4] * sizes[:4]) @ v[:4], abs=1e-5)
        worst = max(worst, np.linalg.norm(sizes[4:]) / np.linalg.norm(sizes))
    assert report.truncation == pytest.approx(worst, abs=1e-6)
    assert rank_of(model) == 4
    assert ("leaves out" in " ".join(report.notes)) == (worst > 1e-6)


@pytest.mark.parametrize("rule", MIXING, ids=str)
@pytest.mark.parametrize("size", [1.0, 1e6, 1e-12])
def test_the_basis_of_the_factors_changes_no_choice(rule, size):
    given = replies()
    plain, report = one_round(rule, given)
    model, again = one_round(rule, {node: turned(arrays, node, size) for node, arrays in given.items()})
    assert [entry.status for entry in again.nodes.values()] == [entry.status for entry in report.nodes.values()]
    assert [entry.weight for entry in again.nodes.values()] == pytest.approx([entry.weight for entry in report.nodes.values()], abs=1e-5)
    assert ALPHA.products(model)["mlp.up"] == pytest.approx(ALPHA.products(plain)["mlp.up"], abs=1e-4)


@pytest.mark.parametrize("lora", [ALPHA, STACK], ids=["svd", "stack"])
def test_no_client_decides_how_a_product_is_divided_between_the_factors(lora):
    """Training goes on from factors: a huge B beside a tiny A would make everybody's next step huge."""
    given, start = replies((2, 2, 2)), adapter(4, 0)
    model, _ = one_round(rules.Mean(), {node: turned(arrays, node, 1e9) for node, arrays in given.items()}, lora, start)
    assert np.linalg.norm(model[A], axis=1) == pytest.approx(np.linalg.norm(start[A]) / 2, rel=1e-5)
    assert np.abs(model[B]).max() < 10


def test_zeros_that_fill_up_a_rank_change_nothing_where_the_scale_is_one():
    given, lora = replies((2, 2, 2, 2, 2)), LoRA(scaling=2.0)
    padded = given | {1: dict(given[1])}
    padded[1][A], padded[1][B] = np.pad(given[1][A], ((0, 3), (0, 0))), np.pad(given[1][B], ((0, 0), (0, 3)))
    (one, first), (other, second) = one_round(rules.Krum(f=1), given, lora), one_round(rules.Krum(f=1), padded, lora)
    assert first.nodes[1].score == pytest.approx(second.nodes[1].score)
    assert lora.products(one)["mlp.up"] == pytest.approx(lora.products(other)["mlp.up"], abs=1e-6)


def test_the_scale_is_the_servers_word():
    """A client that doubles its B to pretend another alpha sends twice the product, which is what is compared."""
    given = replies((4,) * 7)
    loud = given | {1: given[1] | {B: 50 * given[1][B]}}
    _, report = one_round(rules.MultiKrum(f=1), loud)
    assert report.nodes[1].status == "rejected"
    assert LoRA(alpha=16, rslora=True).scale("x", 4) == 8.0
    assert LoRA(alpha=16, alpha_pattern={r"mlp\.up": 4}).scale("mlp.up", 4) == 1.0
    assert LoRA(alpha=16, alpha_pattern={r"up": 4}).scale("block.up", 2) == 2.0


def test_fresh_adapters_are_added_to_the_broadcast_one():
    lora, given, start = LoRA(alpha=8, aggregate="stack", fresh=True), replies((1, 1, 1)), adapter(1, 0)
    model, report = one_round(rules.Mean(), given, lora, start)
    assert lora.products(model)["mlp.up"] == pytest.approx(lora.products(start)["mlp.up"] + weighed(lora, report, given), abs=1e-5)
    assert rank_of(model) == 4


def test_names_of_every_kind_that_peft_saves_are_paired():
    names = ["m.0.lora_A.weight", "m.0.lora_B.weight", "m.1.lora_A.default.weight", "m.1.lora_B.default.weight", "m.e.lora_embedding_A"]
    names += ["m.e.lora_embedding_B", "m.f.lora_embedding_A.default", "m.f.lora_embedding_B.default", "m.classifier.weight"]
    assert ALPHA.pairs(names) == [Pair(f"m.{layer}", a, b) for layer, a, b in zip("01ef", names[:8:2], names[1:8:2], strict=True)]


def test_convolutions_are_products_too():
    rng = np.random.default_rng(0)
    start = {"c.lora_A.weight": rng.normal(size=(2, 3, 5, 5)), "c.lora_B.weight": np.zeros((4, 2, 1, 1))}
    given = {
        k: {"c.lora_A.weight": rng.normal(size=(r, 3, 5, 5)), "c.lora_B.weight": rng.normal(size=(4, r, 1, 1))}
        for k, r in enumerate((1, 2, 3))
    }
    model, _ = one_round(rules.Mean(), given, LoRA(scaling=1.0, rank=4), start)
    assert [model[name].shape for name in start] == [(4, 3, 5, 5), (4, 4, 1, 1)]
    kernels = [np.einsum("orxy,rihw->oihw", arrays["c.lora_B.weight"], arrays["c.lora_A.weight"]) for arrays in given.values()]
    assert LoRA(scaling=1.0).products(model)["c"].reshape(4, 3, 5, 5) == pytest.approx(np.mean(kernels, axis=0), abs=1e-6)


@pytest.mark.parametrize("rank", [1, 3, 4, 6])
def test_a_client_begins_with_the_best_of_its_rank(rank):
    server, own = adapter(4, 0), adapter(rank, 5)
    begun = ALPHA.fitted(server, own)
    assert {name: value.shape for name, value in begun.items()} == {name: value.shape for name, value in own.items()}
    u, sizes, v = np.linalg.svd(ALPHA.products(server)["mlp.up"], full_matrices=False)
    assert ALPHA.products(begun)["mlp.up"] == pytest.approx((u[:, :rank] * sizes[:rank]) @ v[:rank], abs=1e-5)
    assert (np.linalg.norm(begun[A], axis=1) > 0.1).all(), "no direction is dead"
    assert begun[HEAD] is not server[HEAD]
    assert np.array_equal(begun[HEAD], server[HEAD])


def test_with_fresh_adapters_a_client_begins_with_its_own():
    begun = LoRA(alpha=8, fresh=True).fitted(adapter(4, 0), adapter(2, 5))
    assert np.array_equal(begun[A], adapter(2, 5)[A])
    assert np.array_equal(begun[HEAD], adapter(4, 0)[HEAD])


def test_replies_may_lie_on_the_disk(tmp_path):
    given = replies()
    (one, first), (other, second) = (one_round(rules.Krum(f=1), given, spill=folder) for folder in (None, tmp_path))
    assert [entry.score for entry in first.nodes.values()] == [entry.score for entry in second.nodes.values()]
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_named_strategies_take_it():
    assert MultiKrum(f=1, lora=ALPHA).lora is ALPHA
    assert FedMedian(lora=ALPHA).lora is ALPHA


def test_zeno_plus_plus_judges_products_by_the_servers_own():
    rng = np.random.default_rng(0)
    rows = [Factors(rng.normal(size=(5, rank)), rng.normal(size=(rank, 4))) for rank in (1, 2, 3, 3)]
    rows.append(rows[0].times(-2.0))
    base, own = zero(5, 4), rows[0].times(0.5)
    rule = rules.chain(rules.ZenoPlusPlus(), rules.Mean())
    found = run(rule, Adapters([Layer(rows, base, None)]), None, Server(packed(np.zeros(0), [own])))
    formed = rule.aggregate(np.array([row.product().ravel() for row in rows]), trusted=own.product().ravel())
    assert (found.blocks[0] @ found.blocks[1]).ravel() == pytest.approx(formed.value)
    assert 4 not in formed.selected == found.selected


def test_a_share_of_many_clients_refuses_no_rule_that_few_can_have():
    assert Robust("smea", f=0.2, lora=LoRA(alpha=8)).rule_at(12).f == 2
