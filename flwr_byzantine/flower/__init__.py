"""Everything that touches Flower itself below the strategies: its records, its Grids, its private parts.

`compat` is the one place that uses what Flower does not document; `codec` turns models into npy bytes and back,
`records` and `replies` read messages, `grids` and `local` are Grids, `processes` the processes that `local` forks.

May import: `errors`, `arrays`, `declare`, Flower's public modules (and `compat` its inside). Knows nothing of rules,
attacks or strategies.
"""
