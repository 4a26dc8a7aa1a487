"""How long it takes to learn where nodes are slow, silent and hostile: buffered rounds against rounds that wait, on a simulated clock."""
