"""What the tests of committed studies share."""

from flwr_byzantine.experiments.report.settings import load
from flwr_byzantine.experiments.sweep import config
from flwr_byzantine.experiments.sweep.kinds import Tasks


def stored_and_configured(folder, name, monkeypatch):
    """Key -> configuration of the cells in a study's results, and of those in its sweep; the data need not be here."""
    monkeypatch.setattr(Tasks, "check", lambda *_: None)
    stored, configured = load(folder / f"{name}.jsonl"), config.read(folder / f"{name}.toml").cells
    return tuple({cell.key: cell.config for cell in cells} for cells in (stored, configured))
