"""Hyper-parameters chosen on the validation split, with its noise in mind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments import report
from flwr_byzantine.experiments.report.study import study
from flwr_byzantine.experiments.report.tables import choices_table
from tests.support.reports import ATTACKS, RULES, cells_of, failed, line, naive_mean


def grid_of_rates() -> list[dict[str, Any]]:
    """Accuracies far apart, of two seeds that differ little."""
    rng = np.random.default_rng(3)
    return [
        line(rule, attack, float(rng.uniform(0.2, 0.9)), seed, lr=lr, f=f, validation=validation + 0.001 * seed)
        for rule in RULES
        for attack in ATTACKS
        for lr in (0.01, 0.1, 1.0)
        for f in (2, 4)
        for validation in [float(rng.uniform(0.2, 0.9))]
        for seed in (0, 1)
    ]


def chosen(*rates: list[float], share: float | None = 0.1, dataset: str = "digits") -> report.Choice:
    """The choice of lr = 1, 2, ... by the validation accuracies of each, one a seed."""
    extra = {} if share is None else {"validation": share}
    records = []
    for lr, values in enumerate(rates, 1):
        for seed, value in enumerate(values):
            record = line("krum", "alie", 0.5, seed, lr=float(lr), validation=value, dataset=dataset)
            record["config"] |= extra
            records.append(record)
    (choice,) = report.choose(cells_of(records), ["lr"])
    return choice


def test_the_smaller_of_two_and_the_middle_of_three_that_noise_does_not_tell_apart() -> None:
    """135 examples: the standard error is 4.2 points."""
    assert (chosen([0.50], [0.52]).values, chosen([0.50], [0.52]).reason) == ((("lr", 1.0),), "a tie: the smaller")
    assert chosen([0.50], [0.51], [0.52]).values == (("lr", 2.0),)
    assert chosen([0.50], [0.20], [0.52]).values == (("lr", 1.0),)
    assert chosen([0.20], [0.30], [0.50], [0.52]).values == (("lr", 3.0),)


@pytest.mark.parametrize(
    ("tried", "said"),
    [
        ([0.50, 0.51, 0.52], "the middle one"),
        ([0.50, 0.20, 0.52], "the smaller"),
        ([0.20, 0.30, 0.50, 0.52], "the one nearest the middle"),
        ([0.50, 0.51, 0.52, 0.50], "the smaller of the middle ones"),
    ],
)
def test_the_reason_of_a_tie_says_which_of_the_tied_is_meant(tried: list[float], said: str) -> None:
    assert chosen(*([each] for each in tried)).reason == f"a tie: {said}"


def test_what_is_better_by_more_than_noise_is_chosen_and_what_may_be_noise_is_said() -> None:
    clear, unclear = chosen([0.30], [0.52]), chosen([0.45], [0.52])
    assert (clear.values, clear.reason, clear.within_noise) == ((("lr", 2.0),), "clearly the best", [])
    assert (unclear.values, unclear.reason) == ((("lr", 2.0),), "the best, but within noise")
    assert unclear.within_noise == [(("lr", 1.0),)]


def test_no_step_is_better_than_another_where_all_guess() -> None:
    choice = chosen([0.089], [0.096], [0.14])
    assert (choice.at_chance, choice.values) == (True, (("lr", 2.0),))
    assert choice.reason == "all at chance (10 %): the middle one"
    assert not chosen([0.089], [0.096], [0.25]).at_chance
    assert chosen([0.089], [0.11], share=0.1, dataset="of my own").chance == 0


def test_several_seeds_say_how_much_training_varies() -> None:
    steady, shaky = chosen([0.60, 0.61, 0.60], [0.80, 0.81, 0.80]), chosen([0.40, 0.61, 0.80], [0.50, 0.81, 0.80])
    assert (steady.values, steady.reason) == ((("lr", 2.0),), "clearly the best")
    assert (shaky.values, shaky.reason) == ((("lr", 1.0),), "a tie: the smaller")


def test_seeds_that_agree_by_chance_are_not_surer_than_counting_allows() -> None:
    """Two seeds of 135 examples count 270: 3 points."""
    choice = chosen([0.500, 0.501], [0.510, 0.511])
    assert [estimate.error for estimate in choice.estimates.values()] == pytest.approx([math.sqrt(0.25 / 270)] * 2, rel=0.02)
    assert choice.values == (("lr", 1.0),)


def test_without_seeds_and_the_size_of_the_split_the_largest_is_chosen() -> None:
    assert chosen([0.500], [0.501], share=None).values == (("lr", 2.0),)


def test_the_table_says_what_was_chosen_why_and_how_sure_each_figure_is() -> None:
    records = [line(rule, "alie", 0.5, lr=lr, validation=0.09 + lr / 1000) for rule in ("krum", "median") for lr in (1.0, 2.0, 3.0)]
    for record in records:
        record["config"]["validation"] = 0.1
    grid = choices_table(study(cells_of(records), choose=["lr"]))
    assert grid.header == ("rule", "lr = 1", "lr = 2", "lr = 3", "why")
    assert [item.full for item in grid.rows[0]] == [
        "krum",
        "~ 9.1 ± 2.6",
        "~ 9.2 ± 2.6",
        "~ 9.3 ± 2.6",
        "all at chance (10 %): the middle one",
    ]
    assert [item.best for item in grid.rows[0]] == [False, False, True, False, False]
    assert any("One seed" in note for note in grid.notes)


def test_the_choice_is_the_naive_one_and_never_sees_the_test_split() -> None:
    records = grid_of_rates()
    choices = [choice for choice in report.choose(cells_of(records), ["lr"]) if not choice.reference]
    assert len(choices) == len(RULES) * 2
    for choice in choices:
        where = {"strategy": choice.rule, "f": dict(choice.setting)["f"]}
        worst = {
            lr: min(naive_mean(records, "validation_accuracy", attack=attack, lr=lr, **where) for attack in ("alie", "sign-flip"))
            for lr in (0.01, 0.1, 1.0)
        }
        assert choice.values == (("lr", max(worst, key=lambda lr: worst[lr])),)
    other_test = [r | {"final": r["final"] | {"accuracy": 1 - r["final"]["accuracy"]}} for r in records]
    assert report.choose(cells_of(other_test), ["lr"]) == report.choose(cells_of(records), ["lr"])


def test_the_tables_report_test_accuracy_of_the_chosen_values_against_the_best_honest_fedavg() -> None:
    records = grid_of_rates()
    content = study(cells_of(records), choose=["lr"])
    for table in content.tables():
        f = dict(table.setting)["f"]
        rates = {c.rule: c.values[0][1] for c in content.choices if not c.reference and dict(c.setting)["f"] == f}
        honest = {lr: naive_mean(records, "validation_accuracy", strategy="fedavg", attack="none", lr=lr, f=f) for lr in (0.01, 0.1, 1.0)}
        clean = naive_mean(records, strategy="fedavg", attack="none", lr=max(honest, key=lambda lr: honest[lr]), f=f)
        for row in table.rows:
            own = {attack: naive_mean(records, strategy=row.rule, attack=attack, lr=rates[row.rule], f=f) for attack in ATTACKS}
            assert {attack: score.mean for attack, score in row.scores.items()} == pytest.approx(own)
            assert row.cost == pytest.approx(clean - own["none"])


def test_a_value_that_failed_or_diverged_under_any_attack_is_not_chosen() -> None:
    good, bad = {"lr": 0.1}, {"lr": 1.0}
    records = [line("krum", attack, 0.5, **good) for attack in ("alie", "ipm")]
    for spoilt in (failed(line("krum", "ipm", 0.9, **bad)), line("krum", "ipm", 0.9, validation=None, **bad)):
        (choice,) = report.choose(cells_of([*records, line("krum", "alie", 0.9, **bad), spoilt]), ["lr"])
        assert choice.values == (("lr", 0.1),)
        assert choice.worst[(("lr", 1.0),)] == -math.inf


def test_a_value_of_which_one_seed_failed_is_not_chosen() -> None:
    records = [line("krum", "alie", accuracy, seed, lr=lr) for lr, accuracy in ((0.1, 0.5), (1.0, 0.9)) for seed in (0, 1)]
    (choice,) = report.choose(cells_of([*records[:-1], failed(records[-1])]), ["lr"])
    assert choice.values == (("lr", 0.1),)
    assert choice.worst[(("lr", 1.0),)] == -math.inf


def test_an_option_of_the_rule_can_be_chosen() -> None:
    records = [line("centered-clipping", "alie", tau, strategy_options={"tau": tau, "m": 1}) for tau in (0.1, 0.7, 0.3)]
    content = study(cells_of(records), choose=["strategy_options.tau"])
    (row,) = content.tables()[0].rows
    assert (row.rule, row.worst.mean) == ("centered-clipping (m=1)", 0.7)


def test_choosing_what_does_not_vary_or_without_validation_is_refused() -> None:
    records = [line("krum", "alie", 0.5, lr=lr, validation=None) for lr in (0.1, 0.2)]
    with pytest.raises(InvalidParameter, match=r"'momentum'.*lr"):
        report.choose(cells_of(records), ["momentum"])
    with pytest.raises(InvalidParameter, match=r"'lrr'.*did you mean 'lr'\?"):
        report.choose(cells_of(records), ["lrr"])
    with pytest.raises(InvalidParameter, match="validation split"):
        report.choose(cells_of(records), ["lr"])


@pytest.mark.parametrize("key", ["seed", "strategy", "attack", "f", "dataset"])
def test_what_is_no_hyper_parameter_is_not_chosen(key: str) -> None:
    records = [line("krum", "alie", 0.5, seed=seed, f=seed) for seed in (1, 2)]
    with pytest.raises(InvalidParameter, match=f"cannot choose '{key}', which is no hyper-parameter"):
        report.choose(cells_of(records), [key])
