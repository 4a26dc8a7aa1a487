"""What `rules` and `attacks` print of a rule, a chain or an attack, as data; `--json` prints it as it is."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from itertools import zip_longest
from typing import Any

from flwr_byzantine import attacks as attacking
from flwr_byzantine import rules as catalogue
from flwr_byzantine.declare.documented import documentation, paragraphs, parameters, signature
from flwr_byzantine.declare.names import construct
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.parsing import names_in

F, N = 2, 25  # where conditions and κ are given as numbers
Entry = dict[str, Any]


def rule_entry(cls: type[Rule]) -> Entry:
    """All that there is to say of a rule."""
    rule = construct(cls, {"f": F} if "f" in {item.name for item in fields(cls)} else {})
    kind = "detector" if rule.detects else "pre-aggregation" if isinstance(rule, catalogue.PreAggregation) else "aggregation"
    bounds = _bounds(rule, kind == "aggregation" and rule.robust)
    known = bounds["kappa_at_n_25_f_2"] is not None
    texts = {"condition": _method(cls, "min_n"), "kappa": _method(cls, "kappa") if known else None, "cost": rule.cost}
    return _entry(cls, kind) | bounds | texts


def chain_entry(name: str) -> Entry:
    """All that there is to say of a chain such as "nnm+krum", or of a rule over another; its parts are entries of rules."""
    chain = catalogue.parse(name, F)
    parts = [rule_entry(catalogue.get(part)) for part in names_in(name)]
    signs, names = re.split(r"[^+()]+", name), [part["name"] for part in parts]
    written = "".join(sign + part for sign, part in zip_longest(signs, names, fillvalue=""))
    example = f'>>> from flwr_byzantine import rules\n>>> rules.parse("{written}", f={F})\n{chain}'
    return {"name": written, "kind": "chain", **_bounds(chain, chain.robust), "example": example, "cite": _cite(written), "parts": parts}


def attack_entry(cls: type[attacking.Attack]) -> Entry:
    """All that there is to say of an attack."""
    return _entry(cls, "attack") | {"knowledge": cls.knowledge, "poisons_data": cls.poisons}


def _entry(cls: Any, kind: str) -> Entry:
    said = documentation(cls)
    return {
        "name": cls.__name__,
        "kind": kind,
        "summary": said.paragraphs[0],
        "description": list(said.paragraphs[1:]),
        "signature": signature(cls),
        "parameters": [asdict(item) | {"default": _plain(item.default)} for item in parameters(cls)],
        "reference": cls.reference,
        "source": said.source,
        "example": said.example,
        "cite": _cite(cls.__name__),
    }


def _bounds(rule: Rule, guaranteed: bool) -> Entry:
    return {
        "min_n_at_f_2": rule.min_n(),
        "largest_f_at_n_25": rule.breakdown(N) if guaranteed else None,
        "kappa_at_n_25_f_2": rule.kappa(N) if guaranteed else None,
        "stateful": any(stage.stateful for stage in rule.stages()),
    }


def _method(cls: type[Rule], name: str) -> str:
    """What a rule's own method says in its first paragraph; nothing where it is that of all rules."""
    method = getattr(cls, name)
    return "" if method is getattr(Rule, name) else paragraphs(method.__doc__)[0]


def _cite(name: str) -> str:
    return f"flwr-byzantine cite {name}"


def _plain(value: Any) -> Any:
    """A default as JSON has it; what it has not, as Python writes it."""
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return repr(value)
