"""Which run a checkpoint is of: what must be the same in the program that goes on from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flwr.server.strategy import Strategy as LegacyStrategy

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.strategy.attributes import owners

MODEL_ADVICE = "give the model that the run began with, or another checkpoint="


@dataclass(frozen=True)
class Identity:
    """What a run is, but for its model.

    Attributes:
        strategy: the classes' names, the wrapped ones' after "over".
        rule: as text; where f or the rule depend on the number of replies, at 50 and at 100 of them.
        run_name: as the user calls the run.
        app: Flower's name of the app ("publisher/name"), empty where it is not known: outside `flwr run`.
        lora: what decides the scale of adapters, empty without them.
    """

    strategy: str
    rule: str
    run_name: str | None = None
    app: str = ""
    lora: str = ""

    @classmethod
    def of(cls, strategy: Any, inner: object, rule: Callable[[int], Rule], app: str) -> Identity:
        """That of a strategy (a `Policy`) over an inner one."""
        names = " over ".join(dict.fromkeys(type(owner).__name__ for _, owner in owners([strategy, inner])))
        few, many = str(rule(50)), str(rule(100))
        lora = "" if strategy.lora is None else strategy.lora.scales
        text = many if few == many else f"{few} at 50 replies and {many} at 100"
        return cls(("legacy " if isinstance(strategy, LegacyStrategy) else "") + names, text, strategy.run_name, app, lora)

    def require(self, saved: Mapping[str, Any], path: object) -> Identity:
        """The identity that a resumed run goes on with: the checkpoint's, with the app's name once it is known.

        Raises:
            InvalidParameter: the checkpoint at this path is of another strategy, rule, run or app; one sentence names both.
        """
        theirs = Identity(**saved)
        for name, advice in _ADVICE.items():
            there, here = getattr(theirs, name), getattr(self, name)
            if there != here and (name != "app" or (there and here)):
                what = name.replace("_", " ")
                say = f"strategy: checkpoint {str(path)!r} is of another {what}: {there!r} there, {here!r} here; {advice}"
                raise InvalidParameter(say)
        return Identity(**{**asdict(theirs), "app": theirs.app or self.app})


_ADVICE = {
    "strategy": "give the same strategy, or another checkpoint=",
    "rule": "give the same rule, or another checkpoint=",
    "run_name": "give the same run_name=, or another checkpoint=",
    "lora": "give the same lora=, or another checkpoint=",
    "app": "two apps cannot have one checkpoint: give each an absolute path of its own",
}


def require_model(saved: Mapping[str, Array], given: Mapping[str, Any], path: object, judged: Collection[str] | None = None) -> None:
    """Refuse a checkpoint of another model: other names, shapes or dtypes.

    Args:
        saved: name -> array of the checkpoint.
        given: name -> array of this program's model.
        path: of the checkpoint.
        judged: names of the arrays that are judged; lists among the others may have grown since the run began.

    Raises:
        InvalidParameter: one sentence names the first array that differs, on both sides.
    """
    there, here = _forms(saved), _forms(given)
    for name in dict.fromkeys([*there, *here]):
        theirs, ours = there.get(name, "nothing"), here.get(name, "nothing")
        if theirs != ours and (judged is None or name in judged or not _grown(saved.get(name), given.get(name))):
            say = f"strategy: checkpoint {str(path)!r} is of another model: array {name!r} is {theirs} there, {ours} here"
            raise InvalidParameter(f"{say}; {MODEL_ADVICE}")


def _forms(arrays: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{value.dtype} of shape {tuple(value.shape)}" for name, value in arrays.items()}


def _grown(saved: Any, given: Any) -> bool:
    """Whether both are there, lists of one dtype."""
    return saved is not None and given is not None and saved.dtype == given.dtype and max(len(saved.shape), len(given.shape)) < 2
