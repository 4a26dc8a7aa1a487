"""Rules by name, as written on a command line or in a configuration: "nnm+trimmed-mean"."""

from __future__ import annotations

from typing import Any

from flwr_byzantine import rules


def parse_rule(text: str, f: int, **options: Any) -> rules.Rule:
    """The rule or chain called `text`: names joined by "+", each with this f and those of the options it has.

    Args:
        text: e.g. "krum", "multi-krum", "nnm+trimmed-mean".
        f: number of Byzantine rows.
        options: further parameters, e.g. s=2 for bucketing.

    Raises:
        InvalidParameter: an unknown name; the message lists the choices.

    Example:
        >>> str(parse_rule("nnm+trimmed-mean", f=2))
        'NNM(f=2) + TrimmedMean(f=2)'
    """
    return rules.chain(*(_one(rules.get(name.strip()), f, options) for name in text.split("+")))


def _one(cls: type[rules.Rule], f: int, options: dict[str, Any]) -> rules.Rule:
    given = {"f": f, **options}
    return cls(**{name: given[name] for name in cls.__dataclass_fields__ if name in given})  # type: ignore[attr-defined]
