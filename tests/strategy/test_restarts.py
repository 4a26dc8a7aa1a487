"""A run that is started again goes on from its checkpoint, or is told in one sentence why it cannot: both APIs."""

import logging
import os
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.common import ndarrays_to_parameters
from flwr.serverapp import strategy as flower

import flwr_byzantine as ours
from flwr_byzantine import InvalidParameter, Robust, legacy, rules
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy import checkpoint, lock
from tests.support.federation import N, client_app, run, start, values
from tests.support.legacy import MODEL, Clients, one_round, proxies
from tests.support.replies import nan, spoiled
from tests.support.stateful import MAKERS, median


@pytest.mark.parametrize("name", MAKERS)
def test_a_resumed_run_ends_bit_for_bit_as_one_that_was_not_interrupted(name, tmp_path):
    seen = []

    def measure(server_round, arrays):
        seen.append(server_round)

    def rounds(count, **policy):
        strategy = MAKERS[name](**policy)
        return strategy, strategy.start(LocalGrid(client_app(), N, spoil=spoiled(nan, (4,))), start(), count, evaluate_fn=measure)

    whole, expected = rounds(6)
    path = tmp_path / "run.npz"
    rounds(2, checkpoint=path)
    rounds(3, checkpoint=path, resume=True)
    seen.clear()
    resumed, result = rounds(6, checkpoint=path, resume=True)
    np.testing.assert_array_equal(values(result.arrays), values(expected.arrays))
    assert resumed.reports == whole.reports
    assert len({report.run for report in resumed.reports}) == 1
    assert seen == [3, 4, 5, 6]
    assert list(result.train_metrics_clientapp) == [4, 5, 6]
    _, same = rounds(6, checkpoint=path, resume=True)
    np.testing.assert_array_equal(values(same.arrays), values(expected.arrays))
    assert [item.name for item in tmp_path.iterdir()] == ["run.npz"]


def test_nothing_left_to_do_is_said(tmp_path, caplog):
    path = tmp_path / "run.npz"
    run(median(path), 2)
    with caplog.at_level(logging.INFO, "flwr"):
        run(median(path, resume=True), 2)
    assert f"already complete: 2 of 2 rounds are in {path}; nothing is left to do" in caplog.text
    with caplog.at_level(logging.INFO, "flwr"):
        assert [legacy.FedMedian(checkpoint=path, resume=True).rounds_left(count) for count in (5, 2, 1)] == [3, 0, 0]
    assert caplog.text.count("already complete") == 3
    assert legacy.FedMedian(checkpoint=tmp_path / "none", resume=True).rounds_left(5) == 5


def test_a_legacy_strategy_resumes_from_its_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    strategy = legacy.FedMedian(checkpoint=path)
    parameters, _ = one_round(strategy)
    resumed = legacy.FedMedian(checkpoint=path, resume=True, initial_parameters=ndarrays_to_parameters(MODEL))
    model = resumed.initialize_parameters(Clients())
    assert model.tensors == parameters.tensors
    one_round(resumed)
    assert [report.server_round for report in resumed.reports] == [1, 2]
    with pytest.raises(InvalidParameter, match="another run of this process writes"):
        one_round(strategy)
    other = legacy.FedMedian(checkpoint=path, resume=True, initial_parameters=ndarrays_to_parameters([np.zeros((2, 4)), MODEL[1]]))
    with pytest.raises(
        InvalidParameter, match=r"another model: array '0' is float32 of shape \(2, 3\) there, float64 of shape \(2, 4\) here"
    ):
        other.initialize_parameters(Clients())


def changed(**arrays):
    return ArrayRecord({**start(), **{name: Array(value) for name, value in arrays.items()}})


@pytest.mark.parametrize(
    ("again", "said"),
    [
        (lambda **policy: ours.FedTrimmedAvg(f=2, **policy), "another strategy: 'FedMedian' there, 'FedTrimmedAvg' here"),
        (lambda **policy: ours.FedMedian(f=2, **policy), r"another rule: 'Median\(f=24\) at 50 .* there, 'Median\(f=2\)' here"),
        (lambda **policy: Robust(rules.Median(f=2), flower.FedAdam(), **policy), "'FedMedian' there, 'Robust over FedAdam' here"),
        (lambda **policy: ours.FedMedian(run_name="b", **policy), "another run name: None there, 'b' here"),
    ],
)
def test_a_checkpoint_of_another_strategy_rule_or_run_is_refused_and_both_are_named(again, said, tmp_path):
    path = tmp_path / "run.npz"
    run(median(path), 1)
    with pytest.raises(InvalidParameter, match=said) as caught:
        run(again(checkpoint=path, resume=True), 2)
    assert str(path) in str(caught.value)
    run(median(path, resume=True), 2)  # it is as it was, and free


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (changed(w=np.zeros((3, 2), np.float32)), r"array 'w' is float32 of shape \(2, 3\) there, float32 of shape \(3, 2\) here"),
        (changed(w=np.zeros((2, 3))), r"array 'w' is float32 of shape \(2, 3\) there, float64"),
        (changed(x=np.zeros(2)), r"array 'x' is nothing there, float64 of shape \(2,\) here"),
        (ArrayRecord({name: array for name, array in start().items() if name != "n"}), "array 'n' is int64 .* there, nothing here"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_and_both_are_named(model, said, tmp_path):
    path = tmp_path / "run.npz"
    run(median(path), 1)
    with pytest.raises(InvalidParameter, match=f"another model: {said}.*; give the model that the run began with"):
        median(path, resume=True).start(LocalGrid(client_app(), N), model, 2)


class AppGrid(LocalGrid):
    def __init__(self, app):
        super().__init__(client_app(), N)
        self.run = SimpleNamespace(fab_id=app, run_id=1)


def test_two_apps_with_one_model_and_rule_cannot_have_one_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    median(path).start(AppGrid("us/mri"), start(), 1)
    with pytest.raises(InvalidParameter, match="another app: 'us/mri' there, 'us/ct' here; two apps cannot have one checkpoint"):
        median(path, resume=True).start(AppGrid("us/ct"), start(), 2)
    median(path, resume=True).start(LocalGrid(client_app(), N), start(), 2)  # outside `flwr run` no app is known
    median(path, resume=True).start(AppGrid("us/mri"), start(), 3)


def test_the_legacy_api_knows_the_app_by_its_clients(tmp_path, monkeypatch):
    path, app = tmp_path / "run.npz", SimpleNamespace(run=SimpleNamespace(fab_id="us/mri"))
    monkeypatch.setattr(Clients, "sample", lambda *_, **__: [SimpleNamespace(**vars(proxy), grid=app) for proxy in proxies()])
    one_round(legacy.FedMedian(checkpoint=path))
    resumed = legacy.FedMedian(checkpoint=path, resume=True)
    resumed.initialize_parameters(Clients())
    app.run.fab_id = "us/ct"
    with pytest.raises(InvalidParameter, match="another app: 'us/mri' there, 'us/ct' here"):
        one_round(resumed)


def test_without_resume_no_checkpoint_is_overwritten(tmp_path):
    path = tmp_path / "run.npz"
    early = median(path)
    run(median(path), 1)
    said = "exists, and would be overwritten; pass resume=True to go on from it, move it away, or give another path"
    for build in (median, lambda path: legacy.FedMedian(checkpoint=path)):
        with pytest.raises(InvalidParameter, match=said):
            build(path)
    with pytest.raises(InvalidParameter, match=said):
        run(early, 1)
    elsewhere = median(tmp_path / "other", resume=True)
    run(elsewhere, 1)
    elsewhere.checkpoint = path
    with pytest.raises(InvalidParameter, match=said):
        elsewhere.core.keep(2, {"w": np.ones(2)})  # at the end of the next round
    assert checkpoint.load(path).facts["run"] != elsewhere.core.state.run


def private(inner):
    return flower.DifferentialPrivacyServerSideFixedClipping(inner, 0.1, 1.0, N)


def test_under_a_strategy_around_this_one_resume_is_refused_and_its_change_of_the_model_is_said_once(tmp_path, caplog):
    with pytest.raises(InvalidParameter, match=r"resume=True goes on in start\(\).*a strategy around this one"):
        run(private(median(tmp_path / "run", resume=True)), 1)
    with caplog.at_level(logging.WARNING, "flwr"):
        run(private(median(tmp_path / "run")), 3)
    assert caplog.text.count("the model of round 1 was changed before it was sent") == 1
    caplog.clear()
    run(median(tmp_path / "plain"), 3)
    assert "was changed" not in caplog.text


def test_a_second_run_at_the_same_time_is_refused_and_the_first_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    path, refused = tmp_path / "run.npz", []

    def meanwhile(server_round, arrays):
        with pytest.raises(InvalidParameter, match=f"process {os.getpid()} on .* writes"):
            run(median(path, resume=True), 3)
        refused.append(server_round)

    median(path).start(LocalGrid(client_app(), N), start(), 2, evaluate_fn=meanwhile)
    assert refused == [0, 1, 2]
    assert checkpoint.load(path).server_round == 2
