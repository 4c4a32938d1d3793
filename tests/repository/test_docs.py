"""What the pages say can be done: links lead somewhere, examples give what stands below them, commands exist."""

import ast
import doctest
import importlib
import os
import re
import shlex
from pathlib import Path

import pytest
from markdown_links import anchors, links, rewritten

from apogaia.cli import commands

ROOT = Path(__file__).resolve().parents[2]
_BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in _BESIDE)]
MODULES = sorted((ROOT / "src" / "apogaia").rglob("*.py"))
# Pages that Sphinx alone makes, and where: a link of a page may lead there
MADE = {"docs/reference/command_line.md", "docs/reference/api/index.md", "docs/reference/raw_files.md"}
MADE |= {f"docs/results/{name}.md" for name in ("gallery", "notebooks", "explorer")}
MADE |= {f"docs/project/{name}.md" for name in ("changelog", "contributing")}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(text: str, *languages: str) -> list[str]:
    """Fenced code of a page in these languages; "" is indented code."""
    found = [code for language, code in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S) if language in languages]
    if "" in languages:
        found += re.findall(r"(?:^|\n\n)((?:    .*\n)+)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return found


@pages
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in links(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        wanted = Path(os.path.normpath(page.parent / path)) if path else page
        if wanted.is_relative_to(ROOT) and wanted.relative_to(ROOT).as_posix() in MADE:
            continue  # the site's build follows these
        assert wanted.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(wanted.read_text(encoding="utf-8")), f"{page.name}: {target}"


@pages
def test_examples_give_what_the_page_says(page):
    """All Python blocks with prompts of a page are one session."""
    examples = [code for code in blocks(page.read_text(encoding="utf-8"), "python") if ">>> " in code]
    test = doctest.DocTestParser().get_doctest("\n".join(examples), {}, page.name, str(page), 0)
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0


@pages
def test_python_of_the_pages_imports_what_exists(page):
    for code in blocks(page.read_text(encoding="utf-8"), "python"):
        if ">>> " in code:
            continue
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names), f"{page.name}: {ast.unparse(node)}"


def commands_of(page: Path) -> list[str]:
    """Command lines of apogaia in a page's code, without comments."""
    lines = "\n".join(blocks(page.read_text(encoding="utf-8"), "", "sh", "bash", "text")).replace("\\\n", " ")
    found = re.findall(r"^ +(?:APOGAIA_ROOT=\S+ )?(?:\.venv/bin/)?(apogaia [a-z].*)$", lines, re.M)
    return [re.sub(r"(\s{2,}[a-zA-Z#].*| +#.*)$", "", line) for line in found]  # what stands behind explains it


@pages
def test_commands_of_the_pages_are_understood(page, capsys):
    for line in commands_of(page):
        arguments = shlex.split(line.replace("$SAS_BASE_DIR", "/sas").replace("FILE...", "FILE"))[1:]
        try:
            commands.parser().parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{page.name}: {line}: {capsys.readouterr().err.splitlines()[-1]}")


@pages
def test_targets_of_make_in_the_pages_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    text = page.read_text(encoding="utf-8")
    for spelled in re.findall(r"`make ([a-z-]+)[^`]*`", text) + re.findall(r"^    make ([a-z-]+)", text, re.M):
        assert spelled in targets, f"{page.name}: make {spelled}"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if ">>> " in path.read_text(encoding="utf-8")],
    ids=lambda path: path.relative_to(ROOT / "src" / "apogaia").as_posix(),
)
def test_examples_in_docstrings_give_what_they_say(path):
    module = importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
    tests = doctest.DocTestFinder(exclude_empty=True).find(module)
    assert any(test.examples for test in tests)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert sum(runner.run(test).failed for test in tests) == 0


@pytest.mark.parametrize(
    "name", ["fakemag_to_pc", "mag_to_fakemag", "fakemag_to_absmag", "weighted_parallax", "robust_scatter"]
)
def test_functions_that_people_take_have_an_example(name):
    from apogaia.physics import luminosity

    assert ">>> " in getattr(luminosity, name).__doc__


def test_a_wrong_link_is_found():
    text = (
        "[a](b.md#c), `[code](no.md)`, ![picture](d.png)\n```\n[code](no.md)\n```\n[out](https://x.org)\n# A `b`, c!\n"
    )
    assert links(text) == ["b.md#c", "d.png"]
    assert anchors(text) == {"a-b-c"}
    assert rewritten(text, lambda target: "X").count("(X)") == 2
