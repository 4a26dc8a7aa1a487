"""Engine "batched" against engine "local": the same federation, on arrays instead of messages."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from flwr_byzantine import Robust, attacks, rules
from flwr_byzantine.errors import InfeasibleRound, InvalidParameter
from flwr_byzantine.experiments.tasks import Task, batched, training
from flwr_byzantine.experiments.tasks.batched import federation, recorded
from flwr_byzantine.experiments.tasks.batched.clients import Clients
from flwr_byzantine.experiments.tasks.batched.federation import Federation
from flwr_byzantine.experiments.tasks.batched.stacked import Optimizers, Program, Steps, Team, stacks
from flwr_byzantine.experiments.tasks.engines import federate_on
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.rules.parsing import parse_strategy
from flwr_byzantine.strategy.in_process import InProcess
from tests.support.batched import CELLS, GRADIENTS, MODELS, Counting, dropping, frozen, normed, tied

ALONE = [
    *("dropout", "batch norm", "running mean", "convolutions", "gradients with dropout", "gradients of convolutions"),
    *("gradients of what is not used, one by one", "decay of what is not used, one by one"),
]


@pytest.mark.parametrize("name", CELLS)
def test_both_engines_measure_the_same(name):
    task, strategy, attack = CELLS[name]
    rule, found = parse_strategy(strategy, 2, {"radius": 2.0} if "clipping" in strategy else {}), []
    for engine in ("local", "batched"):
        history, arrays = federate_on(engine, task, rule, attack, 3, processes=1)
        found.append((history, np.concatenate([value.ravel() for value in arrays.values()])))
    (one, model_one), (other, model_other) = found
    assert one.accuracy == other.accuracy
    assert one.notices == other.notices
    np.testing.assert_allclose(model_other, model_one, atol=2e-5)
    for measure, values in one.measures().items():
        np.testing.assert_allclose(other.measures()[measure], values, rtol=2e-3, atol=2e-4, err_msg=measure)


@pytest.mark.parametrize("name", ALONE)
def test_clients_that_train_one_by_one_give_the_bits_of_engine_local(name):
    task, strategy, attack = CELLS[name]
    models = [federate_on(engine, task, parse_strategy(strategy, 2, {}), attack, 2, processes=1)[1] for engine in ("local", "batched")]
    assert all(np.array_equal(models[0][key], models[1][key]) for key in models[0])


@pytest.mark.parametrize("name", ["alie", "convolutions", "gradients"])
def test_threads_do_not_change_a_bit(name):
    task, strategy, attack = CELLS[name]
    rule = parse_strategy(strategy, 2, {"radius": 2.0} if "clipping" in strategy else {})
    models = [batched.federate(task, rule, attack, 2, threads=threads)[1] for threads in (1, 3)]
    assert all(np.array_equal(models[0][key], models[1][key]) for key in models[0])


@pytest.mark.parametrize("at_one_model", [True, False])
def test_what_vmap_would_take_one_after_the_other_is_no_program(at_one_model):
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.out = nn.LSTM(8, 4, batch_first=True), nn.Linear(4, 10)

        def forward(self, x):
            return self.out(self.lstm(x.view(len(x), 8, 8))[0][:, -1])

    for _ in range(2):
        assert not stacks(Rows(), torch.ones(2, 64), at_one_model)
    assert stacks(nn.Linear(64, 10), torch.ones(2, 64), at_one_model)


@pytest.mark.parametrize("name", ["alie", "gradients", "frozen layer"])
def test_what_is_recorded_gives_the_same_bits(name, monkeypatch):
    task, strategy, attack = CELLS[name]
    rule = parse_strategy(strategy, 2, {"radius": 2.0} if "clipping" in strategy else {})
    models, made = [], []
    monkeypatch.setattr(
        recorded.Recordings, "make", lambda self, make=recorded.Recordings.make: (make(self), made.append(len(self.programs)))
    )
    for often in (10**9, 2):
        monkeypatch.setattr(recorded, "OFTEN", often)
        models.append(batched.federate(task, rule, attack, 5, threads=2)[1])
    assert not any(made[:5])
    assert made[-1] > 0
    assert all(np.array_equal(models[0][key], models[1][key]) for key in models[0])


def test_code_of_somebody_is_not_recorded():
    """It may count calls, or draw."""
    task = replace(GRADIENTS, model="tests.support.batched:Counting")
    assert Clients(task, model(task), lambda client: training.local_data(task, client)).recordings is None
    assert not recorded.settled(Counting(None, 2))
    assert recorded.settled(tied(None, 2))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "nadam", "radam", "adamax", "rmsprop", "adagrad", "adadelta"])
def test_each_optimiser_of_torch_trains_unequal_shares_together_as_one_by_one(optimizer):
    task = Task(num_clients=7, alpha=0.2, local_epochs=2, batch_size=16, optimizer=optimizer, lr=0.01, weight_decay=0.01, hidden=(8,))
    net = model(task)
    broadcast = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    clients = Clients(task, net, lambda client: training.local_data(task, client))
    assert clients.together
    assert len({len(training.local_data(task, client)[1]) for client in range(7)}) > 4
    together = clients.models(broadcast, range(7), 1).arrays
    for client, arrays in enumerate(together):
        alone = model(task)
        training.train(alone, task, *training.local_data(task, client), training.randomness(task, client, 1))
        for name, value in alone.state_dict().items():
            np.testing.assert_allclose(arrays[name], value.numpy(), atol=5e-5, err_msg=name)


def test_large_teams_are_divided_and_give_the_same(monkeypatch):
    task = Task(num_clients=7, alpha=0.5, local_epochs=1)
    broadcast = {name: value.numpy().copy() for name, value in model(task).state_dict().items()}
    found = []
    for values in (1 << 20, 3 * 4810):
        monkeypatch.setattr("flwr_byzantine.experiments.tasks.batched.clients.TEAM_VALUES", values)
        clients = Clients(task, model(task), lambda client: training.local_data(task, client))
        found.append((len(clients._teams(range(7))), clients.models(broadcast, range(7), 1).rows))
    assert [count for count, _ in found] == [1, 3]
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-6)


def test_rows_that_fill_up_a_batch_count_for_nothing():
    net = nn.Linear(3, 2)
    x, y, steps = torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 1, 0]), [[torch.tensor([1, 2, 3])], [torch.tensor([4])]]
    teams = []
    for rest in (x, x.index_fill(0, torch.tensor(0), 1e6)):
        teams.append(Team(Program(net), net.state_dict(), 2, lambda tensors: torch.optim.SGD(tensors, lr=0.1)))
        teams[-1].train(rest, y, Steps(steps))
    assert torch.equal(teams[0].weights["weight"], teams[1].weights["weight"])


class Odd(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        for tensor in self.param_groups[0]["params"]:
            self.state[tensor]["odd"] = torch.zeros(5)


def test_an_optimiser_whose_state_is_not_of_its_values_is_refused():
    optimizers = Optimizers(lambda tensors: Odd(tensors, lr=0.1), [torch.zeros(3, 2)], 3)
    optimizers.step(3, [torch.ones(3, 2)])
    with pytest.raises(InvalidParameter, match=r"Odd keeps a state of shape \(5,\) for values of shape \(3, 2\).*take the engine 'local'"):
        optimizers.step(2, [torch.ones(2, 2)])


@pytest.mark.parametrize(("net", "draws", "mixes"), [(dropping, True, False), (normed, False, True), (frozen, False, False)])
def test_what_cannot_train_together_is_found_out(net, draws, mixes):
    x = torch.randn(2, 1, 8, 8)
    made = net((1, 8, 8), 10)
    before = torch.random.get_rng_state()
    assert (training.draws(made, x), training.mixes(made, x)) == (draws, mixes)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_round_with_too_few_replies_is_skipped_and_the_report_says_so():
    server, first = InProcess(Robust(rules.Krum(f=1), max_skipped_rounds=2)), {"w": np.zeros(3)}
    with server.running(first):
        assert server.round(1, first, {1: {"w": np.ones(3)}}) is first
        with pytest.raises(InfeasibleRound, match="skipped 2 rounds in a row"):
            server.round(2, first, {1: {"w": np.ones(3)}})
        assert server.round(3, first, {node: {"w": np.ones(3)} for node in range(5)})["w"].tolist() == [1.0, 1.0, 1.0]
    assert not server.strategy.reports[0].aggregated


def test_models_of_rounds_that_are_over_are_forgotten(monkeypatch):
    made, alive = [], []

    def watched(self, *given):
        model = round_of(self, *given)
        made.extend(weakref.ref(value) for value in model.values())
        return model

    round_of = Federation._round
    monkeypatch.setattr(Federation, "_round", watched)
    task = Task(num_clients=5, local_epochs=1)
    batched.federate(task, rules.Median(f=1), None, 6, lambda *_: alive.append(sum(ref() is not None for ref in made)))
    assert alive[0] == 0 < alive[2] == alive[-1], "models of rounds before the last two are still there"


def test_what_a_federation_worked_on_is_free_when_it_is_over(monkeypatch):
    made = []

    class Watched(Clients):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(weakref.ref(self))

    monkeypatch.setattr(federation, "Clients", Watched)
    task = Task(num_clients=5, num_malicious=1, method="byzantine-sgd", momentum=0.9)
    gc.disable()
    try:
        for _ in range(2):  # the first one loads modules, whose frames keep what called them
            batched.federate(task, rules.Median(f=1), attacks.ALIE(), 2)
    finally:
        gc.enable()
    assert made[1]() is None


def test_replies_that_do_not_fit_are_dropped_in_process_as_on_the_wire():
    server, first = InProcess(Robust(rules.Median())), {"w": np.zeros(2, np.float32)}
    odd = {1: {"w": np.ones(3, np.float32)}, 2: {"v": np.ones(2)}, 3: {"w": np.array([np.nan, 1.0])}, 4: {"w": np.ones(2, np.float32)}}
    with server.running(first):
        model_after = server.round(1, first, odd)
    assert model_after["w"].tolist() == [1.0, 1.0]
    assert [server.strategy.reports[0].nodes[node].status for node in (1, 2, 3, 4)] == ["invalid", "invalid", "invalid", "kept"]


@pytest.mark.parametrize("engine", ["local", "batched"])
def test_a_diverging_run_ends_as_on_the_wire(engine):
    with pytest.raises(InfeasibleRound, match=r"none of 3 rounds was aggregated; .*array '0.weight': expected finite values, got NaN"):
        federate_on(engine, replace(MODELS, lr=1e30), rules.Median(f=1), None, 3, processes=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", CELLS)
def test_clients_train_on_a_gpu(name):
    task, strategy, attack = CELLS[name]
    rule = parse_strategy(strategy, 2, {"radius": 2.0} if "clipping" in strategy else {})
    histories = [batched.federate(task, rule, attack, 3, device=device)[0] for device in ("cpu", "cuda")]
    assert histories[1].accuracy == pytest.approx(histories[0].accuracy, abs=0.15 if "dropout" in name else 0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", ["dropout", "gradients with dropout"])
def test_what_is_drawn_on_a_gpu_follows_from_the_seed(name):
    task, strategy, attack = CELLS[name]
    models = [batched.federate(task, parse_strategy(strategy, 2), attack, 2, device="cuda")[1] for _ in range(2)]
    assert all(np.allclose(models[1][key], value, atol=1e-6) for key, value in models[0].items())
