"""The one-coordinate attack of the Bulyan paper; and two attacks of other systems, which are here under other names."""

import numpy as np
import pytest

from flwr_byzantine import attacks, errors, rules
from flwr_byzantine.attacks import AttackContext

RULE = rules.Median(f=3)


def honest(h=9, d=30, seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, size=(h, d))


@pytest.mark.parametrize("d", [100, 1600])
def test_one_coordinate_is_as_far_off_as_krum_lets_it_be_which_grows_with_the_root_of_the_dimension(d):
    """By a naive search for the edge, and the Bulyan paper's √d."""
    X, rule = honest(10, d), rules.Krum(f=3)
    mean, k = X.mean(axis=0), int(X.std(axis=0).argmax())
    sent = attacks.OneCoordinate(evals=200)(X, 3, rule=rule)

    def picked(gamma):
        bad = mean.copy()
        bad[k] += gamma
        chosen = rule(np.vstack([X, bad, bad, bad]))
        return np.allclose(chosen, bad)

    edge = max((gamma for gamma in np.linspace(0.05, 12 * d**0.5, 1200) if picked(gamma)), default=0.0)
    assert sent[0, k] - mean[k] == pytest.approx(edge, rel=0.05, abs=12 * d**0.5 / 1200)
    np.testing.assert_allclose(np.delete(sent[0], k), np.delete(mean, k), atol=1e-9)
    assert edge > 0.8 * d**0.5 * X.std(axis=0).mean()


def test_one_coordinate_stays_on_the_coordinate_of_its_first_round_or_takes_all_of_them():
    attack, X = attacks.OneCoordinate(sign=-1), honest(9, 30)
    memory = attack.next_memory(X, 2, AttackContext())
    later = attack.vectors(honest(9, 30, seed=5), 2, AttackContext(2, rule=RULE, memory=memory))
    assert np.flatnonzero(abs(later[0] - honest(9, 30, seed=5).mean(0)) > 1e-9).tolist() == [X.std(axis=0).argmax()]
    everywhere = attacks.OneCoordinate(norm="inf")(X, 2, rule=RULE)[0] - X.mean(0)
    np.testing.assert_allclose(everywhere, everywhere[0])
    assert everywhere[0] > 0


def test_full_gradient_negation_is_ipm_of_that_strength():
    """Of the krum package: -κ times the gradient on all data, κ = 100; honest updates' mean is that gradient."""
    X = honest()
    np.testing.assert_allclose(attacks.IPM(epsilon=100.0)(X, 2), np.tile(-100.0 * X.mean(axis=0), (2, 1)))


def test_an_attack_is_found_by_the_name_of_its_paper_too():
    assert attacks.get("3DFed") is attacks.ThreeDFed


def test_a_coordinate_that_is_none_is_a_mistake():
    with pytest.raises(errors.InvalidParameter, match="coordinate must be below the updates' size, 30, got 30"):
        attacks.OneCoordinate(coordinate=30)(honest(), 2, rule=RULE)
