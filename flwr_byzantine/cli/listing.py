"""Commands that tell what there is: `rules`, `attacks` and `cite`."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

import typer

from flwr_byzantine.cli.terminal import console
from flwr_byzantine.show.printing import show
from flwr_byzantine.show.table import Table


def rules() -> None:
    """All rules, with their conditions and references."""
    from flwr_byzantine import rules as catalogue
    from flwr_byzantine.declare.names import construct

    heads = ("rule", "needs n ≥ (f = 2)", "largest f at n = 25", "κ at n = 25, f = 2", "state", "cost", "reference")
    rows = []
    for cls in catalogue.available():
        rule = construct(cls, {"f": 2} if "f" in {item.name for item in fields(cls)} else {})
        alone = rule.robust and not isinstance(rule, catalogue.PreAggregation)
        kappa = rule.kappa(25) if alone else None
        bound, most = "none known" if kappa is None else f"{kappa:.2f}", str(rule.breakdown(25)) if alone else "-"
        rows.append((cls.__name__, str(rule.min_n()), most, bound, "yes" if rule.stateful else "", rule.cost, rule.reference))
    show(Table.of("Aggregation and pre-aggregation rules", heads, rows), console)


def attacks() -> None:
    """All attacks, with what the attacker must know."""
    from flwr_byzantine import attacks as catalogue

    rows = [(cls.__name__, cls.knowledge, (cls.__doc__ or "").splitlines()[0], cls.reference) for cls in catalogue.available()]
    show(Table.of("Attacks", ("attack", "must know", "what it sends", "reference"), rows), console)


def cite(
    names: Annotated[list[str], typer.Argument(help="Rules, chains (nnm+krum) or attacks by name.")],
) -> None:
    """BibTeX of exactly the rules and attacks named."""
    from flwr_byzantine import attacks, rules
    from flwr_byzantine.declare.citations import citation
    from flwr_byzantine.declare.names import by_name

    known = [*rules.available(), *attacks.available()]
    typer.echo(citation(*(by_name("rule or attack", part, known) for name in names for part in name.split("+"))))
