"""What is printed of listings, sweeps and results is fit to print, and they stay in their folder, whatever their names are."""

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from flwr_byzantine import rules
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments import audit, cli, report
from flwr_byzantine.experiments.bench.claims import Claim
from flwr_byzantine.experiments.bench.measure import Timing
from flwr_byzantine.experiments.bench.output import Report as Bench
from flwr_byzantine.experiments.bench.runner import OURS, Measurement, Size
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep.command import command, file_name
from flwr_byzantine.flower.words import escaped
from flwr_byzantine.monitor.show.printing import show
from flwr_byzantine.monitor.show.terminal import say
from tests.support.printing import HOSTILE, is_fit, terminal, words, written

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
