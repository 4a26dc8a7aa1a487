"""When a rule's guarantee holds, which f to declare, which step size and batch to take, and what can then be promised.

`resilience` has the conditions, `convergence` and `schedules` the bounds and step sizes, `sampling` the sample of clients, `trees` what a
tree of aggregators withstands, `certificate` what one round's replies say, `empirical` measured κ, `advice` all of it as an answer for a
federation.

May import: `errors`, `arrays`, `declare`, `rules`, NumPy, and SciPy in `empirical_kappa`. Loads neither flwr nor torch.
"""

from flwr_byzantine.theory.certificate import Certificate, Estimate, certify, estimate, typical_distance
from flwr_byzantine.theory.convergence import Bound, Problem, admissible_step, basin_bound, convergence_bound, step_size
from flwr_byzantine.theory.empirical import KappaRow, empirical_kappa, kappa_ratio, kappa_table
from flwr_byzantine.theory.resilience import (
    Resilience,
    heterogeneity_floor,
    is_resilient,
    kappa_lower_bound,
    krum_eta,
    momentum_variance_factor,
    required_batch_size,
    second_moment_constant,
    sin_alpha,
)
from flwr_byzantine.theory.sampling import SamplingPlan, failure_probability, plan_sampling, smallest_f
from flwr_byzantine.theory.schedules import Constant, Decay, InverseRoot, Polynomial
from flwr_byzantine.theory.trees import AggregatorTree

__all__ = [
    "AggregatorTree",
    "Bound",
    "Certificate",
    "Constant",
    "Decay",
    "Estimate",
    "InverseRoot",
    "KappaRow",
    "Polynomial",
    "Problem",
    "Resilience",
    "SamplingPlan",
    "admissible_step",
    "basin_bound",
    "certify",
    "convergence_bound",
    "empirical_kappa",
    "estimate",
    "failure_probability",
    "heterogeneity_floor",
    "is_resilient",
    "kappa_lower_bound",
    "kappa_ratio",
    "kappa_table",
    "krum_eta",
    "momentum_variance_factor",
    "plan_sampling",
    "required_batch_size",
    "second_moment_constant",
    "sin_alpha",
    "smallest_f",
    "step_size",
    "typical_distance",
]
