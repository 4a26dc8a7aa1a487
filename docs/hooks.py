"""What `mkdocs build` does beside Material: documents that live elsewhere in the repository become pages of the site.

Links in all documents are relative paths of the repository, so that they work where the Markdown is read as it is. Here a link to
another document of the site becomes a link to its page, a picture is copied, and a path of code stays as text. A path that is not
there is left to mkdocs, whose strict build fails on it.
"""

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {  # of the site, and the documents that they show
    "house.md": "flwr_byzantine/ARCHITECTURE.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "conventions.md": "flwr_byzantine/rules/CONVENTIONS.md",
    "studies/convergence.md": "simulations/convergence/README.md",
    "studies/reproductions.md": "simulations/reproductions/README.md",
    "studies/detection.md": "simulations/detection/README.md",
    "studies/adaptive.md": "simulations/adaptive/README.md",
    "studies/leaderboard.md": "simulations/leaderboard/README.md",
    "studies/lora.md": "simulations/lora/README.md",
    "studies/buffered.md": "simulations/buffered/README.md",
    "studies/sweeps.md": "simulations/sweeps/README.md",
    "studies/speed.md": "tests/benchmarks/results/README.md",
    "studies/gpu.md": "tests/benchmarks/results/on_a_gpu.md",
}
SITE = {document: page for page, document in PAGES.items()}
LINK = re.compile(r"(?<!`)(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents that live outside of docs/."""
    for page, document in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / document)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, config: MkDocsConfig) -> str:
    """Turn the repository's relative links into the site's."""
    here = page.file.src_uri
    document = PAGES.get(here, f"docs/{here}")
    parts = FENCE.split(markdown)
    parts[::2] = [LINK.sub(lambda link: _link(link, here, document, files, config), part) for part in parts[::2]]
    return "".join(parts)


def _link(link: re.Match[str], here: str, document: str, files: Files, config: MkDocsConfig) -> str:
    """One link of a document, as the page `here` has to say it."""
    mark, text, path, anchor = link[1], link[2], link[3], link[4] or ""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(document), path))
    found = SITE.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
    if found is None and mark and (ROOT / target).is_file():
        found = f"repository/{target}"
        if files.get_file_from_path(found) is None:
            files.append(File.generated(config, found, abs_src_path=str(ROOT / target)))
    if found is not None:
        return f"{mark}[{text}]({os.path.relpath(found, posixpath.dirname(here) or '.')}{anchor})"
    return _text(text, target) if (ROOT / target).exists() else link[0]


def _text(text: str, target: str) -> str:
    """A link to code, where the site has no page to lead to: its text, and the path that it names."""
    return text if Path(target).name in text else f"{text} (`{target}`)"
