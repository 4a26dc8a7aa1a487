"""Rules say whether they read the Gram matrix of the updates: that is what is worked out while these come, and for nobody else."""

import numpy as np
import pytest

from flwr_byzantine import rules
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.server import Server
from tests.support.rules import RULES, F, data

OVER = [cls(f=F, base=base) for cls in (rules.CTMA, rules.GAS, rules.RLR, rules.CRFL) for base in (rules.Krum(f=F), rules.CGE(f=F))]
OVER += [rules.MoNNA(f=F, trusted=None), rules.chain(rules.NNM(f=F), rules.CGE(f=F)), rules.chain(rules.ARC(f=F), rules.Krum(f=F))]
DETECTORS = [
    rules.chain(cls(f=F), rules.Median(f=F)) for cls in (rules.SafeGuard, rules.MartingaleFilter, rules.FLDetector, rules.FLANDERS)
]


class Recorder:
    """In the place of `Arrivals`: whether anybody asks for inner products, and from where distances are first asked for."""

    asked, measured = False, ""

    def grams(self, nodes):
        self.asked = True

    def squares(self, nodes, centres):
        (centre,) = centres
        known = "origin" if centre is None else "previous" if not centre.any() else ""  # elsewhere: a point of this round's
        self.measured = self.measured or ("" if self.asked else known)

    def room(self):
        return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rule", [*RULES, *OVER, *DETECTORS], ids=str)
def test_a_rule_says_whether_it_reads_the_gram_matrix(rule):
    X, recorder = data(), Recorder()
    updates = Updates([Block(list(X))], list(range(len(X))), None, recorder)
    trusted = np.median(X, axis=0) + 0.1 if any("trusted" in stage.anchors for stage in rule.stages()) else None
    run(rule, updates, None, Server(trusted=trusted))
    assert recorder.asked == any(stage.uses_gram for stage in rule.stages())
    rest = [stage for stage in rule.stages() if not stage.detects]
    assert recorder.measured == ("" if any(stage.uses_gram for stage in rest) else rest[0].distances_from)
