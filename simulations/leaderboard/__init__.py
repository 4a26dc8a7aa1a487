"""Rules ranked on three tasks: what they cost without attack, their worst case, the area under accuracy against attackers."""
