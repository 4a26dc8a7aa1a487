"""The findings of an audit as a table."""

from __future__ import annotations

from collections.abc import Sequence

from flwr_byzantine.experiments.audit.runner import Finding
from flwr_byzantine.experiments.table import Table


def table(strategy: str, findings: Sequence[Finding]) -> Table:
    """A row for each case that did harm, a column for each placement; cases survived everywhere are counted in the title.

    Args:
        strategy: its name, for the title.
        findings: as `audit` gives them.
    """
    places = list(dict.fromkeys(finding.nodes for finding in findings))
    outcomes = {(finding.case, finding.nodes): finding.outcome for finding in findings}
    cases = list(dict.fromkeys(finding.case for finding in findings))
    bad = [case for case in cases if any(outcomes[case, place] != "survived" for place in places)]
    header = ("hostile reply", *(f"nodes {', '.join(map(str, place))}" for place in places))
    rows = [[case, *(outcomes[case, place] for place in places)] for case in bad]
    return Table.of(f"{strategy}: {len(cases) - len(bad)} of {len(cases)} kinds of hostile reply survived", header, rows)
