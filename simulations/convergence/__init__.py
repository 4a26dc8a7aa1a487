"""The convergence study: Byzantine-resilient SGD on objectives whose constants are known, against the theory's bounds."""
