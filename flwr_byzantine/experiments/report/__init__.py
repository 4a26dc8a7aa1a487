"""Tables, figures and one HTML page from the results of a sweep."""

from flwr_byzantine.experiments.report.choice import Choice, choose
from flwr_byzantine.experiments.report.published import Published, read_published
from flwr_byzantine.experiments.report.scores import Row, Score, WorstCase, worst_case
from flwr_byzantine.experiments.report.settings import load, varying
from flwr_byzantine.experiments.report.terminal import to_console
from flwr_byzantine.experiments.report.writing import Report, write
from flwr_byzantine.experiments.results import Result

__all__ = [
    "Choice",
    "Published",
    "Report",
    "Result",
    "Row",
    "Score",
    "WorstCase",
    "choose",
    "load",
    "read_published",
    "to_console",
    "varying",
    "worst_case",
    "write",
]
