"""How things are shown to people: tables, lines in a terminal, HTML pages of one style.

May import `errors` and `flower.words`; knows nothing of what it shows. `table` uses `terminal`.
"""
