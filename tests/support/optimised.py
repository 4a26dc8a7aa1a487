"""Rules to search against, honest updates of three kinds, and the damage of what was found."""

import numpy as np

from flwr_byzantine import rules

F, H, D = 3, 10, 60
RULES = {
    "Krum": rules.Krum(f=F),
    "Multi-Krum": rules.MultiKrum(f=F),
    "median": rules.Median(f=F),
    "trimmed mean": rules.TrimmedMean(f=F),
    "geometric median": rules.GeometricMedian(f=F),
    "centered clipping": rules.CenteredClipping(f=F, tau=5.0),
    "NNM + trimmed mean": rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F)),
    "NNM + Krum": rules.chain(rules.NNM(f=F), rules.Krum(f=F)),
    "NNM + geometric median": rules.chain(rules.NNM(f=F), rules.GeometricMedian(f=F)),
}


def problem(kind, d=D):
    """Alike; in two camps; of very different lengths."""
    rng = np.random.default_rng(kind)
    X = rng.normal(0.3, 1.0, (H, d))
    if kind == 1:
        X += 2 * rng.normal(size=(2, d))[np.arange(H) % 2]
    return X * rng.lognormal(0, 1, (H, 1)) if kind == 2 else X


def damage(rule, X, bad):
    with np.errstate(over="ignore"):
        return float(np.linalg.norm(rule(np.concatenate([X, bad])) - X.mean(axis=0)))
