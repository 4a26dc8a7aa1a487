"""Small Flower apps, one for each framework, and what became of each under a robust strategy."""
