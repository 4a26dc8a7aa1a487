"""The n × d part of the work: updates as rows of numbers, and the few passes over them that rules are made of.

`updates.Updates` holds the replies of a round as views on the received bytes, `device.TensorUpdates` tensors on a GPU;
`geometry` has distances and inner products on top of them, `kernels` the loops over the coordinates (`compiled` and
`loops` with Numba), `spill` a file for rounds larger than the memory, `conversion` and `wrap` the way from a caller's
arrays and back. `reproducible.Reproducible` has the same bits on every machine, by `ordered` and by `fixed` for `kernels`.

May import: `errors`, NumPy, and PyTorch or Numba where a caller's tensors or the user's installation bring them. Knows
nothing of rules, attacks or Flower.
"""
