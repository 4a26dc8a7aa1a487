"""Lines of Flower's log that would say something else than what the run did, and how to leave them out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

OF_ONE_REPLY = (  # lines in which a wrapped strategy speaks of the aggregate as the only reply
    "%s: Received %s results and %s failures",
    "No fit_metrics_aggregation_fn provided",
    "No evaluate_metrics_aggregation_fn provided",
)
WEIGHTED = ("\t\t├── Weighted by: '%s'",)  # the line of a strategy's summary that says by what it weighs


@contextmanager
def without_lines(texts: Collection[str]) -> Iterator[None]:
    """Leave these lines out of what this thread writes to Flower's log meanwhile; other lines, and other threads, are left alone.

    Args:
        texts: as Flower has them, before anything is put in: `OF_ONE_REPLY`, `WEIGHTED`.

    Example:
        >>> from flwr.common import log
        >>> with without_lines(["a line"]):
        ...     log(logging.INFO, "a line")
    """
    thread = threading.get_ident()

    def others(record: logging.LogRecord) -> bool:
        return record.thread != thread or record.msg not in texts

    logger = logging.getLogger("flwr")
    logger.addFilter(others)
    try:
        yield
    finally:
        logger.removeFilter(others)
