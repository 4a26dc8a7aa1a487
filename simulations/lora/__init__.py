"""Robust LoRA: a Flower app with adapters of several ranks, and the study of what attackers do to it."""
