"""How `rules` and `attacks` print the catalogue, or an entry of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from rich.console import Console

from flwr_byzantine.experiments.cli.catalogue import Entry
from flwr_byzantine.experiments.cli.terminal import print_json
from flwr_byzantine.monitor.show.printing import show
from flwr_byzantine.monitor.show.table import Table
from flwr_byzantine.monitor.show.terminal import say


def tell_all(entries: Sequence[Entry], table: Callable[[Sequence[Entry]], Table], as_json: bool, console: Console) -> None:
    """Print the table of all entries, or JSON."""
    if as_json:
        print_json(entries)
    else:
        show(table(entries), console)


def tell(entry: Entry, as_json: bool, console: Console) -> None:
    """Print all about one entry, or JSON."""
    if as_json:
        print_json(entry)
    else:
        describe(entry, console)


def rules_table(entries: Sequence[Entry]) -> Table:
    """A row for each rule."""
    rows = [
        (e["name"], str(e["min_n_at_f_2"]), number(e["largest_f_at_n_25"]), _kappa(e), "yes" if e["stateful"] else "", e["cost"], short(e))
        for e in entries
    ]
    notes = (
        "n≥: updates needed at f = 2. f≤: the largest f at n = 25. κ: the bound at n = 25, f = 2. state: remembers rounds.",
        "All about one: flwr-byzantine rules NAME",
    )
    table = Table.of("Aggregation and pre-aggregation rules", ("rule", "n≥", "f≤", "κ", "state", "cost", "reference"), rows)
    return replace(table, notes=notes)


def attacks_table(entries: Sequence[Entry]) -> Table:
    """A row for each attack."""
    rows = [(entry["name"], entry["knowledge"], entry["summary"], short(entry)) for entry in entries]
    notes = (
        "must know: own: its own honest update; honest: all honest updates; rule: those, and the server's rule.",
        "All about one: flwr-byzantine attacks NAME",
    )
    return replace(Table.of("Attacks", ("attack", "must know", "what it sends", "reference"), rows), notes=notes)


def short(entry: Entry) -> str:
    """The first publication of an entry, with the first author of three or more."""
    authors, _, venue = entry["reference"].split(";")[0].rpartition(", ")
    names = authors.split(", ")
    return f"{names[0]} et al., {venue}" if len(names) > 2 else f"{authors}, {venue}"


def _kappa(entry: Entry) -> str:
    value = entry["kappa_at_n_25_f_2"]
    return "-" if value is None else f"{value:.2f}"


def describe(entry: Entry, console: Console) -> None:
    """Print what an entry says, and for a chain what those of its parts say."""
    say(console, entry.get("signature", entry["name"]), "bold")
    for paragraph in (entry.get("summary", "Rules applied in order, all with the same f."), *entry.get("description", ())):
        say(console, paragraph)
    if entry.get("parameters"):
        _blank(console)
        show(parameters(entry), console)
    _blank(console)
    show(Table.of("Facts", ("what", "value"), facts(entry)), console)
    _blank(console)
    say(console, "Example", "italic")
    for line in entry["example"].splitlines():
        say(console, line)
    for part in entry.get("parts", ()):
        _blank(console)
        describe(part, console)


def parameters(entry: Entry) -> Table:
    """The parameters of a rule or an attack."""
    items = entry["parameters"]
    rows = [(p["name"], "required" if p["required"] else f"{p['default']}", p["values"], p["meaning"]) for p in items]
    return Table.of("Parameters", ("name", "default", "values", "meaning"), rows)


def facts(entry: Entry) -> Iterator[tuple[str, str]]:
    """What is known of a rule, a chain or an attack."""
    if entry["kind"] == "attack":
        yield "must know", KNOWLEDGE[entry["knowledge"]]
        yield "training data", "poisons the attackers'" if entry["poisons_data"] else "left as it is"
    else:
        yield from _guarantees(entry)
    if "source" in entry:
        yield "source", entry["source"] or entry["reference"]
    yield "BibTeX", entry["cite"]


KNOWLEDGE = {"own": "its own honest update", "honest": "all honest updates", "rule": "all honest updates and the server's rule"}


def _guarantees(entry: Entry) -> Iterator[tuple[str, str]]:
    yield "kind", entry["kind"]
    yield "needs n >=", f"{entry.get('condition', '')} At f = 2: {entry['min_n_at_f_2']}".strip()
    yield "largest f at n = 25", number(entry["largest_f_at_n_25"])
    yield "κ", entry.get("kappa") or ""
    yield "κ at n = 25, f = 2", number(entry["kappa_at_n_25_f_2"])
    yield "remembers rounds", "yes" if entry["stateful"] else "no"
    yield "cost", entry.get("cost", "that of its parts")


def number(value: float | None) -> str:
    """A count or a bound, "-" where there is none."""
    return "-" if value is None else f"{value:.3g}"


def _blank(console: Console) -> None:
    say(console, "")
