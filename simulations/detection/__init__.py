"""Who is it? Detectors and rules that select, under attacks that are loud, quiet, or made against them."""
