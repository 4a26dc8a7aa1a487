"""How things are shown to people: tables, lines in a terminal, pictures and HTML pages of one style, light and dark, wide and narrow.

May import `errors`, `declare.extras` and `flower.words`; knows nothing of what it shows. `printing` uses `table` and `terminal`;
`looks`, `figures` and `html` use `colours`. Neither matplotlib nor jinja2 is loaded until something is drawn.
"""
