"""Build the site: ``python tools/build_site.py SURVEY`` (`make site`), into build/site.

The pages of docs/ are copied to build/site.source, with CONTRIBUTING, CHANGELOG, data/README.md, with what is written
from the code (`site_pages`), and with the survey's executed notebooks, figures and numbers as far as they exist
(`survey_pages`). Sphinx makes the site of that. Nothing is computed, and no other host is asked for anything.
"""

from __future__ import annotations

import argparse
import json
import os
import posixpath
import re
import sys
from pathlib import Path

import site_pages
import survey_pages
from markdown_links import in_prose, rewritten
from sphinx.cmd.build import build_main

import apogaia
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

__all__ = ["assemble", "build"]

ROOT = Path(__file__).resolve().parents[1]
# Files of the repository that are pages elsewhere in the site
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "data/README.md": "reference/raw_files.md",
}
NOT_PAGES = ("conf.py", "_static")
_PAGE = re.compile(r"(?<![\w/`\[])(?<!\]\()docs/(\w+)\.md(?![\w`])")  # named in the text of a notebook or a result
_NAME = re.compile(r"(?<![}`])`(apogaia(?:\.\w+)+)`(?!`)")


class _Source:
    """The folder that Sphinx reads; files that did not change keep their time, those that are gone are removed."""

    def __init__(self, folder: Path, root: Path, notebooks: Path):
        self.folder, self.root, self.written = folder, root, set()
        docs = root / "docs"
        self.pages = dict(PAGES)
        for path in sorted(docs.rglob("*")):
            inside = path.relative_to(docs)
            if path.is_file() and inside.parts[0] not in NOT_PAGES:
                self.pages[f"docs/{inside.as_posix()}"] = inside.as_posix()
        for path in sorted(notebooks.glob("[0-9]*.ipynb")):
            self.pages[f"notebooks/{path.name}"] = f"notebooks/{path.name}"

    def write(self, place: str, content: bytes) -> None:
        path = self.folder / place
        self.written.add(path)
        if path.is_file() and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def page(self, place: str, text: str, origin: str) -> None:
        """Write a page whose links are those of the file `origin` of the repository."""
        self.write(place, self.linked(place, text, origin).encode())

    def linked(self, place: str, text: str, origin: str) -> str:
        """The page with links to where things are in the site; names of the package lead to their description."""
        text = in_prose(text, lambda part: _PAGE.sub(self._named, part))
        text = rewritten(text, lambda target: self._target(target, place, origin))
        return in_prose(text, lambda part: _NAME.sub(lambda found: _reference(found[1]), part))

    def _named(self, found: re.Match) -> str:
        """A page that is named by its file, as a link with its title."""
        return f"[](/{found[1]}.md)" if found[0] in self.pages else found[0]

    def _target(self, target: str, place: str, origin: str) -> str:
        path, mark, anchor = target.partition("#")
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
        there = self.pages.get(wanted)
        if there is None and (self.root / wanted).is_file():  # a file that is no page: to be downloaded
            there = f"files/{wanted}"
            self.write(there, (self.root / wanted).read_bytes())
        if there is None:
            return target
        return posixpath.relpath(there, posixpath.dirname(place) or ".") + mark + anchor

    def remove_others(self) -> None:
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_file() and path not in self.written:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _give_alternative_text(cell: dict) -> None:
    """Say for MyST-NB what a cell's picture shows, as its output's metadata say for others (`plots.save`)."""
    for output in cell.get("outputs", ()):
        text = output.get("metadata", {}).get("image/png", {}).get("alt")
        if text:
            cell["metadata"].setdefault("mystnb", {})["image"] = {"alt": " ".join(text.split())}


def _reference(name: str) -> str:
    """A name of the package as a link to its description; one without a description is shown as code."""
    home = apogaia._HOMES.get(name.removeprefix("apogaia."))
    return f"{{py:obj}}`{name}`" if home is None else f"{{py:obj}}`{name} <apogaia.{home}.{name.split('.')[-1]}>`"


def assemble(survey: str, folder: Path, root: Path = ROOT) -> list[str]:
    """Put the pages of the site together; returns what is missing of the survey, a line each.

    Parameters
    ----------
    survey
        Name or file of the survey that the site shows.
    folder
        Where Sphinx finds the pages.
    root
        The repository, with the folders of its products.
    """
    workspace = Workspace(load_survey(survey), root)
    notebooks = root / "build" / workspace.survey.name
    source = _Source(folder, root, notebooks)
    for origin, place in source.pages.items():
        if origin.endswith(".md") and origin != "README.md":
            source.page(place, (root / origin).read_text(encoding="utf-8"), origin)
        elif origin.startswith("docs/"):
            source.write(place, (root / origin).read_bytes())
    for path in sorted(notebooks.glob("[0-9]*.ipynb")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if workspace.survey.is_test_run:
            first = next(cell for cell in content["cells"] if cell["cell_type"] == "markdown")
            first["source"] = "".join(first["source"]) + survey_pages.TEST_RUN
        for cell in content["cells"]:
            if cell["cell_type"] == "markdown":
                text = "".join(cell["source"])
                cell["source"] = source.linked(f"notebooks/{path.name}", text, f"notebooks/{path.name}")
            _give_alternative_text(cell)
        source.write(f"notebooks/{path.name}", json.dumps(content).encode())
    source.write("generated/survey_keys.md", site_pages.survey_keys().encode())
    source.write("generated/survey_changes.md", site_pages.survey_changes().encode())
    source.write("generated/star_columns.md", site_pages.star_columns().encode())
    source.write("reference/command_line.md", site_pages.command_line().encode())
    for name, text in site_pages.catalogue_tables().items():
        source.write(f"generated/{name}.md", text.encode())
    for name, text in site_pages.api_pages().items():
        source.write(f"reference/api/{name}", text.encode())
    shown = survey_pages.pages(workspace)
    for place, text in shown.pages.items():
        source.page(place, text, "README.md" if place.startswith("generated/") else f"docs/{place}")
    for place, path in shown.files.items():
        source.write(place, path.read_bytes())
    source.remove_others()
    return shown.missing


def build(survey: str, folder: Path, root: Path = ROOT) -> int:
    """Build the site into a folder; returns Sphinx's exit code, 0 if there was no warning."""
    os.environ.setdefault("KERAS_BACKEND", "numpy")  # docstrings are read, nothing is trained: TensorFlow need not load
    source, doctrees = (folder.with_name(f"{folder.name}.{kind}") for kind in ("source", "doctrees"))
    source.mkdir(parents=True, exist_ok=True)
    missing = assemble(survey, source, root)
    # pages that did not change are not read again, so their warnings would not be seen: all are
    options = ["-W", "--keep-going", "-q", "-E", "-b", "html", "-c", str(root / "docs"), "-d", str(doctrees)]
    code = build_main([*options, str(source), str(folder)])
    for line in missing:
        print(line, file=sys.stderr)
    if code:
        print("The site has warnings, see above: mend the pages that they name", file=sys.stderr)
    return code


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("survey")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "site", help="default: build/site")
    options = parser.parse_args(arguments)
    code = build(options.survey, options.folder)
    if not code:
        print(f"Open {options.folder / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
