"""Names of rules, attacks and options: spelled as one likes, and one sentence for a mistake."""

import pytest

from flwr_byzantine import InvalidParameter, attacks, rules
from flwr_byzantine.attacks.parsing import parse_attack
from flwr_byzantine.declare.names import by_name, unknown_name
from flwr_byzantine.rules.parsing import parse_strategy


@pytest.mark.parametrize("name", ["MultiKrum", "multi-krum", "multi_krum", " Multi Krum"])
def test_case_hyphens_underscores_and_spaces_do_not_matter(name):
    assert by_name("rule", name, rules.available()) is rules.MultiKrum


def test_the_nearest_name_is_proposed_as_it_is_written():
    known = ["batch-size", "lr"]
    assert (
        str(unknown_name("key", "Batch_Sise", known))
        == "unknown key 'Batch_Sise'; did you mean 'batch-size'? choose one of: batch-size, lr"
    )
    assert str(unknown_name("key", "seed", known)) == "unknown key 'seed'; choose one of: batch-size, lr"


def test_every_exported_rule_and_attack_is_found_by_name():
    abstract = (rules.Rule, rules.PreAggregation, rules.Chain, *rules.detectors())
    exported = [getattr(rules, name) for name in rules.__all__]
    assert rules.available() == sorted(
        (item for item in exported if isinstance(item, type) and issubclass(item, rules.Rule) and item not in abstract),
        key=lambda item: item.__name__,
    )
    assert all(rules.get(item.__name__) is item for item in rules.available())
    assert all(rules.get(item.__name__) is item for item in rules.detectors())
    assert all(attacks.get(item.__name__) is item for item in attacks.available())


def test_a_chain_gives_each_part_the_options_that_it_has():
    found = rules.parse("Bucketing + nnm+centered_clipping", f=1, s=3, tau=2.0)
    assert found == rules.chain(rules.Bucketing(s=3), rules.NNM(f=1), rules.CenteredClipping(f=1, tau=2.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rules.parse("nnm+krumm", f=1), "unknown rule 'krumm'; did you mean 'Krum'? choose one of: ARC, "),
        (lambda: rules.parse("krum", f=1, tau=1.0), "unknown option of 'krum' 'tau'; choose one of: neighbors, power"),
        (lambda: rules.parse("krum", f=-1), "Krum: f must be an integer >= 0, got -1"),
        (lambda: rules.parse("nnm", f=1), "NNM(f=1) only pre-aggregates"),
        (lambda: rules.parse("fedavg", f=1), "unknown rule 'fedavg'"),
        (lambda: parse_strategy("fedavg", 1, {"tau": 1.0}), "'fedavg' has no options, got 'tau'"),
        (lambda: parse_strategy("krum", 1, {"f": 2}), "unknown option of 'krum' 'f'; choose one of: neighbors, power"),
        (lambda: parse_attack("allie"), "unknown attack 'allie'; did you mean 'ALIE'? choose one of: AGRTailored, "),
        (lambda: parse_attack("none", {"z": 1.0}), "'none' has no options, got 'z'"),
        (
            lambda: parse_attack("on-off", {"attack": {"name": "sign-flip", "scal": 1.0}}),
            "unknown option of 'sign-flip' 'scal'; did you mean",
        ),
    ],
)
def test_a_mistake_is_one_sentence(call, message):
    with pytest.raises(InvalidParameter) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
