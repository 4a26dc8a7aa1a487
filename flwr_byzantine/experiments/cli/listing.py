"""Commands that tell what there is: `rules`, `attacks` and `cite`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

import typer

from flwr_byzantine.experiments.cli.terminal import console


def _rules(incomplete: str) -> list[str]:
    from flwr_byzantine import rules

    return _beginning(incomplete, [*rules.available(), *rules.detectors()])


def _attacks(incomplete: str) -> list[str]:
    from flwr_byzantine import attacks

    return _beginning(incomplete, attacks.available())


def _citable(incomplete: str) -> list[str]:
    from flwr_byzantine.declare import methods

    return [*_rules(incomplete), *_attacks(incomplete), *_beginning(incomplete, methods.available())]


def _beginning(incomplete: str, classes: Iterable[type]) -> list[str]:
    """The names that a shell may complete to, as "multi-krum"; of a chain, its last part is completed."""
    *_, before, last = re.split("(.*[+(])|^", incomplete, maxsplit=1)
    names = [re.sub("(?<=[a-z])(?=[A-Z])", "-", cls.__name__).lower() for cls in classes]
    return [f"{before or ''}{name}" for name in names if name.startswith(last)]


def rules(
    name: Annotated[
        str | None, typer.Argument(help="A rule, a chain (nnm+krum), gas(krum): tell all of it.", autocompletion=_rules)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """All rules with their conditions and references, or all about one: parameters, guarantees, an example."""
    from flwr_byzantine import rules as known
    from flwr_byzantine.experiments.cli import catalogue, describing

    if name is None:
        entries = [catalogue.rule_entry(cls) for cls in (*known.available(), *known.detectors())]
        describing.tell_all(entries, describing.rules_table, json, console)
    else:
        entry = catalogue.chain_entry(name) if set("+(") & set(name) else catalogue.rule_entry(known.get(name))
        describing.tell(entry, json, console)


def attacks(
    name: Annotated[str | None, typer.Argument(help="An attack: tell all of it.", autocompletion=_attacks)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """All attacks with what the attacker must know, or all about one: parameters, an example."""
    from flwr_byzantine import attacks as known
    from flwr_byzantine.experiments.cli import catalogue, describing

    if name is None:
        entries = [catalogue.attack_entry(cls) for cls in known.available()]
        describing.tell_all(entries, describing.attacks_table, json, console)
    else:
        describing.tell(catalogue.attack_entry(known.get(name)), json, console)


def cite(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Rules, chains (nnm+krum), attacks or methods by name.",
            autocompletion=_citable,
        ),
    ],
) -> None:
    """BibTeX of exactly the rules, attacks and methods named."""
    from flwr_byzantine import attacks, rules
    from flwr_byzantine.declare import methods
    from flwr_byzantine.declare.citations import citation
    from flwr_byzantine.declare.names import by_name
    from flwr_byzantine.rules.parsing import names_in

    known: list[type] = [*rules.available(), *rules.detectors(), *attacks.available(), *methods.available()]
    typer.echo(citation(*(by_name("rule, attack or method", part, known) for name in names for part in names_in(name))))
