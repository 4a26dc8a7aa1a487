"""A detector made for the tests of the stage itself."""

from dataclasses import dataclass

import numpy as np

from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.detecting.base import Detector, recalled, rows_of, senders
from flwr_byzantine.rules.detecting.memory import Senders
from flwr_byzantine.rules.results import Verdict


@dataclass(frozen=True)
class Loud(Detector):
    """Leaves out those whose norms, summed over the rounds, are above a limit."""

    f: int = param(0, ge=0)
    limit: float = param(5.0, kind=float)
    remember: int = param(4, ge=1)

    def judge(self, view):
        ids, known = senders(view), Senders.of(recalled(self, view))
        sums = known.recall("sum", ids, np.zeros(view.n)) + np.linalg.norm(rows_of(view), axis=1)
        memory = known.after(ids, view.state.round, {"sum": sums}, self.remember).arrays()
        return Verdict(sums, sums <= self.limit, self.limit, memory)
