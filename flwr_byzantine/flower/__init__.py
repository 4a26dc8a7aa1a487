"""Everything that touches Flower itself below the strategies: its records, its Grids, its private parts.

`compat`, `superlink` and `loops` are the places that use what Flower does not document; `codec` turns models into npy bytes and back,
`records` and `replies` read messages, `grids` and `local` are Grids, `processes` the processes that `local` forks. What comes
over a Grid goes through `exchange` (whose it is), `pulls` and `uploads` (what it may cost) and `patience` (how long it may take).

May import: `errors`, `arrays`, `declare`, Flower's public modules (and `compat` its inside). Knows nothing of rules,
attacks or strategies.
"""
