"""Npy bytes that nobody vouches for: headers made from npy's grammar give an array, or `MalformedUpdate` and nothing else."""

import itertools
import warnings

import numpy as np
import pytest

import flwr_byzantine as ours
from flwr_byzantine import legacy
from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.flower.decode import decode
from flwr_byzantine.flower.local import LocalGrid
from tests.support.federation import N, client_app, start
from tests.support.legacy import one_round

SHAPES = [
    "()",
    "(3,)",
    "(1,)*65",
    "(0,)",
    "(2**63,)",
    "(-1,)",
    "(2, -3)",
    "(10**30, 0)",
    "(True,)",
    "(1.0,)",
    "('3',)",
    "[3]",
    "3",
    "None",
    "(3",
    "((3,),)",
]
SHAPES = [text.replace("(1,)*65", str((1,) * 65)).replace("2**63", str(2**63)).replace("10**30", str(10**30)) for text in SHAPES]
TYPES = [
    "'<f4'",
    "'>f8'",
    "'|b1'",
    "'<c8'",
    "'|O'",
    "'<U3'",
    "'<M8[s]'",
    "'|V4'",
    "'<f2'",
    "'<i8'",
    "'f0'",
    "'<f3'",
    "''",
    "'x'",
    "None",
    "('<f4', (2,))",
]
TYPES += ["[('a', '<f4')]", "'<f4,<f4'", "{'names': ['a'], 'formats': ['<f4']}", "4", "'|S0'", "'<f16'"]
ORDERS = ["False", "True", "None", "1", "'C'"]
FORMS = [
    "{'descr': D, 'fortran_order': F, 'shape': S, }",
    "{'shape': S, 'fortran_order': F, 'descr': D}",
    "{'descr': D, 'shape': S}",
    "{'descr': D, 'fortran_order': F, 'shape': S, 'more': 1}",
]
VERSIONS = [b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09"]
BODIES = [b"", b"\x00" * 12]


def headers():
    """Every combination in which one or two parts are odd: some thousands."""
    for shape, dtype, order, form in itertools.product(SHAPES, TYPES, ORDERS, FORMS):
        if order != "False" and form != FORMS[0]:
            continue
        text = form.replace("D", dtype).replace("F", order).replace("S", shape) if form == FORMS[0] else _filled(form, shape, dtype, order)
        for version, body in itertools.product(VERSIONS[:2] if form == FORMS[0] else VERSIONS[:1], BODIES):
            yield npy(version, text, body)
    for version in VERSIONS:
        yield npy(version, FORMS[0].replace("D", "'<f4'").replace("F", "False").replace("S", "(3,)"), b"\x00" * 12)


def _filled(form, shape, dtype, order):
    return (
        form.replace("D,", f"{dtype},")
        .replace("D}", f"{dtype}}}")
        .replace("F,", f"{order},")
        .replace("S,", f"{shape},")
        .replace("S}", f"{shape}}}")
    )


def npy(version, text, body):
    raw = text.encode("latin1", "replace")
    width = 2 if version[0] == 1 else 4
    return b"\x93NUMPY" + version + len(raw).to_bytes(width, "little") + raw + body


def test_headers_by_grammar_give_an_array_or_malformed_update_and_nothing_else():
    read, refused = 0, []
    for data in headers():
        try:
            value = decode(data)
        except MalformedUpdate as error:
            refused.append(str(error))
        else:
            read += 1
            assert isinstance(value, np.ndarray)
            assert value.dtype.kind in "fiubc"
    assert read > 10
    assert read + len(refused) > 7_000
    assert all(reason.startswith("expected") for reason in refused)


@pytest.mark.parametrize("text", ["{'descr': '<f4\\\x1b', 'fortran_order': 0if 1else 0, 'shape': (3L,)}", "{'shape': (1L,)}"])
def test_nothing_in_a_header_reaches_the_terminal_as_a_warning(text):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(MalformedUpdate):
            decode(npy(VERSIONS[0], text, b"\x00" * 12))
    assert [str(item.message) for item in said] == []


MANY = npy(VERSIONS[0], FORMS[0].replace("D", "'<f4'").replace("F", "False").replace("S", str((1,) * 65)), b"\x00" * 4)


def test_a_header_of_65_dimensions_costs_its_sender_the_round_in_both_apis():
    def many(reply):
        if reply.metadata.src_node_id == 3 and "arrays" in reply.content:
            reply.content["arrays"]["w"].data = MANY
        return reply

    built = ours.Krum(f=2)
    built.start(LocalGrid(client_app(), N, spoil=many), start(), 2)
    assert [report.with_status("invalid") for report in built.reports] == [[3], [3]]
    old = legacy.FedMedian()
    one_round(old, lambda node, tensors: [MANY, *tensors[1:]] if node == 3 else tensors)
    assert old.reports[0].with_status("invalid") == [3]
