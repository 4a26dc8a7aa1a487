"""Experiments with federations: learning tasks, sweeps over them and their reports, the demo, the audit and the benchmark.

May import every other room of the package. Inside: `results` knows nobody; `measures` is used by `tasks`, `tasks` by `sweep` and
`demo`, `report` by `sweep`; `audit` and `bench` stand alone; `cli`, the command line of the whole package, uses all, and nobody `cli`.
"""
