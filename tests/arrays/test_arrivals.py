"""Inner products worked out while rows come: bit for bit those of one pass, in whatever order and however fast they come."""

import time

import numpy as np
import pytest

from flwr_byzantine.arrays import compiled, kernels
from flwr_byzantine.arrays.arrivals import Arrivals
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.arrays.updates import Updates

pytestmark = pytest.mark.skipif(not compiled.AVAILABLE, reason="Numba is not installed")
N, WIDE = 23, kernels.SINGLE_WIDTH + 1000


@pytest.fixture
def made():
    """Makes arrivals, and ends them."""
    open_ones = []

    def make(*arguments):
        open_ones.append(Arrivals(*arguments))
        return open_ones[-1]

    yield make
    for arrivals in open_ones:
        arrivals.close()


def data(width, dtype, n=N):
    rng = np.random.default_rng(width)
    return rng.normal(size=(n, width)).astype(dtype), rng.normal(size=width).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 3000, WIDE])
@pytest.mark.parametrize("with_origin", [True, False])
def test_products_have_the_bits_of_one_pass_in_any_order(width, dtype, with_origin, made):
    X, origin = data(width, dtype)
    origin = origin if with_origin else None
    expected, rng = kernels.gram(list(X), origin), np.random.default_rng(0)
    for _ in range(5):
        arrivals = made([origin])
        for node in rng.permutation(N).tolist():
            arrivals.add(node, [X[node]])
            time.sleep(rng.choice([0.0, 0.0, 0.002]))
        np.testing.assert_array_equal(arrivals.grams(range(N))[0], expected)
        chosen = rng.permutation(N)[:9].tolist()
        np.testing.assert_array_equal(arrivals.grams(chosen)[0], expected[np.ix_(chosen, chosen)])


def test_products_are_made_while_rows_are_awaited(made):
    X, origin = data(3000, np.float32)
    arrivals = made([origin])
    for node in range(N):
        arrivals.add(node, [X[node]])
    end = time.monotonic() + 30
    while len(arrivals._grams[0]) < N and time.monotonic() < end:
        time.sleep(0.001)
    before = arrivals.passes
    arrivals.grams(range(N))
    assert 1 <= before == arrivals.passes <= N


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 3000, WIDE])
@pytest.mark.parametrize("of", ["zeros", "origin", "elsewhere"])
@pytest.mark.parametrize("products", [True, False])
def test_distances_have_the_bits_of_one_pass_in_any_order(width, dtype, of, products, made):
    X, origin = data(width, dtype)
    centre = {"zeros": None, "origin": origin, "elsewhere": (2 * origin).astype(dtype)}[of]
    expected, rng = kernels.distances(list(X), [np.zeros(width, dtype) if centre is None else centre] * N), np.random.default_rng(0)
    for _ in range(5):
        arrivals = made([origin], None, N, products, [centre])
        for node in rng.permutation(N).tolist():
            arrivals.add(node, [X[node]])
            time.sleep(rng.choice([0.0, 0.0, 0.002]))
        chosen = rng.permutation(N)[:9].tolist()
        asked = None if centre is None else centre.copy()
        np.testing.assert_array_equal(arrivals.squares(chosen, [asked])[0], expected[chosen])
        assert arrivals.squares(chosen, [np.ones(width, dtype)]) is None
        assert (arrivals.grams(chosen) is None) != products
    assert made([origin]).squares([], [origin]) is None


@pytest.mark.parametrize("anchors", [0, 2])
def test_updates_take_the_distances_that_are_there(anchors, made, monkeypatch):
    X, origin = data(WIDE + 500, np.float32)
    extra = list(np.random.default_rng(1).normal(size=(anchors, X.shape[1])))
    parts = [origin[:WIDE], origin[WIDE:]]
    arrivals = made(parts, None, None, False, parts)
    for node in range(N):
        arrivals.add(node, [X[node, :WIDE], X[node, WIDE:]])
    plain, ahead = (
        Updates([Block(list(X[:, :WIDE]), parts[0]), Block(list(X[:, WIDE:]), parts[1], 7.0)], None, None, a) for a in (None, arrivals)
    )
    order = np.random.default_rng(2).permutation(N).tolist()
    expected, taken = plain.take(order).append(extra).sq_norms(), ahead.take(order).append(extra)
    arrivals.squares([], parts)
    monkeypatch.setattr(kernels, "distances", None if not anchors else kernels.distances)
    np.testing.assert_array_equal(taken.sq_norms(), expected)


def test_the_result_is_written_where_the_system_has_cleared_memory_once(made):
    X, origin = data(3000, np.float32)
    arrivals = made([origin])
    for node in range(N):
        arrivals.add(node, [X[node]])
    end = time.monotonic() + 30
    while arrivals._room is None and time.monotonic() < end:
        time.sleep(0.001)
    room, updates = arrivals._room[0], Updates([Block(list(X), origin)], arrivals=arrivals)
    first, second = (updates.combine(np.full(N, 1 / N))[0] for _ in range(2))
    assert first is room is not second
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float32


def blocks(X, origin, scale=1.0):
    return [Block(list(X[:, :WIDE]), origin[:WIDE]), Block(list(X[:, WIDE:]), origin[WIDE:], scale)]


@pytest.mark.parametrize("scale", [1.0, 7.0, 1e6])
@pytest.mark.parametrize("anchors", [0, 2])
@pytest.mark.parametrize("spread", [1.0, 1e-6])
def test_updates_take_what_is_there(scale, anchors, spread, made, monkeypatch):
    X, origin = data(WIDE + 500, np.float32)
    X = (X[0] + spread * X).astype(np.float32)
    extra = list(np.random.default_rng(1).normal(size=(anchors, X.shape[1])))
    arrivals = made([origin[:WIDE], origin[WIDE:]])
    for node in (5, *range(5), *range(6, N)):
        arrivals.add(100 + node, [X[node, :WIDE], X[node, WIDE:]])
    order, ids = np.random.default_rng(2).permutation(N).tolist(), [100 + node for node in range(N)]
    plain, ahead = (Updates(blocks(X, origin, scale), ids, None, known).take(order).append(extra) for known in (None, arrivals))
    for centred in (False, True):
        np.testing.assert_array_equal(ahead.gram(centred), plain.gram(centred))


def test_of_known_rows_nothing_is_read_again(made, monkeypatch):
    X, origin = data(3000, np.float32)
    arrivals = made([origin])
    for node in range(N):
        arrivals.add(node, [X[node]])
    expected = arrivals.grams(range(N))[0]
    monkeypatch.setattr(kernels, "gram", None)
    np.testing.assert_array_equal(Updates([Block(list(X), origin)], arrivals=arrivals).gram(), expected)


def test_rows_that_the_kernels_cannot_read_a_node_twice_and_unknown_nodes_are_left_to_the_full_pass(made):
    X, origin = data(300, np.float32)
    strided = made([origin])
    strided.add(0, [X[0]])
    strided.add(1, [np.repeat(X[1], 2)[::2]])
    twice, unknown, late = made([origin]), made([origin]), made([origin])
    for node in (0, 1, 1):
        twice.add(node, [X[node]])
    unknown.add(0, [X[0]])
    assert unknown.grams([0]) is not None
    late.add(0, [X[0]])
    late.grams([0])
    late.add(1, [X[1]])
    assert [arrivals.grams([0, 1]) for arrivals in (strided, twice, unknown, late)] == [None] * 4


def test_without_the_kernels_nothing_is_worked_out_ahead(made, monkeypatch):
    monkeypatch.setattr(compiled, "AVAILABLE", False)
    arrivals = made([None])
    arrivals.add(0, [np.ones(3)])
    assert arrivals.grams([0]) is None
    assert arrivals.passes == 0


def test_hostile_values_raise_nothing(made):
    X, origin = data(3000, np.float32, 3)
    X[0], X[1] = np.float32(3e38), np.inf
    arrivals = made([origin])
    for node in range(3):
        arrivals.add(node, [X[node]])
    assert np.isfinite(arrivals.grams([2])[0]).all()


def test_rows_in_a_file_give_the_same_and_may_be_closed_at_once(made):
    X, origin = data(WIDE, np.float32)
    with Spill() as spill:
        arrivals = made([origin], spill.after_part)
        for node in range(N):
            arrivals.add(node, spill.add([X[node]]))
        np.testing.assert_array_equal(arrivals.grams(range(N))[0], kernels.gram(list(X), origin))
        unused = made([origin], spill.after_part)
        unused.add(0, spill.add([X[0]]))
    unused.close()
    unused.close()


def test_the_products_of_the_last_row_that_can_come_are_left_to_whoever_asks(made):
    rows = np.random.default_rng(0).normal(size=(4, 100)).astype(np.float32)
    arrivals = made([None], None, len(rows))
    for node, row in enumerate(rows):
        arrivals.add(node, [row])
    time.sleep(0.2)
    assert arrivals.passes < len(rows)
    assert len(arrivals._grams[0]) < len(rows)
    np.testing.assert_array_equal(arrivals.grams(range(4))[0], kernels.gram(list(rows), None))
