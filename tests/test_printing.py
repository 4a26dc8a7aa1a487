"""What is printed is one line for each thing said, whoever chose the words: clients, users, files, other programs."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import MetricRecord

import flwr_byzantine as ours
from flwr_byzantine import legacy
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower import compat
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.words import escaped, is_printable, printable
from flwr_byzantine.monitor.show import terminal as printed
from flwr_byzantine.monitor.show.printing import show
from flwr_byzantine.monitor.show.table import Field, Table
from flwr_byzantine.monitor.show.terminal import progress, say
from flwr_byzantine.strategy import checkpoint
from flwr_byzantine.strategy.legacy import node_of
from flwr_byzantine.strategy.metrics import aggregate_metrics
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from tests.support.federation import N, client_app, start
from tests.support.legacy import one_round
from tests.support.printing import HOSTILE, is_fit, terminal, words, written

PACKAGE = Path(ours.__file__).parent


# Who prints at all

PRINTS = {"print", "echo", "secho", "log", "flower_log", "warning", "info", "error", "debug", "exception"}
STREAMS = {"stdout", "stderr"}
DOORS = {  # what may print, and in which form; whatever else prints is to go through one of these
    "the terminal": lambda place, call: place == "monitor/show/terminal.py" and call.startswith("console.print(words("),
    "the log": lambda place, call: place == "flower/compat.py" and call.endswith("printable(text, LONGEST_LINE))"),
    "its callers": lambda place, call: (
        place.startswith(("strategy/", "flower/", "mods.py", "adversary/")) and re.match(r"(compat\.|self\.)?log\(", call)
    ),
    "a table": lambda place, call: place == "monitor/show/printing.py" and call == "console.print(view)",
    "a tracker": lambda place, call: place == "monitor/callbacks.py" and call.startswith("self._run.log("),
    "the live view, all of whose texts are words": lambda place, call: (
        place == "experiments/cli/seeing.py" and call.startswith("console.print(view(")
    ),
    "JSON or BibTeX": lambda place, call: place.startswith("experiments/cli/") and re.match(r"typer\.echo\((json\.dumps|citation)\(", call),
}


def printing_calls():
    """(file, call) for whatever may put words on a terminal or into a log."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                *owner, name = ast.unparse(node.func).split(".")
                if (name in PRINTS and owner[-1:] not in (["np"], ["math"])) or (name == "write" and owner[-1] in STREAMS):
                    yield path.relative_to(PACKAGE).as_posix(), ast.unparse(node)


def test_whatever_prints_does_it_through_one_of_few_doors():
    through = {(place, call): [door for door, is_it in DOORS.items() if is_it(place, call)] for place, call in printing_calls()}
    assert {door for doors in through.values() for door in doors} == set(DOORS)
    assert [item for item, doors in through.items() if not doors] == []


def test_no_form_of_rich_that_reads_marks_is_left():
    source = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert [path.name for path, text in source.items() if re.search(r"from_markup|rich\.markup|markup=True", text)] == []
    assert [path.name for path, text in source.items() if "TextColumn(" in text] == ["terminal.py"]


# The doors


@words
def test_words_are_one_line_and_the_same_again(name):
    for fit in (escaped(name), printable(name)):
        assert fit.isprintable()
        assert escaped(fit) == fit
    assert len(printable(name)) <= 200
    assert is_printable(printable(name))
    assert is_printable(name) == (printable(name) == name)


@words
def test_a_line_on_the_terminal_shows_the_words_as_they_are(name):
    console = terminal()
    say(console, f"results: {name}", "red")
    assert written(console) == f"results: {escaped(name)}\n"


@words
def test_a_progress_bar_shows_the_words_as_they_are(name, monkeypatch):
    console = terminal(tty=True)
    monkeypatch.setattr(printed, "errors", lambda: console)
    with progress(width=5) as bar:
        bar.add_task(escaped(name), total=1)
    assert escaped(name) in written(console)


@words
def test_a_table_stays_a_table(name):
    fields = (Field(name, name, best=True, note=name), Field("1", number=1.0))
    table = Table(name, (name, "n"), (fields, (Field("x"), Field(name))), notes=(name, "second"))
    for tty in (False, True):
        console = terminal(tty=tty)
        show(table, console)
        shown = re.sub(r"\x1b\[\d*m", "", written(console))
        assert is_fit(shown)
        assert shown.count(escaped(name)) >= 5
    title, _, head, marks, *body = table.markdown().splitlines()
    assert title.startswith("### ")
    assert [len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in (head, marks, *body[:2])] == [3] * 4
    assert len(table.markdown().splitlines()) == 10
    assert is_fit(table.markdown())
    assert not re.search(r"(?<!\\)(?:\\\\)*[<`\[~]", table.markdown())


def test_names_without_marks_are_left_alone_in_markdown():
    assert "| nnm+krum (m=5, local_steps=3) ± 0.5 |" in Table.of("T", ("a",), [["nnm+krum (m=5, local_steps=3) ± 0.5"]]).markdown()


@words
def test_a_line_of_the_log_is_one_line(name, caplog):
    with caplog.at_level(20, logger="flwr"):
        compat.log(20, f"round 1: {name}")
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 2_100


@words
def test_a_report_of_a_round_is_fit_to_print(name):
    nodes = {7: NodeReport("failed", f"the client reported an error: {name}"), 8: NodeReport("kept", weight=1.0)}
    made = RoundReport(1, 2, 2, 1, 0, f"Own({name})", True, True, f"note {name}", nodes)
    assert all(text.isprintable() for _, text in made.lines())
    assert RoundReport.from_json(made.to_json()) == made
    made.to_json().encode("utf-8")


def test_the_cause_stands_at_the_end_of_what_the_simulation_engine_says():
    """As Ray 2 and Flower 1.42 put it, where a ClientApp raises."""
    actor = "\x1b[36mray::ClientAppActor.run()\x1b[39m (pid=25797, ip=192.0.2.2, actor_id=7f1c9596ca52c31f73cfb25b01000000)"
    last = "Exception ClientAppException occurred. Message: no file data.csv on this device'>"
    reason = (
        f"<class 'ray.exceptions.RayTaskError(ClientAppException)'>:<'{actor}\n"
        + f'  File "client_app.py", line 161, in __call__\n    return self._registered_funcs[full_name](message, context)\n{"^" * 58}\n' * 3
        + "ValueError: no file data.csv on this device\n\nThe above exception was the direct cause of the following exception:\n\n"
        + f'{actor}\n  File "ray_actor.py", line 65, in run\n    raise ClientAppException(str(ex)) from ex\n'
        + f"flwr.clientapp.client_app.ClientAppException: \n{last}"
    )
    said = NodeReport("failed", printable(f"the client reported an error: {reason}")).reason
    assert said.startswith("the client reported an error: <class 'ray")
    assert "Message: no file data.csv on this device" in said
    assert len(said) <= 200


# Names of metrics, which clients choose and Flower logs


def named_metrics(names):
    def change(reply):
        reply.content["metrics"] = MetricRecord({**dict(reply.content["metrics"]), **dict.fromkeys(names, 1.0)})
        return reply

    return change


LONG_AND_ODD = [name for key, name in HOSTILE.items() if key not in ("markup", "emoji code", "pipes", "ticks", "html", "braces", "formula")]


def test_names_of_metrics_reach_flowers_log_only_where_they_are_fit_to_print(caplog):
    """Even where all replies have them."""
    names = [name[:400] for name in LONG_AND_ODD]
    with caplog.at_level(20, logger="flwr"):
        result = ours.FedMedian().start(LocalGrid(client_app(), N, spoil=named_metrics(names)), start(), 1)
    for record in (result.train_metrics_clientapp[1], result.evaluate_metrics_clientapp[1]):
        assert {name for name in record if name in names} == {name for name in names if is_printable(name)}
    lines = [record.getMessage().replace("\t", "") for record in caplog.records]
    assert all(line.isprintable() and len(line) < 1_000 for line in lines)


@pytest.mark.parametrize("name", LONG_AND_ODD)
def test_nor_do_they_through_the_legacy_api_or_a_function_of_the_users(name):
    bad = {name[:400]: 1.0, "loss": 1.0}
    _, metrics = one_round(legacy.FedMedian(), metrics=lambda node: bad)
    assert all(map(is_printable, metrics))
    own = aggregate_metrics([], "", lambda: {**bad, "who": name}, lambda *_: None)
    assert all(map(is_printable, own))
    assert is_printable(own["who"])


@words
def test_an_error_about_a_checkpoint_is_one_line_whatever_it_quotes(name, tmp_path, monkeypatch):
    def quote(file):
        raise ValueError(f"cannot parse {name}")

    monkeypatch.setattr(checkpoint, "_read", quote)
    (tmp_path / "run.npz").write_bytes(b"x")
    with pytest.raises(InvalidParameter) as mistake:
        checkpoint.load(tmp_path / "run.npz")
    assert str(mistake.value).isprintable()
    assert len(str(mistake.value)) < 600


@pytest.mark.parametrize("cid", ["hospital-a", "²", "--5", "9" * 5_000, "a\nb", "\ud800", ""])
def test_any_legacy_client_id_is_a_number_in_what_is_printed(cid):
    proxy = SimpleNamespace(cid=cid)
    assert str(node_of(proxy)).isdecimal()
    assert node_of(proxy) == node_of(proxy) != node_of(SimpleNamespace(cid=cid + "b"))
