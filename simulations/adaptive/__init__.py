"""The adaptive attack against every fixed one, rule by rule, as accuracy after training."""
