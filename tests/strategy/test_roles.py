"""Only what is trained decides: whose weights are kept does not depend on counters, running statistics and masks."""

import logging

import numpy as np
import pytest
import torch
from flwr.server.strategy import FedAdam as LegacyFedAdam
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM

import flwr_byzantine as ours
from flwr_byzantine import ByzantineSGD, InvalidParameter, Robust, rules
from flwr_byzantine.strategy.carried import carried
from flwr_byzantine.strategy.roles import decide, framework_state
from flwr_byzantine.strategy.template import Template
from tests.support.batchnorm import (
    BAD,
    EVERYONE,
    F,
    accuracy,
    backwards,
    disguised,
    federate,
    legacy_federate,
    legacy_over,
    over,
    start,
    statistics,
    weights_of,
    with_statistics,
)

NNM = rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F))
TRAINED = [0, 1, 2, 3, 7, 8]  # positions in the model, of which 4 to 6 are running statistics and their counter
HOSTILE = {"zero": statistics(0.0), "negative": statistics(-5.0), "huge": statistics(1e30)}
RULES = {
    name: rules.parse(name, F)
    for name in (
        *("krum", "multi-krum", "bulyan", "median", "trimmed-mean", "geometric-median", "mea-med", "phocas", "cge", "mda", "smea"),
        *("monna", "caf", "dnc", "sign-guard", "clipped-clustering", "flame", "nnm+trimmed-mean", "nnm+krum", "nnm+geometric-median"),
    )
}


def rejected(strategy):
    return [report.with_status("rejected") for report in strategy.reports]


def same(found, expected):
    return all(np.array_equal(found[name], expected[name]) for name in expected)


def test_the_counter_decides_nothing_in_the_message_api():
    strategy = over(RULES["mda"])
    found, without = federate(strategy, rounds=2), federate(over(RULES["mda"]), model=start(counter=False), rounds=2)
    assert same(found, without)
    assert rejected(strategy) == [list(BAD)] * 2
    assert found["1.num_batches_tracked"].dtype == np.int64
    assert accuracy(found) > 0.7


@pytest.mark.parametrize("policy", [{}, {"judge": TRAINED}], ids=["by form", "by position"])
def test_the_counter_decides_nothing_in_the_legacy_api(policy):
    """Names are missing there: integers are found by their dtype, PyTorch's running statistics by the counter after them."""
    strategy = legacy_over(RULES["mda"], **policy)
    assert same(legacy_federate(strategy, rounds=2), federate(over(RULES["mda"]), rounds=2))
    assert rejected(strategy) == [list(BAD)] * 2


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("api", [federate, legacy_federate])
def test_statistics_of_those_who_are_kept_are_not_thereby_believed(hostile, api):
    strategy = over(NNM) if api is federate else legacy_over(NNM, judge=TRAINED)
    found = api(strategy, HOSTILE[hostile], rounds=2)
    assert rejected(strategy)[0] == []  # honest weights
    assert 0 < found["1.running_var"].min() <= found["1.running_var"].max() < 10
    assert accuracy(found) > 0.7


def test_statistics_of_raw_inputs_decide_nothing():
    model = start(raw=True, counter=False)
    strategy = over(rules.MultiKrum(f=F, m=6))
    found = federate(strategy, disguised, raw=True, model=model, rounds=2)
    assert found["0.running_var"].max() > 1000  # far longer than all weights
    assert not {node for report in strategy.reports for node in report.with_status("kept")} & set(BAD)
    everything = over(rules.MultiKrum(f=F, m=6), judge="all")
    federate(everything, disguised, raw=True, model=model, rounds=2)
    assert {node for report in everything.reports for node in report.with_status("kept")} & set(BAD)  # what it is good for


@pytest.mark.parametrize("inner", [FedAdam, FedAvgM])
def test_server_optimisers_move_the_judged_arrays_alone(inner):
    extra = {"eta": 1.0} if inner is FedAdam else {"server_momentum": 0.9, "server_learning_rate": 1.0}
    strategy = Robust(NNM, inner(**EVERYONE, **extra))
    found = federate(strategy, rounds=3)
    assert found["1.running_var"].min() > 0
    moments = strategy.strategy.m_t if inner is FedAdam else dict(zip(found, strategy.strategy.momentum_vector, strict=True))
    if inner is FedAdam:
        assert not moments["1.running_var"].any()
    assert np.abs(moments["0.weight"]).max() > 0
    assert found["1.num_batches_tracked"].dtype == np.int64


def test_legacy_server_optimisers_leave_the_state_alone():
    strategy = legacy_over(NNM, LegacyFedAdam, judge=TRAINED)
    found = legacy_federate(strategy, rounds=3)
    assert found["1.running_var"].min() > 0
    assert found["1.num_batches_tracked"].dtype == np.int64


MASK = np.triu(np.full((3, 3), -np.inf, np.float32), 1)
ODD = {
    "a mask": (MASK, lambda node: MASK),
    "a fresh observer": (np.float32(np.inf), lambda node: np.float32(-1.5 - 0.01 * node)),
    "an observer that some have used": (np.float32(-np.inf), lambda node: np.float32(-np.inf if node < 8 else 1)),
    "not a number": (np.float32(np.nan), lambda node: np.float32(2)),
    "booleans": (
        np.tril(np.ones((3, 3), bool)),
        lambda node: np.tril(np.ones((3, 3), bool)) if node not in BAD else np.zeros((3, 3), bool),
    ),
    "integers": (np.array([3, 4], np.uint8), lambda node: np.array([5, 255 if node in BAD else 6], np.uint8)),
}
EXPECTED = {
    "a mask": MASK, "a fresh observer": -1.56, "an observer that some have used": -np.inf, "not a number": 2,
    "booleans": np.tril(np.ones((3, 3))), "integers": [5, 6],
}  # fmt: skip


def toy(strategy, buffer, answer, api=federate, rounds=2):
    """A model of one weight vector w, trained towards 1 and more, with one more array; attackers send -10000."""
    model = {"w": np.zeros(10, np.float32), "extra": buffer}

    def reply(got, node):
        w = got["w"] + 1 + 0.01 * np.float32(node) if node not in BAD else np.full(10, -1e4, np.float32)
        return {"w": w, "extra": answer(node)}

    return api(strategy, reply=reply, model=model, rounds=rounds)


@pytest.mark.parametrize("rule", ["krum", "geometric-median", "nnm+trimmed-mean", "median"])
@pytest.mark.parametrize("kind", ODD)
def test_what_is_not_finite_or_no_float_decides_nothing_and_makes_no_reply_invalid(kind, rule):
    buffer, answer = ODD[kind]
    strategy = over(RULES[rule])
    found = toy(strategy, buffer, answer)
    assert not any(report.with_status("invalid") for report in strategy.reports)
    np.testing.assert_allclose(found["w"], 2, atol=0.3)
    np.testing.assert_allclose(found["extra"], EXPECTED[kind], atol=0.02)
    assert found["extra"].dtype == np.asarray(buffer).dtype
    older = legacy_over(RULES[rule], model={"w": np.zeros(10, np.float32), "extra": buffer})
    assert same(toy(older, buffer, answer, legacy_federate), {"w": found["w"]})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_only_what_was_broadcast_may_be_infinite(value):
    strategy = over(RULES["median"])
    toy(strategy, MASK, lambda node: np.where(MASK == 0, np.float32(0), np.float32(value)) if node in BAD else MASK, rounds=1)
    assert strategy.reports[0].with_status("invalid") == list(BAD)


def padded(strategy, padding):
    """A run whose bias holds these values at first; clients send anything in their place."""

    def answer(got, node):
        bias = got["bias"] + np.float32(-900 if node in BAD else 1 + 0.01 * node)
        bias[list(padding)] = (-np.inf, 5.0, np.nan, 1e30)[node % 4]
        return {"w": got["w"] + np.float32(1 + 0.01 * node), "bias": bias}

    model = {"w": np.zeros(10, np.float32), "bias": np.zeros(20, np.float32)}
    for place, value in padding.items():
        model["bias"][place] = value
    return federate(strategy, reply=answer, model=model, rounds=3)


@pytest.mark.parametrize("inner", [FedAdam, FedAvgM, FedAvg])
@pytest.mark.parametrize("rule", ["krum", "cge", "geometric-median", "nnm+trimmed-mean", "centered-clipping"])
def test_a_few_infinite_values_stay_and_the_others_of_their_array_are_judged(rule, inner, tmp_path):
    """A bias of -inf for a padding token: whatever is sent there, the model is the one without it."""
    strategy, plain = over(rules.parse(rule, F), inner, spill=tmp_path), over(rules.parse(rule, F), inner)
    found, expected = padded(strategy, {3: -np.inf, 7: np.nan}), padded(plain, {})
    assert not any(report.with_status("invalid") for report in strategy.reports)
    assert found["bias"][3] == -np.inf
    assert np.isnan(found["bias"][7])
    others = np.setdiff1d(np.arange(20), [3, 7])
    if rule == "krum":
        assert rejected(strategy) == rejected(plain)
    if rule in ("krum", "nnm+trimmed-mean"):
        np.testing.assert_allclose(found["bias"][others], expected["bias"][others], rtol=1e-5)
    assert np.isfinite(found["bias"][others]).all()


@pytest.mark.parametrize("inner", [FedAdam, FedAvg])
def test_optimisers_over_infinite_and_boolean_state_make_no_noise(inner):
    for kind in ("a mask", "a fresh observer", "booleans"):
        found = toy(over(NNM, inner), *ODD[kind], rounds=3)
        assert np.isfinite(found["w"]).all()
        np.testing.assert_allclose(found["extra"], EXPECTED[kind], atol=0.02)


def test_complex_weights_are_judged_as_pairs():
    strategy = over(RULES["krum"])
    goal = np.array([1 + 2j, -1j, 3], np.complex64)
    found = toy(strategy, np.zeros(3, np.complex64), lambda node: goal + np.complex64(0.01 * node) * (-9e5 if node in BAD else 1), rounds=1)
    assert found["extra"].dtype == np.complex64
    np.testing.assert_allclose(found["extra"], goal, atol=0.2)


def test_an_optimiser_that_diverges_ends_the_run_with_the_array_s_name():
    class Diverges(FedAvg):
        def aggregate_train(self, server_round, replies):
            arrays, metrics = super().aggregate_train(server_round, replies)
            arrays["w"] = type(arrays["w"])(np.full(10, np.nan, np.float32))
            return arrays, metrics

    with pytest.raises(InvalidParameter, match="array 'w' of the model is not finite any more"):
        toy(over(NNM, Diverges), *ODD["integers"])


def test_the_log_says_once_what_is_judged(caplog):
    with caplog.at_level(logging.INFO, logger="flwr"):
        federate(over(NNM), rounds=2, epochs=1)
    said = [record.getMessage() for record in caplog.records if "judged" in record.getMessage()]
    assert [text.split(": ", 1)[1] for text in said] == ["judged 6 arrays, 4,938 values; state: 3 BatchNorm arrays"]


@pytest.mark.parametrize("judge", [["1.*"], "no.such.pattern", [99], [-1], lambda name, value: False, "extra"])
def test_a_judge_that_does_not_fit_the_model_is_refused_in_the_first_round(judge):
    with pytest.raises(InvalidParameter, match="judge"):
        toy(over(NNM, judge=judge), *ODD["booleans"], rounds=1)


@pytest.mark.parametrize(
    ("judge", "expected"),
    [("trained", "wc"), ("all", "wrnc"), (["w", "r*"], "wr"), ([0, 2], "wn"), ("[rn]", "rn"), (lambda name, value: value.ndim > 1, "w")],
    ids=["trained", "all", "patterns", "positions", "pattern", "function"],
)
def test_who_says_what_is_judged(judge, expected):
    sizes = {"w": np.ones((2, 2)), "running_mean": np.ones(2), "n": np.array(3), "c": np.ones(2, np.complex64), "mask": np.array(True)}
    short = {"running_mean": "r"}
    roles = decide({short.get(name, name): value for name, value in sizes.items()}, judge)
    judged = roles.judged(roles.sizes)
    assert "".join(judged) == expected if judge != "trained" else set(judged) >= {"w", "c"}
    assert "mask" in roles.kinds


STATE = [
    *("bn1.running_mean", "layer1.0.bn2.num_batches_tracked", "moving_mean", "batch_normalization_3/moving_variance:0", "bn.var"),
    *("batch_stats/BatchNorm_0/mean", "batch_norm/~/mean_ema/average", "batch_norm/~/var_ema.hidden", "normalization_1/variance"),
    *("bn1.mean.value", "batchnorm2d_1/mean", "spectral_normalization_1/vector_u:0", "fc.parametrizations.weight.0._u"),
    *("conv.activation_post_process.min_val", "fc.weight_fake_quant.scale", "fc.weight_fake_quantizer.scale", "observer.max_val"),
]
WEIGHTS = [
    *("0.weight", "params/BatchNorm_0/scale", "batch_normalization/gamma:0", "encoder.mean.weight", "rnn.weight_u", "observer_net.bias"),
    *("blocks.0.attn.qkv.lora_A.weight", "head.scale", "params/mean", "running.weight", "moving_average_head/kernel"),
    *("bnn1.mean", "bnn1.var"),
]


@pytest.mark.parametrize("name", [*STATE, *WEIGHTS])
def test_the_frameworks_names(name):
    assert bool(framework_state(name)) == (name in STATE)


def test_a_list_of_a_torch_model_s_arrays_shows_its_running_statistics():
    arrays = {str(place): value for place, value in enumerate(start().values())}
    assert decide(arrays, "trained").kinds == {"4": "BatchNorm", "5": "BatchNorm", "6": "integer"}
    del arrays["6"]  # without the counter nothing tells them from two biases
    assert decide(arrays, "trained").kinds == {}
    found = legacy_federate(legacy_over(NNM, LegacyFedAdam), rounds=3)
    assert found["1.running_var"].min() > 0


def test_other_vectors_before_an_integer_are_weights():
    vector, matrix, counter = np.ones(3, np.float32), np.ones((3, 3), np.float32), np.array(0)
    for arrays in ([matrix, vector, vector, counter], [matrix, vector, vector, vector, counter], [*[vector] * 3, -vector, counter]):
        assert set(decide({str(place): value for place, value in enumerate(arrays)}, "trained").kinds.values()) == {"integer"}
    layer = {str(place): value for place, value in enumerate([matrix, vector, vector, vector, vector, counter, matrix])}
    assert decide(layer, "trained", shared=["0", "1", "2", "5", "6"]).kinds == {"5": "integer"}  # mean and variance stay at home
    assert decide(layer, "trained").kinds == {"3": "BatchNorm", "4": "BatchNorm", "5": "integer"}


def test_complex_values_that_are_infinite_in_one_half_stay():
    model = {"w": np.zeros(10, np.float32), "c": np.zeros(20, np.complex64)}
    model["c"][0] = -np.inf
    strategy = over(RULES["median"])
    found = federate(strategy, reply=lambda got, node: {"w": got["w"] + 1, "c": got["c"] + np.complex64(1j)}, model=model, rounds=3)
    assert found["c"][0].real == -np.inf
    np.testing.assert_allclose(found["c"][1:], 3j)


@pytest.mark.parametrize("judge", [range(2), [np.int64(0), np.int64(1)], (0, 1)])
def test_positions_of_any_integers(judge):
    strategy = over(NNM, judge=judge)
    federate(strategy, rounds=1, epochs=1)
    assert strategy.reports[0].notes[0].startswith("judged 2 arrays")


def test_spectral_normalisation_of_either_kind_is_no_weight():
    layer = torch.nn.utils.spectral_norm(torch.nn.Linear(3, 2))
    for module in (layer, torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(3, 2))):
        arrays = {name: value.numpy() for name, value in torch.nn.Sequential(module).state_dict().items()}
        roles = decide(arrays, "trained")
        assert set(roles.kinds.values()) == {"power iteration"}
        assert [arrays[name].size for name in roles.judged(arrays)] == [2, 6]


def test_a_model_of_integers_is_judged_by_these():
    assert decide({"a": np.ones(3, np.int8), "b": np.ones(2, np.int8)}, "trained").kinds == {}


def test_without_state_nothing_is_different():
    template = Template({"a": np.ones(3), "b": np.ones((2, 2), np.float32)})
    assert template.roles == decide({"a": np.ones(3), "b": np.ones((2, 2))}, "trained")


def test_values_of_state_lie_among_the_honest_ones():
    rows = [np.array([value, 10 * value]) for value in (1.0, 2.0, 3.0, 1e300, -1e300)]
    assert carried(rows, np.zeros(2), 2).tolist() == [2.0, 20.0]
    assert carried(rows, np.zeros(2), 1).tolist() == [2.0, 20.0]
    assert carried(rows, np.zeros(2), 0).tolist() == [2.0, 20.0]
    counters = [np.array([value], np.int64) for value in (4, 5, 8, 2**62, -(2**62))]
    assert carried(counters, counters[0], 1).tolist() == [6]
    votes = [np.array([True, True, False])] * 2 + [np.array([False, True, False])] * 2
    assert carried(votes, np.array([True, False, False]), 1).tolist() == [True, True, False]


def test_the_rule_s_own_state_and_the_roles_go_on_from_the_checkpoint(tmp_path):
    """An observer that was infinite in the first round only stays state, or the rule's vectors would not fit."""
    buffer, answer = ODD["a fresh observer"]
    model = {"w": np.zeros(10, np.float32), "extra": buffer}

    def made(path):
        return over(rules.CenteredClipping(f=F), checkpoint=path, resume=True)

    def run(path, rounds):
        return toy(made(path), model["extra"], answer, rounds=rounds)

    run(tmp_path / "a", 2)
    assert same(run(tmp_path / "a", 4), run(tmp_path / "b", 4))


def test_spilled_rounds_and_certificates_are_the_same(tmp_path):
    plain, spilled = over(NNM, certificate=True), over(NNM, certificate=True, spill=tmp_path)
    assert same(federate(spilled, rounds=1, epochs=1), federate(plain, rounds=1, epochs=1))
    assert plain.reports[0].certificate == spilled.reports[0].certificate


def test_a_trusted_update_is_of_the_judged_arrays():
    def train(server_round, arrays):
        return {name: array.numpy() + np.float32(1) if name == "w" else array.numpy() for name, array in arrays.items()}

    strategy = ours.FLTrust(server_update=train, **EVERYONE)
    found = toy(strategy, *ODD["booleans"], rounds=1)
    np.testing.assert_allclose(found["w"], 1, atol=0.01)


def test_gradients_leave_state_as_it_was_broadcast():
    strategy = ByzantineSGD(RULES["median"], step_size=0.1, momentum=0.9, strategy=FedAvg(**EVERYONE))
    found = toy(strategy, np.array([7], np.int64), lambda node: np.array([5], np.int64), rounds=2)
    assert found["extra"].tolist() == [7]
    assert len(strategy.descent.velocity) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_batchnorm_costs_no_rule_its_robustness(name):
    expected = accuracy(federate(over(RULES[name]), model=start(counter=False), rounds=5))
    assert accuracy(federate(over(RULES[name]), rounds=5)) > expected - 0.02
    honest = federate(over(RULES[name]), lambda model, found: found, rounds=5)
    for attack in HOSTILE.values():
        found = federate(over(RULES[name]), attack, rounds=5)
        assert same(weights_of(found), weights_of(honest))
        assert accuracy(found) > accuracy(honest) - 0.03


@pytest.mark.slow
@pytest.mark.parametrize("attack", [backwards, disguised])
@pytest.mark.parametrize("name", RULES)
def test_statistics_of_raw_inputs_cost_no_rule_its_robustness(name, attack):
    """Against the same run in which clients send what is trained alone, and the statistics are taken at its end."""
    weights = federate(over(RULES[name]), attack, raw=True, model=weights_of(start(raw=True)), rounds=5)
    found = federate(over(RULES[name]), attack, raw=True, model=start(raw=True, counter=False), rounds=5)
    assert same(weights_of(found), weights)
    assert accuracy(found, raw=True) > accuracy(with_statistics(weights, raw=True), raw=True) - 0.03
