"""A robust strategy on the Grid of Flower's simulation engine."""

import logging

import pytest

from tests.support.federation import GOAL, client_app, start, values


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")  # Ray's open files
def test_on_the_engines_own_grid_replies_are_taken_as_they_come(caplog):
    """No wrapper between strategy and engine, the strategy collects by push and pull."""
    from flwr.serverapp import Grid, ServerApp
    from flwr.simulation import run_simulation

    from flwr_byzantine import FedMedian

    app, found = ServerApp(), []

    @app.main()
    def main(grid, context):
        assert isinstance(grid, Grid)
        strategy = FedMedian(min_train_nodes=6, min_available_nodes=6)
        found.append((strategy.start(grid, start(), 3), strategy.reports))

    caplog.set_level(logging.ERROR, logger="flwr")
    backend = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 2, "log_to_driver": False}}
    run_simulation(app, client_app(), 6, backend_config=backend)
    ((result, reports),) = found
    assert [report.n_valid for report in reports] == [6, 6, 6]
    assert abs(values(result.arrays)[:-1] - 0.875 * GOAL[:-1]).max() < 0.1
    assert len(result.evaluate_metrics_clientapp) == 3
