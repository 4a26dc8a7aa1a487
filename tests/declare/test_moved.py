"""Modules by their old names: the same module, with a warning that says where it is."""

import importlib
import sys

import pytest

from flwr_byzantine.declare.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_a_moved_module_is_found_by_its_old_name(old, monkeypatch):
    monkeypatch.delitem(sys.modules, f"flwr_byzantine.{old}", raising=False)
    with pytest.warns(DeprecationWarning, match=f"flwr_byzantine.{old} has moved to flwr_byzantine.{MOVED[old]}"):
        found = importlib.import_module(f"flwr_byzantine.{old}")
    assert found is importlib.import_module(f"flwr_byzantine.{MOVED[old]}")


def test_a_module_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("flwr_byzantine.nothing")
