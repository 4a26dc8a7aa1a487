"""The page of a run: of a real deployment with a hostile node, of large runs, of hostile words; and `report`, which makes it."""

import base64
import json
import re
import struct
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments import cli
from flwr_byzantine.monitor import page
from flwr_byzantine.monitor.reading import read
from flwr_byzantine.monitor.records import COLOURS, QUARANTINE, SKIPPED, records
from flwr_byzantine.monitor.tables import detectors_table
from flwr_byzantine.strategy.report import NodeReport, RoundReport, Suspicion

DEPLOYMENT = Path(__file__).parents[2] / "docs" / "examples" / "rounds.jsonl"  # SuperLink, six SuperNodes, one node of an attacker's
HOSTILE = "2919482968681426024"
WORDS = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m{{ 7*7 }}&amp;\u202e'\""


class Seen(HTMLParser):
    """What a browser would find."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.links, self.handlers, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.words.append(data)


def run_of(*reports):
    found = read_lines(reports)
    return page.Run.of(found)


def read_lines(reports):
    from flwr_byzantine.monitor.reading import Reports

    found = Reports()
    for report in reports:
        assert found.add(report.to_json().encode())
    return found


def report(number, nodes, **fields):
    valid = sum(entry.status in ("kept", "rejected") for entry in nodes.values())
    return RoundReport(
        number, len(nodes), len(nodes), valid, 1, "Krum(f=1)", True, fields.pop("aggregated", True), nodes=nodes, run="a1", **fields
    )


@pytest.fixture(scope="module")
def deployed():
    return page.Run.of(read(DEPLOYMENT))


@pytest.fixture(scope="module")
def text(deployed):
    return page.html(deployed, "rounds.jsonl")


def test_the_hostile_node_stands_apart_at_the_top(deployed, text):
    assert deployed.nodes[0].name == HOSTILE
    assert deployed.suspects[0] is deployed.nodes[0]
    assert deployed.nodes[0].suspicion > 3 * deployed.nodes[1].suspicion
    assert re.search(rf'class="alert suspects">.*?<td[^>]*>{HOSTILE}</td>', text, re.DOTALL)


def test_the_page_needs_nothing_from_outside(text):
    seen = Seen(text)
    assert all(link.startswith(("data:", "#")) for link in seen.links)
    assert not re.search(r"@import|url\((?!data:)", text)
    assert not {"link", "iframe", "object"} & set(seen.tags)


@pytest.mark.parametrize("heading", ["Nodes and rounds", "Quarantine", "Why replies were not used", "Replies, f and margin", "Scores", "κ",
    "Certificate", "Times", "Evaluation", "Slowest nodes", "Notes", "Rounds"])  # fmt: skip
def test_it_has_all_that_the_reports_have(text, heading):
    assert f"<h2>{heading}</h2>" in text


def test_whom_detectors_left_out_is_shown_with_what_they_said():
    out, kept = (NodeReport("kept", detections={"FLDetector": Suspicion(score, 1.5, keep)}) for score, keep in ((2.0, False), (1.0, True)))
    run = run_of(report(1, {7: out, 8: kept}), report(2, {7: kept, 8: kept}), report(3, {7: out, 8: kept}))
    table = detectors_table(run.reports)
    assert [[item.text for item in row] for row in table.rows] == [["7", "FLDetector", "2", "3", "1, 3", "2.000", "1.500"]]
    assert 'id="detected"' in page.html(run, "run")
    assert detectors_table(run.reports[1:2]) is None


def test_a_stay_in_quarantine_is_shown_with_its_reasons(deployed):
    first, second = deployed.nodes[0].bans
    assert (first.after + 1, first.until) == (10, 13)
    assert first.why.startswith(
        "4 invalid, 3 rejected, 1 missing, 1 failed; the last: expected a reply, got content that raises IndexError"
    )
    assert second.why.startswith("3 invalid, 2 rejected, 1 missing")
    assert [deployed.nodes[0].at(number) for number in (9, 10, 13, 14)] == ["invalid", QUARANTINE, QUARANTINE, "rejected"]


def test_a_round_that_was_skipped_is_nobodys_fault(deployed):
    (skipped,) = deployed.skipped
    assert {node.at(skipped.server_round) for node in deployed.nodes} == {"missing", "failed", SKIPPED}


def test_who_is_left_out_by_chance_is_not_suspicious():
    nodes = [{i: NodeReport("kept" if i == number % 10 else "rejected", score=1.0) for i in range(10)} for number in range(10)]
    found = records([report(number, each) for number, each in enumerate(nodes, 1)])
    assert max(record.suspicion for record in found) < 1e-9
    always = [{i: NodeReport("rejected" if i == 3 else "kept") for i in range(10)} for _ in range(10)]
    assert records([report(number, each) for number, each in enumerate(always, 1)])[0].name == "3"


def test_hostile_words_are_words(tmp_path):
    line = json.loads(report(1, {7: NodeReport("invalid", "x"), 8: NodeReport("kept", score=1.0, weight=1.0)}).to_json())
    line["nodes"][WORDS] = {"status": WORDS, "reason": WORDS, "score": 1e308}
    line |= {"note": WORDS, "notes": [WORDS, 7], "rule": WORDS, "run": WORDS, "evaluation": {WORDS: {WORDS: 1.0}}, "banned": {WORDS: 0}}
    path = tmp_path / "rounds.jsonl"
    path.write_text(json.dumps(line) + "\n")
    text = page.write(path).read_text(encoding="utf-8")
    seen = Seen(text)
    assert seen.tags.count("script") == 2  # the map's data, and the page's own
    assert seen.handlers == []
    assert "x" not in seen.links
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert any("alert(1)" in words for words in seen.words)


def test_letters_that_no_font_has_cost_no_warning_and_a_leading_underscore_no_legend(tmp_path):
    line = json.loads(report(1, {}).to_json())
    line["nodes"] = {name: {"status": "rejected", "reason": "", "score": 1.0} for name in ("名前", "_mine")}
    line["nodes"]["b"] = {"status": "kept", "reason": "", "score": 1.0}
    path = tmp_path / "rounds.jsonl"
    path.write_text(json.dumps(line) + "\n")
    assert any("<!--  _mine -->" in drawn for drawn in drawings(page.write(path).read_text(encoding="utf-8")))


def drawings(text):
    """The pictures of a page as SVG."""
    return [base64.b64decode(each).decode() for each in re.findall(r'"data:image/svg\+xml;base64,([^"]+)"', text)]


def test_a_run_of_one_round_is_drawn_as_points():
    entries = {i: NodeReport("kept", score=1.0, weight=0.5, seconds=1.0) for i in range(2)}
    shown = drawings(page.html(run_of(report(1, entries, seconds=1.0, kappa=2.0)), "x"))
    assert len(shown) == 2 * 4
    assert all(re.search(r'<g id="line2d_\d+">\s*<path[^>]*/>\s*<defs>\s*<path id="m', drawn) for drawn in shown)


def test_where_no_round_was_aggregated_no_share_is_drawn_and_columns_of_zeros_are_left_out():
    nodes = {1: NodeReport("rejected", "skipped"), 2: NodeReport("invalid", "not finite")}
    text = page.html(run_of(*(report(n, nodes, aggregated=False, note="too few") for n in (1, 2))), "x")
    assert "Share of the aggregate" not in text
    heads = re.findall(r'<th scope="col"[^>]*><button type="button">([^<]*)</button>', text)
    assert heads[:6] == ["node", "suspicion", "kept", "rejected", "invalid", "mean weight"]


def test_a_ban_without_new_bad_rounds_is_told_by_its_last_reason():
    runs = [report(n, {1: NodeReport("invalid", "not finite")} if n == 1 else {2: NodeReport("kept")}, banned={1: n + 5}) for n in (1, 2)]
    assert [ban.why for ban in records(runs)[0].bans] == ["1 invalid; the last: not finite", "the last: not finite"]


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_a_missing_library_is_named_with_its_extra_in_one_sentence(monkeypatch, tmp_path, module):
    monkeypatch.setitem(sys.modules, module, None)
    done = CliRunner().invoke(cli.app, ["report", str(DEPLOYMENT), "--out", str(tmp_path)])
    said = f"needs {module}, which is not installed; install it with: pip install 'flwr-byzantine[report]'"
    assert said in str(done.exception)


def pixels(uri):
    """The places in the palette of an image, row by row."""
    data = base64.b64decode(uri.split(",")[1])
    width, height = struct.unpack(">II", data[16:24])
    at = data.index(b"IDAT")
    raw = zlib.decompress(data[at + 4 : at + 4 + struct.unpack(">I", data[at - 4 : at])[0]])
    return [list(raw[row * (width + 1) + 1 : (row + 1) * (width + 1)]) for row in range(height)]


def test_a_map_has_a_cell_for_each_node_and_round(deployed):
    (found,) = deployed.maps()
    grid = pixels(found.uri)
    assert (len(grid), len(grid[0])) == (7 * found.height, 20 * found.width)
    kinds = list(COLOURS)
    assert [kinds[grid[1][column * found.width + 1] - 1] for column in range(20)] == [deployed.nodes[0].at(n) for n in deployed.rounds]
    data = json.loads(found.data)
    letters = [data["letters"][letter] for letter in data["rows"][0]]
    assert letters[7] == ["invalid", deployed.nodes[0].reasons[8]]


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (500, 1000)])
def test_small_and_large_maps_are_whole(size):
    count, rounds = size
    reports = [report(n, {i: NodeReport("kept" if i % 9 else "rejected") for i in range(count)}) for n in range(1, rounds + 1)]
    maps = run_of(*reports[:1]).maps() if rounds == 1 else page.Run("a", reports, records(reports), {}, 0).maps()
    whole = maps[-1]
    assert len(maps) == (2 if count > page.NAMED else 1)
    assert len(json.loads(whole.data)["rows"]) == count
    assert whole.width * rounds <= 4200
    assert len(whole.uri) + len(whole.data) < 700_000


def test_reports_without_scores_show_shares_and_those_without_anything_a_page():
    entries = {i: NodeReport("kept", weight=0.5) for i in range(2)}
    assert "Share of the aggregate" in page.html(run_of(report(1, entries), report(2, entries)), "x")
    assert "<h2>Rounds</h2>" in page.html(run_of(report(1, {}, aggregated=False)), "x")


def test_numbers_that_no_axis_holds_are_left_out():
    odd = {i: NodeReport("kept", score=score) for i, score in enumerate([float("inf"), float("nan"), 1e308, -1e308, 0.0, 1e-300, 5.0])}
    assert "<h2>Scores</h2>" in page.html(run_of(report(1, odd, kappa=float("inf")), report(10**9, odd, seconds=float("inf"))), "x")


def test_report_makes_the_page_and_refuses_what_is_for_sweeps(tmp_path):
    path = tmp_path / "rounds.jsonl"
    path.write_text(DEPLOYMENT.read_text() + '{"run": "cut o')
    done = CliRunner().invoke(cli.app, ["report", str(path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "1 line of the file is no whole report" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    with pytest.raises(InvalidParameter, match="--by is for results of a sweep"):
        CliRunner().invoke(cli.app, ["report", str(path), "--by", "f"], catch_exceptions=False)
