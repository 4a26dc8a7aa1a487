"""The documentation site builds without a warning, has every public name, and asks nothing of other hosts."""

import importlib
import inspect
import os
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
PUBLIC = ["flwr_byzantine", *(f"flwr_byzantine.{name}" for name in ("rules", "attacks", "legacy", "monitor", "theory")), "clients"]
MODULES = ["mods", "adversary", "client", "attacks.poisoning", "experiments.audit", "experiments.report"]  # shown whole
MODULES_OF_THE_SAME_NAME = {"table"}  # hide functions from Griffe
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; whatever warns, mkdocs' strict mode and Python's, is an error."""
    pytest.importorskip("mkdocs_autorefs", reason="needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


class Page(HTMLParser):
    """Ids, links and what the browser fetches."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.fetched = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        if values.get("href"):
            self.links.add(values["href"])
        if values.get(FETCHED.get(tag, "")) and values.get("rel") != "canonical":
            self.fetched.add(values[FETCHED[tag]])


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}


def broken(path, page, pages):
    """Links of a page to files, or to places in them, that are not there."""
    for link in page.links | page.fetched:
        name, _, anchor = unquote(link).partition("#")
        if re.match(r"[a-z]+:", name):
            continue
        target = (path.parent / name).resolve() if name else path
        target = target / "index.html" if target.is_dir() else target
        if not target.exists() or (anchor and target in pages and anchor not in pages[target].ids):
            yield link


def test_links_lead_somewhere(pages):
    assert {path.name: bad for path, page in pages.items() if (bad := list(broken(path, page, pages)))} == {}


def test_no_page_asks_another_host(pages):
    assert {link for page in pages.values() for link in page.fetched if re.match(r"(https?:)?//", link)} == set()


@pytest.fixture(scope="module")
def inventory(site):
    text = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    return {line.split(" ")[0] for line in text.splitlines()}


@pytest.mark.parametrize("name", PUBLIC)
def test_the_reference_has_every_public_name(name, inventory):
    module = importlib.import_module(name)
    objects = {item for item in module.__all__ if not inspect.ismodule(getattr(module, item)) and item != "__version__"}
    assert {item for item in objects if f"{name}.{item}" not in inventory} == set()


@pytest.mark.parametrize("name", MODULES)
def test_the_reference_has_every_function_and_class_of_modules_shown_whole(name, inventory):
    module = importlib.import_module(f"flwr_byzantine.{name}")
    kinds = [item for item, value in vars(module).items() if inspect.isfunction(value) or inspect.isclass(value)]
    public = [item for item in kinds if not item.startswith("_") and getattr(module, item).__module__.startswith(module.__name__)]
    assert public
    assert {item for item in public if f"{module.__name__}.{item}" not in inventory} - MODULES_OF_THE_SAME_NAME == set()
