"""What is printed is one line for each thing said, whoever chose the words: clients, users, files, other programs."""

import ast
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from flwr.app import MetricRecord
from rich.console import Console
from typer.testing import CliRunner

import flwr_byzantine as ours
from flwr_byzantine import legacy, rules
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments import audit, cli, report
from flwr_byzantine.experiments.bench.claims import Claim
from flwr_byzantine.experiments.bench.measure import Timing
from flwr_byzantine.experiments.bench.output import Report as Bench
from flwr_byzantine.experiments.bench.runner import OURS, Measurement, Size
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep.command import command, file_name
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

PACKAGE = Path(ours.__file__).parent
HOSTILE = {
    "markup": "[red]a[/red][/][link=file:///etc]b[/link]",
    "emoji code": "a:warning:b",
    "escape": "a\x1b[2J\x1b]8;;x\x07b",
    "lines": "a\nround 9: kept 11 of 11\r\nb",
    "nul": "a\x00b",
    "up": "../../a",
    "absolute": "/tmp/a",
    "windows": "C:\\a\\..\\b",
    "pipes": "a|b||c \\| d",
    "ticks": "a`b``c```",
    "html": "<script>alert(1)</script><img src=x onerror=y>&lt;",
    "stars": "**a** _b_ ~~c~~ # d [e](http://f)",
    "direction": "a\u202eb\u2066c",
    "zero width": "a\u200bb\ufeffc\u2060",
    "separator": "a\u2028b\u0085c",
    "surrogate": "a\ud800b",
    "mathematics": "$\\frac{a$ $b$",
    "braces": "{a} %s {0}",
    "formula": "=cmd()",
    "long": "a" * 3_000,
}
words = pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def is_fit(text):
    return not CONTROL.search(text)


def terminal(encoding="utf-8", width=100_000, tty=False):
    """A console without a terminal's width, and what it was given."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="")
    return Console(file=stream, width=width, force_terminal=tty, highlight=False)


def written(console):
    console.file.flush()
    return console.file.buffer.getvalue().decode(console.file.encoding)


# Who prints at all

PRINTS = {"print", "echo", "secho", "log", "flower_log", "warning", "info", "error", "debug", "exception"}
STREAMS = {"stdout", "stderr"}
DOORS = {  # what may print, and in which form; whatever else prints is to go through one of these
    "the terminal": lambda place, call: place == "monitor/show/terminal.py" and call.startswith("console.print(words("),
    "the log": lambda place, call: place == "flower/compat.py" and call.endswith("printable(text, LONGEST_LINE))"),
    "its callers": lambda place, call: (
        place.startswith(("strategy/", "flower/", "mods.py", "adversary.py")) and re.match(r"(compat\.|self\.)?log\(", call)
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


# Sweeps


def sweep_file(folder, name):
    path = folder / "s.toml"
    head = f'[sweep]\nname = {json.dumps(name)}\nrounds = 1\n[task]\nnum-clients = 3\nmodel = "softmax"\nlocal-steps = 1\n'
    path.write_text(f"{head}[grid]\nlr = [0.1]\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", sorted(HOSTILE.keys() - {"surrogate"}))  # which TOML cannot hold
def test_the_results_of_a_sweep_stay_in_its_folder_and_its_name_is_shown(kind, tmp_path, monkeypatch):
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    path, console = sweep_file(tmp_path, HOSTILE[kind]), terminal()
    monkeypatch.setattr("flwr_byzantine.experiments.sweep.runner.run_all", lambda cells, *_: (Result(c.config, c.key) for c in cells))
    assert command(path, None, 1, False, True, console) == 0
    assert command(path, None, 1, False, False, console) == 0
    found = [item.relative_to(tmp_path).as_posix() for item in tmp_path.rglob("*") if item.is_file() and item != path]
    assert len(found) == 1
    assert Path(found[0]).parent == Path("deep/er")
    assert escaped(HOSTILE[kind]) in written(console)
    assert is_fit(written(console).replace("\r", ""))


@words
def test_a_sweeps_file_has_a_plain_name(name):
    made = file_name(name)
    assert made == Path(made).name
    assert made.isprintable()
    assert 0 < len(made.encode()) < 200
    assert not made.startswith(".")


@words
def test_mistakes_in_files_are_one_sentence_on_one_line(name, tmp_path, monkeypatch, capsys):
    path = tmp_path / "s.toml"
    if name.isascii():
        path.write_text(f"[sweep]\n{json.dumps(name)} = 1\n", encoding="utf-8")
        with pytest.raises(InvalidParameter) as mistake:
            command(path, None, 1, False, False, terminal())
        console = terminal()
        say(console, f"error: {mistake.value}")
        assert written(console).count("\n") == 1
        assert is_fit(written(console))
    monkeypatch.setattr(cli, "app", lambda: (_ for _ in ()).throw(InvalidParameter(f"unknown key {name}")))
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr() == ("", f"error: unknown key {escaped(name)}\n")


# Results and their pages, where figures may be ugly

ugly = pytest.mark.filterwarnings("ignore:constrained_layout not applied", "ignore:Glyph")


class Tags(HTMLParser):
    """The names of all elements of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def hostile_results(folder, names):
    """A results file in which strategies, attacks, options, keys, versions and errors have these names."""
    lines = []
    for k, name in enumerate(names):
        for attack in ("none", name):
            config = {"strategy": name, "strategy_options": {name: name}, "attack": attack, "seed": 0, "f": k % 2, name: name, "gamma": 0.5}
            course = {"accuracy": [0.1, 0.5]}
            line = {"key": f"{k}{attack}", "status": "ok", "config": config, "course": course, "final": {"accuracy": 0.5, name: 0.5}}
            lines.append(line | {"seconds": 1.0, "versions": {name: name}})
        lines.append(lines[-1] | {"key": f"{k}x", "status": "failed", "error": f"ValueError: {name}"})
    path = folder / "results.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@ugly
def test_a_report_of_hostile_results_stays_in_its_folder_and_is_fit_to_print(tmp_path):
    kinds = ("up", "html", "lines", "nul", "surrogate", "mathematics", "long")
    names = [*(HOSTILE[kind] for kind in kinds), "плохо", "хуже"]
    made = report.write(hostile_results(tmp_path, names), tmp_path / "out", by=["f"], title=HOSTILE["html"])
    inside = {path for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*inside, tmp_path / "results.jsonl"}
    assert set(made.files) == inside
    assert len(made.files) == len(set(made.files))
    page = made.page.read_text(encoding="utf-8")
    found = Tags(page)
    assert found.tags.count("script") == 1
    assert {tag for tag in found.tags if tag in ("link", "iframe", "b", "i")} == set()
    assert not [name for name in found.attributes if name.startswith("on")]
    assert is_fit(page)
    assert is_fit((tmp_path / "out" / "tables.md").read_text(encoding="utf-8"))
    for path in inside:
        if path.suffix == ".svg":
            ElementTree.parse(path)
    console = terminal()
    report.to_console(made, console)
    assert is_fit(written(console))


@ugly
def test_the_command_reports_them_too(tmp_path):
    path = hostile_results(tmp_path, [HOSTILE["markup"], HOSTILE["escape"]])
    done = CliRunner().invoke(cli.app, ["report", str(path), "--out", str(tmp_path / "[red]out[/red]")])
    assert done.exit_code == 0, done.output
    assert "[red]out[/red]" in done.output.replace("\n", "")
    assert is_fit(done.output)


@words
def test_tables_of_audit_and_benchmark_are_fit_to_print(name):
    findings = [audit.Finding(name, (1,), "crashed", name)]
    size = Size(11, 100)
    measured = [Measurement(name, OURS, size, Timing(None, error=f"{name}")), Measurement(name, name, size, Timing(0.1))]
    machine = {"processor": name, "cores": 1, "memory_gib": 1.0, "python": name, "versions": {name: name}, "compiled_kernels": True}
    bench = Bench(machine, {"read_bytes_per_s": 1e9, "gemm_macs_per_s": 1e9}, [name], measured, [Claim(name, name, name, False)])
    console = terminal()
    for table in (audit.table(name, findings), *bench.tables(), bench.claims_table()):
        show(table, console)
    assert is_fit(written(console))
    assert is_fit(bench.markdown())


# Terminals


def run(*arguments, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "120"}
    return subprocess.run([sys.executable, "-m", "flwr_byzantine", *arguments], capture_output=True, env=environment, check=False)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_knows_few_letters_gets_escapes(encoding):
    done = run("rules", encoding=encoding)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding)
    assert "Krum" in shown
    assert "\\u03ba" in shown  # kappa


def test_listings_show_what_classes_say_of_themselves(monkeypatch):
    """A rule and an attack of the user's, whose documentation holds marks."""

    class Odd(rules.Krum):
        """[red]a[/red]|b."""

        reference = "[/]\x1b[2J"

    monkeypatch.setattr(rules, "available", lambda: [Odd])
    done = CliRunner().invoke(cli.app, ["rules"], env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    assert "[/]\\x1b[2J" in done.output
