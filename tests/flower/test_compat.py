"""Flower's inside: what we expect of it holds, a change is told in one sentence, and nobody else reaches into it."""

import ast
import importlib
import re
from pathlib import Path

import flwr.serverapp.strategy.strategy_utils
import flwr.supercore.task_identity
import pytest
from flwr.app import Message, Metadata, RecordDict

from flwr_byzantine.errors import ByzantineError
from flwr_byzantine.flower import compat
from tests.support.canary import EXPECTED, Expectation, complaint

ROOT = Path(__file__).parents[2]
FILES = [path for room in ("flwr_byzantine", "clients", "simulations", "tests") for path in sorted((ROOT / room).rglob("*.py"))]
OURS = {ROOT / "flwr_byzantine/flower" / name for name in ("compat.py", "superlink.py")} | {
    Path(__file__),
    ROOT / "tests/deployment/test_compose.py",  # asks the parsers of Flower's programs
    *(ROOT / "tests/deployment/hostile").rglob("*.py"),
}  # may reach into Flower
PUBLIC = {  # modules that Flower documents
    "flwr.app",
    "flwr.client",
    "flwr.clientapp",
    "flwr.clientapp.mod",
    "flwr.clientapp.typing",  # ClientAppCallable and Mod, for signatures of mods
    "flwr.common",
    "flwr.server",
    "flwr.server.client_proxy",  # ClientProxy, for signatures of legacy strategies
    "flwr.server.strategy",
    "flwr.server.workflow",
    "flwr.serverapp",
    "flwr.serverapp.strategy",
    "flwr.simulation",
}
RECORDS = {
    "array",
    "arrays",
    "bad",
    "content",
    "context",
    "message",
    "metadata",
    "record",
    "reply",
}  # Flower's objects, here


@pytest.mark.parametrize("expectation", EXPECTED, ids=lambda expectation: expectation.function)
def test_flower_is_as_we_expect(expectation):
    if said := complaint(expectation):
        pytest.fail(said, pytrace=False)


def test_every_function_is_watched():
    names = {node.name for node in ast.parse(Path(compat.__file__).read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}
    watched = {re.split(r"\W", expectation.function)[0] for expectation in EXPECTED}
    assert names - watched == {"_kept", "app_of", "changed", "flower_version", "log"}  # these use nothing of the inside


def test_what_moved_is_told_in_one_sentence(monkeypatch):
    monkeypatch.delattr(flwr.supercore.task_identity, "TaskIdentity")
    (watched,) = [expectation for expectation in EXPECTED if expectation.function == "ensure_task_identity"]
    start = f"flwr {flwr.__version__}: this package expects flwr.supercore.task_identity.TaskIdentity, which is not there; mend "
    assert complaint(watched) == start + "flwr_byzantine.flower.compat.ensure_task_identity"


def test_what_means_something_else_is_told_in_one_sentence(monkeypatch):
    monkeypatch.setattr(flwr.serverapp.strategy.strategy_utils, "aggregate_metricrecords", print)
    (watched,) = [expectation for expectation in EXPECTED if expectation.function == "is_flowers_average"]
    said = complaint(watched)
    assert said.endswith("strategy_utils.aggregate_metricrecords; mend flwr_byzantine.flower.compat.is_flowers_average")
    assert "\n" not in said
    assert complaint(Expectation("log", "the number one", lambda: 1 / 0 == 1)).count("ZeroDivisionError (division by zero)") == 1


def test_metadata_that_flower_no_longer_has():
    compat.ensure_task_identity()
    with pytest.raises(ByzantineError, match=r"Metadata to keep sender in its attribute _sender; mend .*\.set_metadata$"):
        compat.set_metadata(Message(RecordDict(), 1, "train"), sender=3)
    assert Metadata.src_node_id.fset is None  # where Flower has a setter, set_metadata may go


def test_an_identity_that_an_engine_gave_stays(monkeypatch):
    identity = flwr.supercore.task_identity.TaskIdentity
    monkeypatch.setattr(identity, "_run_id", 42)
    monkeypatch.setattr(identity, "_node_id", None)
    compat.ensure_task_identity()
    assert (identity.run_id, identity.node_id) == (42, 1)


def test_log_says_who_speaks(caplog):
    caplog.set_level(30, logger="flwr")
    compat.log(30, "100% of it")
    assert caplog.record_tuples == [("flwr", 30, "flwr-byzantine: 100% of it")]


def undocumented(module, names):
    """The first of the names that the module does not name in its `__all__`; None where it names all, or has no `__all__`."""
    documented = getattr(importlib.import_module(module), "__all__", names)
    return next((f"{module}.{name}" for name in names if name not in documented), None)


def reaches(node):
    """What of Flower's inside a syntax node uses, as text; None where it uses nothing."""
    if isinstance(node, ast.Import):
        names = [item.name for item in node.names if item.name.startswith("flwr.") and item.name not in PUBLIC]
        return names[0] if names else None
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "flwr":
        return node.module if node.module not in PUBLIC else undocumented(node.module, [item.name for item in node.names])
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
        named = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
        return named if str(named).startswith("flwr.") and named not in PUBLIC else None
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and str(node.slice.value).startswith("_"):
        return ast.unparse(node) if ast.unparse(node.value).endswith("__dict__") else None
    if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
        return ast.unparse(node) if ast.unparse(node.value).split(".")[-1] in RECORDS else None
    return None


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from flwr.supercore import log", True),
        ("import flwr.server.strategy.aggregate as x", True),
        ("from flwr.app import _Message", True),
        ("from flwr.server.strategy import aggregate", True),
        ("importlib.import_module('flwr.proto.fab_pb2')", True),
        ("reply.metadata.__dict__['_src_node_id'] = 3", True),
        ("message._content", True),
        ("self.reply.content._data", True),
        ("from flwr.serverapp.strategy import FedAvg", False),
        ("import flwr.simulation", False),
        ("importlib.import_module('flwr.server')", False),
        ("self._content, message.content", False),
    ],
)
def test_reaching_inside_is_noticed(code, found):
    assert any(reaches(node) is not None for node in ast.walk(ast.parse(code))) == found


def test_nobody_else_reaches_inside():
    assert len(FILES) > 100
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {what}"
        for path in FILES
        if path not in OURS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (what := reaches(node)) is not None
    ]
    assert found == []
