"""The demo: attacks and defences compared on real data, on Flower's virtual clients.

May import `attacks`, `rules`, `experiments.tasks` and `show.table`.
"""
