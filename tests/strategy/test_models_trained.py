"""What rules reach under attack with models that carry state, against the same models without: twenty clients, four of them hostile."""

import pytest

from tests.support.federations import RULES, reached

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("rule", RULES), pytest.mark.parametrize("attack", ["sign flip", "ALIE"])]


def test_batchnorm_costs_no_rule_five_points_against_groupnorm(rule, attack):
    assert 70 < reached("ResNet, GroupNorm", rule, attack, rounds=8) < reached("ResNet, BatchNorm", rule, attack, rounds=8) + 5


def test_masks_of_infinities_and_truth_values_cost_a_transformer_nothing(rule, attack):
    without = reached("transformer, none", rule, attack, rounds=5)
    assert 50 < without < reached("transformer, buffers", rule, attack, rounds=5) + 1


def test_training_for_quantisation_costs_no_rule_three_points_under_attack_from_its_first_round(rule, attack):
    assert 85 < reached("CNN, float", rule, attack) < reached("CNN, QAT", rule, attack) + 3
