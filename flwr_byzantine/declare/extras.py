"""What is missing where an extra was not installed, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flwr_byzantine.errors import MissingExtra

EXTRAS = {  # module -> the smallest extra of pyproject.toml that brings it
    **dict.fromkeys(("llvmlite", "numba"), "fast"),
    "scipy": "theory",
    "prometheus_client": "prometheus",
    **{name: name for name in ("mlflow", "tensorboard", "torch", "wandb")},
    **dict.fromkeys(("jinja2", "matplotlib"), "report"),
    **dict.fromkeys(("datasets", "flwr_datasets", "ray", "sklearn", "torchvision"), "simulation"),
}


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


def missing(what: str, error: ModuleNotFoundError) -> MissingExtra:
    """The error for a module that was not found: who needs it, and what to install.

    Example:
        >>> print(missing("empirical_kappa", ModuleNotFoundError(name="scipy.optimize")))
        empirical_kappa needs scipy, which is not installed; install it with: pip install 'flwr-byzantine[theory]'
    """
    module = (error.name or str(error)).split(".")[0]
    command = f"flwr-byzantine[{EXTRAS[module]}]" if module in EXTRAS else module
    return MissingExtra(f"{what} needs {module}, which is not installed; install it with: pip install '{command}'", name=error.name)
