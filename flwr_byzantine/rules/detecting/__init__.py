"""Detectors: stages of a chain that leave senders out before the rule, most of them with a memory of the rounds before.

`base.Detector` says what one is; each module has one, and its source.
"""
