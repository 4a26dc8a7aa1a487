"""Every rule, and every chain of README and pages, with every kind of model in the zoo: only what is trained decides."""

import random
import re
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
import pytest
import torch
from flwr.app import Array
from flwr.common import ndarrays_to_parameters
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine import Robust, legacy, rules
from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.strategy.roles import decide
from tests.support.batchnorm import BAD, EVERYONE, F, N, federate, legacy_federate
from tests.support.models import KINDS, absurd, backwards, infinite
from tests.support.rules import RULES

HONEST = [node for node in range(1, N + 1) if node not in BAD]


def chains():
    """Those that README and the pages name, short or long, with f = 2."""
    root = Path(__file__).parents[2]
    text = "".join(path.read_text(encoding="utf-8") for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))])
    short = set(re.findall(r"\b[a-z]+[a-z-]*(?:\+[a-z][a-z-]+)+\b", text))
    long = re.findall(r"[A-Z]\w+\([^()]*\)(?: \+ [A-Z]\w+\([^()]*\))+", text)
    made = [rules.chain(*(eval(f"rules.{part}") for part in name.split(" + "))) for name in long]
    return [rules.parse(name, F) for name in sorted(short)] + [rule.with_f(F) for rule in made]


EVERY_RULE = list({str(rule): rule for rule in [*RULES, *chains()]}.values())
SOME_RULES = [rules.parse(name, F) for name in ("krum", "median", "centered-clipping", "nnm+trimmed-mean")]
SOME_KINDS = ["masks", "counters"]


@cache
def first_answer(kind, node):
    """What an honest client makes of the kind's first model."""
    return KINDS[kind].trained(KINDS[kind].model(), node, 1)


class Clients:
    """Answers of a round, remembered: the attackers' weights go backwards, and their state is absurd; later one has no finite weights."""

    def __init__(self, kind):
        self.name, self.kind, self.sent = kind, KINDS[kind], {}
        self.judged, self.one_at_a_time = set(self.kind.judged()), Lock()  # Flower's legacy server has threads, torch one generator

    def __call__(self, got, node):
        with self.one_at_a_time:
            return self.answer(got, node, 1 + sum(1 for _, who in self.sent if who == node))

    def answer(self, got, node, number):
        answer = first_answer(self.name, node) if number == 1 else self.kind.trained(got, node, number)
        self.sent[number, node] = self.spoilt(got, answer, node, number) if node in BAD else answer
        return self.sent[number, node]

    def spoilt(self, got, answer, node, number):
        state = {name: absurd(value, 1 if node == BAD[0] else -1) for name, value in answer.items() if name not in self.judged}
        made = backwards if node == BAD[0] else (lambda old, new: new) if number == 1 else (lambda old, new: infinite(new))
        return {name: state[name] if name in state else made(got[name], value) for name, value in answer.items()}

    def server(self, number, arrays):
        got = {name: array.numpy() for name, array in arrays.items()}
        return self.sent.setdefault((number, "server"), self.kind.trained(got, 11, number))

    def honest(self, number, name):
        return np.array([self.sent[number, node][name] for node in HONEST])


class Again:
    """The same answers once more, without state."""

    def __init__(self, clients):
        self.clients, self.asked = clients, []

    def __call__(self, got, node):
        self.asked.append(node)
        return self.stripped(self.clients.sent[self.asked.count(node), node])

    def server(self, number, arrays):
        return self.stripped(self.clients.sent[number, "server"])

    def stripped(self, arrays):
        return {name: value for name, value in arrays.items() if name in self.clients.judged}


def run(rule, clients, model):
    """The model after two rounds, and what became of every node."""
    random.seed(0)  # of which a run takes its own
    strategy = Robust(rule, FedAvg(**EVERYONE), server_update=clients.server)
    found = federate(strategy, reply=clients, model=model, rounds=2)
    return found, [{node: entry.status for node, entry in report.nodes.items()} for report in strategy.reports]


def check(name, rule):
    clients, model = Clients(name), KINDS[name].model()
    found, became = run(rule, clients, model)
    assert [[node for node in status if status[node] == "invalid"] for status in became] == [[], [BAD[1]]]
    assert list(found) == list(model)
    for name, value in found.items():
        honest = clients.honest(2, name)
        assert (value.dtype, value.shape) == (honest.dtype, honest.shape[1:])
        if name in clients.judged:
            assert np.isfinite(value).all()
        else:
            assert (honest.min(0) <= value).all()
            assert (value <= honest.max(0)).all()
    if len(clients.judged) < len(found):
        again = Again(clients)
        stripped, anew = run(rule, again, again.stripped(model))
        assert anew == became
        assert all(np.array_equal(found[name], value) for name, value in stripped.items())


@pytest.mark.parametrize("rule", EVERY_RULE, ids=str)
@pytest.mark.parametrize("kind", SOME_KINDS)
def test_with_every_rule_only_what_is_trained_decides(kind, rule):
    check(kind, rule)


@pytest.mark.parametrize("rule", SOME_RULES, ids=str)
@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(SOME_KINDS)))
def test_in_every_kind_of_model_only_what_is_trained_decides(kind, rule):
    check(kind, rule)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(SOME_KINDS)))
def test_every_rule_and_every_kind(kind):
    for rule in EVERY_RULE:
        check(kind, rule)


@pytest.mark.parametrize("kind", KINDS)
def test_under_the_legacy_api_the_model_is_the_same(kind):
    """By the positions of what is trained; names are unknown there."""
    rule, model, clients = SOME_RULES[-1], KINDS[kind].model(), Clients(kind)
    places = [place for place, name in enumerate(model) if name in clients.judged]
    parameters = ndarrays_to_parameters([np.asarray(value) for value in model.values()])
    inner = LegacyFedAvg(fraction_evaluate=0.0, initial_parameters=parameters, on_fit_config_fn=lambda number: {"round": number})
    found = legacy_federate(legacy.Robust(rule, inner, judge=places), reply=clients, model=model, rounds=2)
    expected, _ = run(rule, Clients(kind), model)
    assert all(np.array_equal(found[name], value) and found[name].dtype == value.dtype for name, value in expected.items())


@pytest.mark.parametrize("kind", KINDS)
def test_the_names_alone_say_what_is_trained(kind):
    model = KINDS[kind].model()
    roles = decide(model, "trained", [name for name, value in model.items() if not np.isfinite(value).all()])
    assert [name for name in roles.judged(model) if model[name].size] == [name for name in KINDS[kind].judged() if model[name].size]
    moved = first_answer(kind, 1)
    assert any(not np.array_equal(model[name], moved[name]) for name in roles.judged(model))


@pytest.mark.parametrize("rule", EVERY_RULE, ids=str)
def test_weights_that_are_tied_stay_tied(rule):
    found, _ = run(rule, Clients("tied weights"), KINDS["tied weights"].model())
    assert np.array_equal(found["first.weight"], found["again.weight"])


def test_bfloat16_in_npy_bytes_is_one_clear_sentence():
    """As ml_dtypes writes it; Flower's own arrays of torch's bfloat16 cannot even be made."""
    with pytest.raises(MalformedUpdate, match="send float32, which holds them exactly"):
        federate(Robust(SOME_RULES[0], FedAvg(**EVERYONE)), reply=lambda got, node: got, model={"w": np.zeros(3, "V2")})
    with pytest.raises(TypeError, match="BFloat16"):
        Array(torch.zeros(2, dtype=torch.bfloat16))
