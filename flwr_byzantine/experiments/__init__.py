"""Experiments with federations: learning tasks, sweeps over them and their reports, the demo, the audit and the benchmark.

May import every other room of the package, but not `cli`. Inside: `results` knows nobody; `measures` is used by
`tasks`, `tasks` by `sweep` and `demo`, `report` by `sweep`; `audit` and `bench` stand alone.
"""
