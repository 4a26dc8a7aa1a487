"""The table of the study's page, from the committed results.

python -m simulations.lora.page
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean

FOLDER = Path(__file__).parent
MARK = "<!-- results -->"
HEAD = "| rule | adapter of the server | nobody attacks | three malicious, one hidden | three honest in another basis |"


def table() -> str:
    """Mean accuracy in % over the seeds, and its range."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in (FOLDER / "results.jsonl").read_text(encoding="utf-8").splitlines():
        cell = json.loads(line)
        found[cell["rule"], cell["form"]][cell["attack"]].append(cell["accuracy"])
    rows = [
        f"| {rule} | {_form(rule, form)} | {' | '.join(_shown(of[attack]) for attack in ATTACKS)} |" for (rule, form), of in found.items()
    ]
    return "\n".join([HEAD, "| --- | --- | ---: | ---: | ---: |", *rows])


ATTACKS = ("none", "hidden", "turned")


def _form(rule: str, form: str) -> str:
    return (
        "factors averaged, zeros filled in"
        if rule == "factors"
        else {"svd": "svd, rank 16", "stack": "stack", "fresh": "stack, fresh"}[form]
    )


def _shown(values: list[float]) -> str:
    return f"{fmean(values):.1f} ({min(values):.1f} to {max(values):.1f})" if values else ""


def main() -> None:
    """Write the table into the page."""
    page = FOLDER / "README.md"
    before, _, after = page.read_text(encoding="utf-8").split(MARK)
    page.write_text(f"{before}{MARK}\n\n{table()}\n\n{MARK}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
