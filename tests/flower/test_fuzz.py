"""Mutated replies, in both APIs, in training and in evaluation; `python -m tests.fuzz` runs a hundred thousand."""

import random

import numpy as np
import pytest

from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.flower.decode import decode
from flwr_byzantine.strategy.template import Template
from tests import fuzz
from tests.support import mutations


@pytest.mark.parametrize("seed", range(4))
def test_mutated_replies_end_nothing_bend_nothing_and_blame_nobody_else(seed):
    assert fuzz.fuzz(3 * fuzz.CASES, seed) == {}


@pytest.mark.slow
def test_thousands_of_mutated_replies_do_neither():
    assert fuzz.fuzz(10_000, seed=10) == {}


def test_the_fuzzer_notices_a_reply_that_is_used_and_is_no_model(monkeypatch):
    monkeypatch.setattr(Template, "read", lambda self, payloads: list(self.values))
    assert any("used what is no model" in what for what in fuzz.fuzz(2 * fuzz.CASES, seed=0))


def test_the_fuzzer_notices_what_reading_a_reply_raises(monkeypatch):
    def read(reply, template):
        try:
            return template.read(reply.payloads)
        except MalformedUpdate as error:
            return str(error)

    monkeypatch.setattr("flwr_byzantine.strategy.inspection.rows_or_reason", read)
    assert any(what.startswith(("AttributeError", "TypeError")) for what in fuzz.fuzz(2 * fuzz.CASES, seed=0))


def test_headers_by_grammar_are_read_or_refused():
    """`MalformedUpdate` and nothing else, though NumPy fails at them in many ways."""
    rng, values, read, raised = random.Random(0), np.arange(6, dtype=np.float32).tobytes(), 0, set()
    for _ in range(1_000):
        data = mutations.header(rng) + values
        try:
            decode(data)
            read += 1
        except MalformedUpdate as error:
            text = str(error)
            raised.add(text.rpartition("(")[2] if text.endswith("Error)") else text[: len("expected numbers, got dtype")])
    assert read > 100
    assert raised > {"KeyError)", "TokenError)", "TypeError)", "ValueError)", "expected numbers, got dtype"}
    assert len(raised) > 5
