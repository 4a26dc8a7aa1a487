import logging
import os
import sys

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.support")
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if os.environ.get("CI") else "dev")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the arrays are small: a second thread waits more than it works
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def pytest_configure():
    """Say who runs a task, as Flower's engine would: `Message()` asks for it."""
    from flwr_byzantine.flower.compat import ensure_task_identity

    ensure_task_identity()


@pytest.fixture(autouse=True)
def settings_of_the_process():
    """Tests and scripts may set what they like of the process; the next test finds it as it was."""
    logger, torch = logging.getLogger("flwr"), sys.modules.get("torch")
    level, disabled, threads = logger.level, logging.root.manager.disable, torch and torch.get_num_threads()
    yield
    logger.setLevel(level)
    logging.disable(disabled)
    if threads:
        torch.set_num_threads(threads)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """One process for each of two cores where everything is run, only this one where a part is asked for."""
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0
