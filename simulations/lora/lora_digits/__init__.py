"""A Flower app whose clients train LoRA adapters of several ranks."""
