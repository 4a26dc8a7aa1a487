"""What every rule may be given, and what it takes by default: written out, so that neither changes unnoticed."""

import dataclasses

import pytest

from flwr_byzantine import errors, rules
from tests.support.rules import RULES

COUNT = "an integer >= 0"
PARAMETERS = {  # of each rule: what a parameter may be, and its default where it has one
    "ARC": {"f": (COUNT,)},
    "Aksel": {"f": (COUNT,), "keep": ("one of 'n-f', 'mid'", "n-f")},
    "AutoGM": {"f": (COUNT, 0), "lam": ("a number > 0 or None", None), "max_iter": ("an integer >= 1", 100)},
    "Bucketing": {"s": ("an integer >= 1", 2), "seed": (COUNT, 0)},
    "Bulyan": {"f": (COUNT,), "iterated": ("True or False", True)},
    "CAF": {"f": (COUNT,)},
    "CGE": {"f": (COUNT,)},
    "CRFL": {
        "f": (COUNT, 0),
        "base": ("a Rule", rules.Mean()),
        "radius": ("a number > 0", 2.0),
        "growth": ("a number >= 0", 0.1),
        "noise": ("a number >= 0", 0.01),
        "seed": (COUNT, 0),
    },
    "CTMA": {"f": (COUNT,), "base": ("a Rule", rules.Median())},
    "CenteredClipping": {"f": (COUNT, 0), "tau": ("a number > 0", 10.0), "max_iter": ("an integer >= 1", 1)},
    "ClippedClustering": {"f": (COUNT, 0)},
    "Clipping": {"radius": ("a number > 0", 2.0)},
    "DnC": {
        "f": (COUNT,),
        "niters": ("an integer >= 1", 1),
        "c": ("a number >= 0", 1.0),
        "b": ("an integer >= 1", 10_000),
        "seed": (COUNT, 0),
    },
    "FLAME": {"f": (COUNT, 0), "noise": ("a number >= 0", 0.001), "seed": (COUNT, 0)},
    "FLTrust": {"f": (COUNT, 0)},
    "FedRDF": {"f": (COUNT, 0), "select": ("one of 'density', 'index'", "density"), "harmonics": ("an integer >= 1", 8)},
    "FoolsGold": {"f": (COUNT, 0), "confidence": ("a number > 0", 1.0)},
    "FoundationFL": {"m": ("an integer >= 1 or None", None)},
    "GAS": {"f": (COUNT,), "base": ("a Rule", rules.Krum(f=0)), "p": ("an integer >= 1", 1000), "seed": (COUNT, 0)},
    "GeometricMedian": {
        "f": (COUNT, 0),
        "nu": ("a number > 0", 1e-6),
        "max_iter": ("an integer >= 1", 1000),
        "tol": ("a number >= 0", 1e-12),
        "start": ("one of 'medoid', 'mean', 'origin'", "medoid"),
        "smoothing": ("one of 'relative', 'absolute'", "relative"),
    },
    "LASA": {
        "f": (COUNT, 0),
        "sparsity": ("a number >= 0 and < 1", 0.3),
        "length": ("a number > 0", 2.0),
        "sign": ("a number > 0", 1.0),
    },
    "Krum": {"f": (COUNT,), "neighbors": ("one of 'n-f-2', 'n-f-1'", "n-f-2"), "power": ("one of 2, 4", 2)},
    "MDA": {"f": (COUNT,)},
    "MeaMed": {"f": (COUNT,), "keep": ("one of 'n-f', 'n-2f'", "n-f")},
    "Mean": {},
    "Median": {"f": (COUNT, 0)},
    "MoNNA": {"f": (COUNT,), "trusted": ("an integer >= 0 or None", 0)},
    "MultiKrum": {
        "f": (COUNT,),
        "m": ("an integer >= 1 or None", None),
        "iterated": ("True or False", False),
        "neighbors": ("one of 'n-f-2', 'n-f-1'", "n-f-2"),
        "power": ("one of 2, 4", 2),
    },
    "NNM": {"f": (COUNT,)},
    "Phocas": {"f": (COUNT,)},
    "RLR": {"f": (COUNT,), "base": ("a Rule", rules.Mean()), "theta": ("an integer >= 1 or None", None)},
    "SLSGD": {"f": (COUNT,), "alpha": ("a number > 0 and <= 1", 0.5)},
    "SMEA": {"f": (COUNT,)},
    "SignGuard": {
        "f": (COUNT, 0),
        "low": ("a number >= 0", 0.1),
        "high": ("a number > 0", 3.0),
        "share": ("a number > 0 and <= 1", 0.1),
        "seed": (COUNT, 0),
    },
    "SignSGD": {"f": (COUNT, 0), "eta": ("a number > 0", 1.0)},
    "TrimmedMean": {"f": (COUNT,)},
}
EDGES = {
    "a Rule": ([rules.Median(), rules.Krum(f=0)], [None, "krum", rules.Krum]),
    "a number > 0 or None": ([1e-9, None], [0.0]),
    "one of 2, 4": ([2, 4], [1, 3, "2", None]),  # what a constraint takes, and what it refuses
    "an integer >= 0": ([0, 1], [-1, 0.5]),
    "an integer >= 1": ([1, 2], [0]),
    "a number > 0": ([1e-9, 3], [0.0, -1e-9]),
    "a number >= 0": ([0.0, 1e-9], [-1e-9]),
    "a number >= 0 and < 1": ([0.0, 0.99], [1.0, -1e-9]),
    "a number > 0 and <= 1": ([1e-9, 1.0], [0.0, 1.001]),
    "True or False": ([True, False], [1, None]),
    "an integer >= 0 or None": ([0, None], [-1]),
    "an integer >= 1 or None": ([1, None], [0]),
}
NAMED = [(rule, name) for rule, parameters in PARAMETERS.items() for name in parameters]


def declared(field):
    text = str(field.metadata["constraint"])
    return (text,) if field.default is dataclasses.MISSING else (text, field.default)


@pytest.mark.parametrize("cls", rules.available(), ids=lambda cls: cls.__name__)
def test_parameters_and_their_defaults_are_those_written_here(cls):
    assert {field.name: declared(field) for field in dataclasses.fields(cls)} == PARAMETERS[cls.__name__]


@pytest.mark.parametrize(("rule", "name"), NAMED, ids=lambda text: text)
def test_a_parameter_is_refused_just_beyond_its_range_and_not_before(rule, name):
    cls, text = rules.get(rule), PARAMETERS[rule][name][0]
    given = {"f": 0} if "f" in cls.__dataclass_fields__ else {}
    choices = [part.strip(" '") for part in text.removeprefix("one of").split(",")]
    taken, refused = EDGES.get(text, (choices, ["n-3f", None]))
    for value in taken:
        assert getattr(cls(**{**given, name: value}), name) == value
    for value in refused:
        with pytest.raises(errors.InvalidParameter, match=rf"^{rule}: {name} must be {text}, got"):
            cls(**{**given, name: value})


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rules_are_values(rule):
    """Frozen, equal where their parameters are, and keys of a dictionary."""
    for item in (rule, *rule.stages()):
        for name in [field.name for field in dataclasses.fields(item)]:
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(item, name, getattr(item, name))
        twin = dataclasses.replace(item)
        assert twin is not item
        assert {item: "found"}[twin] == "found"
        assert item.with_f(1) != item or "f" not in item.__dataclass_fields__


@pytest.mark.parametrize("record", [rules.State(), rules.Mean().aggregate([[1.0], [2.0]])], ids=lambda record: type(record).__name__)
def test_what_rules_return_is_frozen(record):
    for field in dataclasses.fields(record):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, field.name, None)
