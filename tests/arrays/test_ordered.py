"""`Ordered` arrays: what NumPy's options mean there, and what is refused."""

import numpy as np
import pytest

from flwr_byzantine.arrays.ordered import Ordered, ordered, plain
from flwr_byzantine.errors import NotReproducible

A = np.arange(12.0).reshape(3, 4)
HERE = A % 3 > 0
SYMMETRIC = A[:, :3] + A[:, :3].T
AS_NUMPY = {
    "sum where": lambda A: np.sum(A, where=HERE),
    "sum of a masked infinity": lambda A: np.sum(np.where(HERE, A, np.inf), axis=0, where=HERE),
    "sum where the mask is broadcast": lambda A: A.sum(axis=1, where=HERE[0]),
    "sum where an ordered mask": lambda A: A.sum(axis=1, where=A > 4),
    "sum initial": lambda A: np.add.reduce(A, initial=10.0),
    "sum dtype": lambda A: A.sum(axis=0, dtype=np.float32),
    "sum as integers": lambda A: np.sum(A + 0.75, dtype=int),
    "sum of integers": lambda A: A.astype(int).sum(where=HERE, initial=2),
    "sum out": lambda A: A.sum(axis=0, out=np.zeros(4, np.float32)),
    "mean where": lambda A: A.mean(axis=1, where=A > 2),
    "mean of integers": lambda A: A.astype(int).mean(axis=0),
    "mean of booleans": lambda A: (A > 4).mean(axis=1),
    "mean of half precision": lambda A: A.astype(np.float16).mean(axis=0),
    "variance where": lambda A: A.var(axis=0, where=A > 2, ddof=0.5),
    "largest where": lambda A: A.max(axis=0, where=A < 9, initial=-1.0),
    "running sum": lambda A: np.cumsum(A, axis=1, dtype=np.float32, out=np.zeros((3, 4), np.float32)),
    "divide where": lambda A: np.divide(1.0, A, out=np.zeros_like(A), where=A > 0),
    "square root where": lambda A: np.sqrt(A, out=np.full_like(A, 7), where=A > 5),
    "square root where, in plain": lambda A: np.sqrt(A, out=np.full((3, 4), 7.0), where=A > 5),
    "two results": lambda A: np.frexp(A, out=(np.zeros_like(A), None))[1],
    "product out": lambda A: np.matmul(A, A.T, out=np.zeros((3, 3))),
    "products of stacks": lambda A: np.stack([A, A + 1]) @ A.T[None],
    "vector times stack": lambda A: A[0] @ np.stack([A.T, A.T]),
    "dot with a number": lambda A: np.dot(2.0, A) + A.dot(2.0),
    "norm keepdims": lambda A: np.linalg.norm(A, axis=1, keepdims=True),
    "eigenvalues": lambda A: np.linalg.eigh(ordered(SYMMETRIC) if type(A) is Ordered else SYMMETRIC).eigenvalues,
    "peak to peak": lambda A: np.ptp(A, axis=0),
    "order": lambda A: np.argsort(-A, axis=None, stable=True),
}
REFUSED = {
    "matmul with axes=": lambda A: np.matmul(A, A, axes=[(1, 0), (0, 1), (0, 1)]),
    "matmul with dtype=": lambda A: np.matmul(A, A.T, dtype=np.float32),
    "linalg.eigh with UPLO=": lambda A: np.linalg.eigh(A[:, :3], UPLO="U"),
    "linalg.norm with ord=": lambda A: np.linalg.norm(A, ord=1),
    "dot with out=": lambda A: A.dot(A.T, out=np.zeros((3, 3))),
    "dot of stacks": lambda A: np.dot(A, np.stack([A.T, A.T])),
    "linalg.eigh of a stack": lambda A: np.linalg.eigh(A[None, :, :3]),
    "sqrt with where= leaves values unset": lambda A: np.sqrt(A, where=A > 5),
    "matmul of complex": lambda A: np.sum(A * 1.0 + 0.0, dtype=complex),
}


@pytest.mark.parametrize("name", AS_NUMPY)
def test_options_mean_what_they_mean_to_numpy(name):
    wanted, found = AS_NUMPY[name](A.copy()), AS_NUMPY[name](ordered(A.copy()))
    np.testing.assert_allclose(plain(found), wanted, rtol=1e-12, atol=1e-12)
    assert np.asarray(found).dtype == np.asarray(wanted).dtype


@pytest.mark.parametrize("name", REFUSED)
def test_an_option_is_refused_rather_than_ignored(name):
    with pytest.raises(NotReproducible, match=f"^reproducible=True: .*{name}"):
        REFUSED[name](ordered(A))


def test_what_is_given_as_out_is_filled_and_returned():
    kept, mask = np.full((3, 4), 7.0), ordered(A) > 5
    assert np.sqrt(ordered(A), out=kept, where=mask) is kept
    np.testing.assert_array_equal(kept, np.where(plain(mask), np.sqrt(A), 7.0))
    for total in (ordered(np.zeros(4)), np.zeros(4)):
        assert np.sum(ordered(A), axis=0, out=total) is total
        assert total.tolist() == A.sum(axis=0).tolist()


@pytest.mark.parametrize(("left", "right"), [((2, 3), (2, 2)), ((2, 3), (4, 2)), ((3,), (1,)), ((2, 3), ())])
def test_shapes_that_do_not_match_are_no_product(left, right):
    with pytest.raises(ValueError, match="matmul"):
        ordered(np.ones(left)) @ np.ones(right)
