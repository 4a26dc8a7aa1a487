"""What rules, attacks and tasks say about themselves: parameters with their ranges, names, publications.

May import `errors` only.
"""
