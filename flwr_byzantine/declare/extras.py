"""What is missing where an extra was not installed, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from flwr_byzantine.errors import MissingExtra

EXTRAS = {  # module -> the smallest extra of pyproject.toml that brings it
    **dict.fromkeys(("llvmlite", "numba"), "fast"),
    "scipy": "theory",
    "prometheus_client": "prometheus",
    **{name: name for name in ("mlflow", "tensorboard", "torch", "wandb")},
    **dict.fromkeys(("jinja2", "markupsafe", "matplotlib"), "report"),
    "sklearn": "detect",
    **dict.fromkeys(("datasets", "flwr_datasets", "ray", "torchvision"), "simulation"),
}
ENGINE = ("sklearn", "torch", *(name for name, extra in EXTRAS.items() if extra == "simulation"))  # what virtual clients need


def require(what: str, extra: str, *modules: str) -> None:
    """Look before long work whether all is there that it will need, by its end too.

    Args:
        what: who needs the modules, the subject of the sentence.
        extra: brings all of them.
        modules: to be importable.

    Raises:
        MissingExtra: one of them is not installed.

    Example:
        >>> require("this example", "report", "json")
    """
    for module in modules:
        if find_spec(module) is None:
            raise missing(what, ModuleNotFoundError(name=module), extra)


@contextmanager
def needed_by(what: str) -> Iterator[None]:
    """Around imports that an extra brings.

    Args:
        what: who needs them, the subject of the sentence.

    Raises:
        MissingExtra: one of them is not installed.

    Example:
        >>> with needed_by("this example"):
        ...     import json
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing(what, error) from None


def missing(what: str, error: ModuleNotFoundError, extra: str = "") -> MissingExtra:
    """The error for a module that was not found: who needs it, and what to install; by default the smallest extra that brings it.

    Example:
        >>> print(missing("empirical_kappa", ModuleNotFoundError(name="scipy.optimize")))
        empirical_kappa needs scipy, which is not installed; install it with: pip install 'flwr-byzantine[theory]'
    """
    module = (error.name or str(error)).split(".")[0]
    extra = extra or EXTRAS.get(module, "")
    command = f"flwr-byzantine[{extra}]" if extra else module
    return MissingExtra(f"{what} needs {module}, which is not installed; install it with: pip install '{command}'", name=error.name)
