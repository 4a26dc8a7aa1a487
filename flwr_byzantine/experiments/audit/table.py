"""The findings of an audit as a table."""

from __future__ import annotations

from collections.abc import Sequence

from flwr_byzantine.experiments.audit.runner import Finding
from flwr_byzantine.monitor.show.table import Table


def summary(strategy: str, findings: Sequence[Finding]) -> str:
    """How many kinds of hostile reply a strategy survived wherever the attackers stood.

    Args:
        strategy: its name.
        findings: as `audit` gives them.

    Example:
        >>> summary("Mine", [Finding("NaN", (1,), "survived"), Finding("zip", (1,), "survived"), Finding("zip", (2,), "crashed")])
        'Mine: 1 of 2 kinds of hostile reply survived'
    """
    cases = {finding.case for finding in findings}
    bad = {finding.case for finding in findings if finding.outcome != "survived"}
    return f"{strategy}: {len(cases) - len(bad)} of {len(cases)} kinds of hostile reply survived"


def table(strategy: str, findings: Sequence[Finding]) -> Table:
    """A row for each case that did harm, a column for each placement, under the summary."""
    places = list(dict.fromkeys(finding.nodes for finding in findings))
    outcomes = {(finding.case, finding.nodes): finding.outcome for finding in findings}
    bad = dict.fromkeys(finding.case for finding in findings if finding.outcome != "survived")
    header = ("hostile reply", *(f"nodes {', '.join(map(str, place))}" for place in places))
    rows = [[case, *(outcomes[case, place] for place in places)] for case in bad]
    return Table.of(summary(strategy, findings), header, rows)
