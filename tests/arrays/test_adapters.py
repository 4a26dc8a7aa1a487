"""Rules on adapters against the same rules on the products, formed, in one row with the ordinary arrays."""

import numpy as np
import pytest

from flwr_byzantine import InvalidParameter, rules
from flwr_byzantine.arrays.adapters import Adapters, Layer
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.factors import Factors
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.server import Server

N, F, SHAPES, RANKS = 9, 2, ((14, 11), (9, 12)), (1, 2, 3, 4, 4, 4, 8, 8, 2)
EVERY = [rules.Krum(f=F), rules.MultiKrum(f=F), rules.GeometricMedian(f=F), rules.MDA(f=F), rules.SMEA(f=F), rules.CGE(f=F)]
EVERY += [rules.MoNNA(f=F), rules.CAF(f=F), rules.CenteredClipping(f=F, tau=3.0), rules.Mean(), rules.ClippedClustering(f=F)]
EVERY += [rules.DnC(f=F, b=50), rules.SignGuard(f=F), rules.FLAME(f=F, noise=0.0), rules.FoolsGold(), rules.FLTrust(f=F)]
EVERY += [
    rules.chain(before, last) for before in (rules.NNM(f=F), rules.ARC(f=F)) for last in (rules.Krum(f=F), rules.GeometricMedian(f=F))
]


def layers(seed=0, basis=None, origin=True):
    rng, turn = np.random.default_rng(seed), np.random.default_rng(basis)
    made = []
    for p, q in SHAPES:
        rows = [Factors(rng.normal(size=(p, r)), rng.normal(size=(r, q)), 4 / r) for r in RANKS]
        base = Factors(rng.normal(size=(p, 4)), rng.normal(size=(4, q)))
        made.append(Layer(rows if basis is None else [rotated(row, turn) for row in rows], base, base if origin else None))
    return made


def rotated(row, rng):
    R = rng.normal(size=(row.rank, row.rank))
    return Factors(row.b @ R, np.linalg.solve(R, row.a), row.scale)


def head(seed=1):
    rng = np.random.default_rng(seed)
    return [Block(list(rng.normal(size=(N, 7))), rng.normal(size=7))]


def dense(layers, blocks):
    """The same updates, each product formed."""
    made = [
        Block([row.product().ravel() for row in layer.rows], None if layer.origin is None else layer.origin.product().ravel())
        for layer in layers
    ]
    return Updates([*blocks, *made])


def flat(adapters, values):
    ordinary, low = values[: len(values) - 2 * len(SHAPES)], adapters.matrices(values)
    return np.concatenate([*ordinary, *(matrix.product().ravel() for matrix in low)])


def formed(updates, vector):
    """The vector of `Adapters.deltas` as deltas of dense updates."""
    return updates.append([vector]).at(np.arange(updates.d))[-1]


@pytest.mark.parametrize("rule", EVERY, ids=str)
@pytest.mark.parametrize("blocks", [[], head()], ids=["alone", "with a head"])
def test_a_rule_on_factors_is_the_rule_on_products(rule, blocks):
    updates, whole = Adapters(layers(), blocks), dense(layers(), blocks)
    trusted = updates.deltas(updates.combine(np.eye(N)[0]))
    found, expected = (run(rule, rows, None, Server(own)) for rows, own in [(updates, trusted), (whole, formed(updates, trusted))])
    assert found.weights == pytest.approx(expected.weights, abs=1e-9)
    assert found.selected == expected.selected
    assert flat(updates, found.blocks) == pytest.approx(np.concatenate(expected.blocks), abs=1e-7)


@pytest.mark.parametrize("rule", EVERY, ids=str)
def test_another_basis_changes_no_choice(rule):
    one, other = Adapters(layers(), head()), Adapters(layers(basis=5), head())
    trusted = one.deltas(one.combine(np.eye(N)[0]))
    found, again = (run(rule, updates, None, Server(trusted)) for updates in (one, other))
    assert found.selected == again.selected
    assert found.weights == pytest.approx(again.weights, abs=1e-8)


def test_what_clients_add_to_the_broadcast_adapter_is_added_to_it():
    updates = Adapters(layers(origin=False))
    weights = np.full(N, 0.1)
    expected = [layer.base.product() + sum(0.1 * row.product() for row in layer.rows) for layer in updates.layers]
    assert flat(updates, updates.combine(weights)) == pytest.approx(np.concatenate([value.ravel() for value in expected]))


def test_centred_clipping_remembers_over_rounds():
    rule, updates = rules.CenteredClipping(f=F, tau=3.0), Adapters(layers(), head())
    state = run(rule, updates).state
    known = updates.append([state.arrays["previous"]]).at(np.arange(updates.d))[-1]
    whole = dense(layers(), head())
    found, expected = run(rule, updates, state), run(rule, whole, type(state)(1, {"previous": known}))
    assert flat(updates, found.blocks) == pytest.approx(np.concatenate(expected.blocks), abs=1e-7)


def test_the_length_of_a_result_is_that_of_its_delta():
    updates, whole, weights = Adapters(layers(), head()), dense(layers(), head()), np.linspace(0, 0.2, N)
    assert updates.length(updates.combine(weights)) == pytest.approx(whole.length(whole.combine(weights)))


def test_order_and_numbering_do_not_change_the_order_worked_in():
    updates, shuffled = Adapters(layers(), head()), np.random.default_rng(2).permutation(N)
    assert shuffled[updates.take(shuffled.tolist()).order()].tolist() == updates.order().tolist()


@pytest.mark.parametrize("rule", [rules.Median(), rules.FLAME(f=F), rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F))], ids=str)
def test_rules_of_single_coordinates_say_that_there_are_none(rule):
    with pytest.raises(InvalidParameter, match="coordinate by coordinate"):
        run(rule, Adapters(layers()))


def test_a_row_that_is_not_finite_is_found():
    broken = layers()
    broken[1].rows[3].a[0, 0] = np.nan
    assert Adapters(broken, head()).finite() == [k != 3 for k in range(N)]
