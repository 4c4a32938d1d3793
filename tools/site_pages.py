"""Pages and tables of the site that are written from the code, the survey files and a survey's results.

Each function returns Markdown. Nothing here is kept in the repository: `tools/build_site.py` writes it at each build.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import apogaia
from apogaia.cli import commands
from apogaia.distances import catalogue
from apogaia.formats.apstar import Status
from apogaia.formats.stars_h5_columns import COLUMNS as STAR_COLUMNS
from apogaia.survey import survey_names, survey_schema

__all__ = ["api_pages", "catalogue_tables", "command_line", "star_columns", "survey_changes", "survey_keys", "table"]

PACKAGE = Path(apogaia.__file__).parent
BASE = "dr14"  # states every key but those of a simulation
SIMULATED = "mock-dr14"  # states these
NOT_IN_API = ("cli", "closure/recipes")  # the command line has a page; recipes are trials, not functions to call


def escaped(text: str) -> str:
    """A sentence of the code as Markdown: what is not between backticks stands as it is."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        part if part.startswith("`") and len(part) > 1 else re.sub(r"([\\*_{}\[\]<>$|#~`])", r"\\\1", part)
        for part in parts
    )


def code(text: str) -> str:
    """A value as code in a table; empty stays empty."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown, whose cells are Markdown."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(' '.join(cell.split()) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- command line


def command_line() -> str:
    """Every command with its help, from the parser itself."""
    parser = commands.parser()
    choices = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    summaries = {action.dest: action.help or "" for action in choices._choices_actions}
    lines = ["# Command line", "", escaped(parser.description or ""), ""]
    lines += ["This page is made from the commands' own help: `apogaia COMMAND --help` prints the same.", ""]
    rows = [(f"[`{name}`](#apogaia-{name})", escaped(text)) for name, text in summaries.items()]
    lines += [table(("command", "what it does"), rows), *_epilog(parser.epilog)]
    for name, command in choices.choices.items():
        lines += [f"## apogaia {name}", "", f"*{escaped(summaries[name])}*", "", "```text"]
        lines += [re.sub(r"^usage: ", "", command.format_usage()).rstrip(), "```", ""]
        lines += [*_paragraphs(command.description or ""), *_options(command), *_epilog(command.epilog)]
    return "\n".join(lines)


def _options(command: argparse.ArgumentParser) -> list[str]:
    formatter = command._get_formatter()
    rows = [
        (code(formatter._format_action_invocation(action)), escaped(formatter._expand_help(action)))
        for action in command._actions
        if action.help is not argparse.SUPPRESS
    ]
    return [table(("argument", "meaning"), rows)]


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs as text; lines that are indented, as tables of the help are, as they stand."""
    literal: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("  "):
            literal.append(line)
            continue
        if literal:
            yield from ("", "```text", *literal, "```", "")
            literal = []
        yield escaped(line)


def _epilog(text: str | None) -> list[str]:
    """The examples, as code, and what else stands under a command's help."""
    if not text:
        return []
    return [re.sub(r"^examples:$", "Examples:", line) for line in _paragraphs(text)]


# ---------------------------------------------------------------- surveys


@dataclass(frozen=True)
class Stated:
    """A value of a survey file as it is written, and the comment beside it: its source."""

    value: str
    source: str


def stated(name: str) -> dict[tuple[str, str], Stated]:
    """(section, key) -> what a survey file of the package states."""
    section, found = "", {}
    for line in (resources.files("apogaia") / "surveys" / f"{name}.toml").read_text(encoding="utf-8").splitlines():
        if head := re.match(r"\[([a-z_]+)\]", line):
            section = head[1]
        elif entry := re.match(r"""([a-z_0-9]+)\s*=\s*((?:"[^"]*"|'[^']*'|[^#"'])*?)\s*(?:#\s*(.*))?$""", line):
            found[section, entry[1]] = Stated(entry[2], entry[3] or "")
    return found


def survey_keys() -> str:
    """Every key of a survey file: meaning, unit and limits from the schema, value and source from the base survey."""
    base, simulated = stated(BASE), stated(SIMULATED)
    lines = []
    for section, described in survey_schema()["properties"].items():
        if described.get("type") != "object":
            continue
        lines += [f"## [{section}]", "", escaped(described.get("description", "")), ""]
        rows = []
        for key, what in described["properties"].items():
            value = base.get((section, key)) or simulated.get((section, key)) or Stated("", "")
            meaning = re.sub(r" Must be a string.*$", "", what.get("description", ""))
            rows.append((code(key), escaped(meaning), _allowed(what), code(value.value), escaped(value.source)))
        lines += [table(("key", "meaning", "unit and limits", "value", "source of the value"), rows), ""]
    return "\n".join(lines)


def _allowed(what: dict) -> str:
    """Unit, choices and limits of a key."""
    if "enum" in what:
        return ", ".join(code(choice) for choice in what["enum"])
    kind = what.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    low, high = (what.get(f"x-{name}", what.get(name)) for name in ("minimum", "maximum"))
    limits = " ".join(
        text
        for text, limit in (
            (f"from {low:g}" if low is not None else "", low),
            (f"to {high:g}" if high is not None else "", high),
        )
        if limit is not None
    )
    unit = what.get("x-unit") or {
        "boolean": "true or false",
        "array": "list",
        "string": "text",
        "integer": "whole",
    }.get(str(kinds[0]), "number")
    return ", ".join(filter(None, (escaped(unit), limits)))


def survey_changes() -> str:
    """What each survey of the package states, with its sources."""
    lines = []
    for name in survey_names():
        text = (resources.files("apogaia") / "surveys" / f"{name}.toml").read_text(encoding="utf-8")
        values = stated(name)
        title, extends = (values.get(("", key), Stated("", "")).value.strip('"') for key in ("title", "extends"))
        remarks = " ".join(line[1:].strip() for line in text.splitlines() if re.match(r"#(?!:)", line))
        lines += [f"## {name}", "", f"*{escaped(title)}.* {escaped(remarks)}", ""]
        if not extends:
            lines += ["States every key: its values are those of [Keys of a survey file](survey_keys.md).", ""]
            continue
        lines += [f"Takes all values of [{extends}](#{extends}) except these:", ""]
        rows = [
            (code(f"{section}.{key}"), code(value.value), escaped(value.source))
            for (section, key), value in values.items()
            if section
        ]
        lines += [table(("key", "value", "source of the value"), rows), ""]
    return "\n".join(lines)


# ---------------------------------------------------------------- columns


def catalogue_tables() -> dict[str, str]:
    """Columns of the catalogue, its flags, and what became of a spectrum."""
    columns = table(("column", "unit", "meaning"), [(code(n), u, escaped(d)) for n, u, d in catalogue.COLUMNS])
    flags = [
        (
            str(flag.bit_length() - 1),
            str(int(flag)),
            code(str(flag.name)),
            escaped(catalogue.FLAG_MEANINGS[flag]),
            "yes" if flag & catalogue.BAD else "",
        )
        for flag in catalogue.Flags
    ]
    statuses = [(str(int(s)), code(s.name), escaped(s.reason), "" if not s else escaped(s.remedy)) for s in Status]
    return {
        "catalogue_columns": columns,
        "flags": table(("bit", "value", "name", "set where", "in `BAD`"), flags),
        "statuses": table(("status", "name", "reason", "remedy"), statuses),
    }


def star_columns() -> str:
    """Columns of stars.h5."""
    rows = [(code(c.name), code(c.kind), c.unit.replace("%", "percent"), escaped(c.description)) for c in STAR_COLUMNS]
    return table(("column", "type", "unit", "meaning"), rows)


# ---------------------------------------------------------------- Python interface


def api_pages() -> dict[str, str]:
    """A page for each part of the package, with the public names of its modules; and their list."""
    parts: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).as_posix()
        if path.name.startswith("__") or inside.startswith(NOT_IN_API) or not _names(path):
            continue
        part = inside.split("/")[0] if "/" in inside else ""
        parts.setdefault(part, []).append(path)
    parts["plots"] = [PACKAGE / "plots" / "__init__.py"]  # lists all that its modules have
    pages = {f"{part or 'top'}.md": _api_page(part, paths) for part, paths in sorted(parts.items())}
    names = [
        (
            f"{{py:obj}}`apogaia.{name} <apogaia.{home}.{name}>`",
            escaped(_first_line(PACKAGE / f"{home.replace('.', '/')}.py", name)),
        )
        for name, home in apogaia._HOMES.items()
    ]
    lines = ["# Python", "", "The names that most people import; each is loaded on first use:", ""]
    lines += [table(("name", "what it is"), names), "", "The parts of the package:", ""]
    rows = [
        (f"[{part or 'top level'}]({part or 'top'}.md)", escaped(_first_line(PACKAGE / part / "__init__.py")))
        for part in sorted(parts)
    ]
    lines += [table(("part", "what it does"), rows), "", "```{toctree}", ":hidden:", "", *pages, "```", ""]
    return pages | {"index.md": "\n".join(lines)}


def _api_page(part: str, paths: list[Path]) -> str:
    lines = [
        f"# {f'apogaia.{part}' if part else 'Top level'}",
        "",
        escaped(_first_line(PACKAGE / part / "__init__.py")),
    ]
    if not part:
        lines[-1] = "Modules outside the parts of the pipeline."
    for path in paths:
        module = ".".join(("apogaia", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        title = [] if module == f"apogaia.{part}" else ["", f"## {module.removeprefix(f'apogaia.{part}').lstrip('.')}"]
        members = f"   :members: {', '.join(_names(path))}"
        lines += [*title, "", "```{eval-rst}", f".. automodule:: {module}", members, "```"]
    return "\n".join(lines) + "\n"


def _names(path: Path) -> list[str]:
    """The public names of a module, without those that it imports, which stand where they are defined.

    A package's own file lists what its modules have: there all count.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and path.name != "__init__.py"]
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed = [item.value for item in ast.walk(node.value) if isinstance(item, ast.Constant)]
            return [name for name in listed if name not in imported]
    return []


def _first_line(path: Path, name: str = "") -> str:
    """First line of the docstring of a module, or of what it defines."""
    tree: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            tree = node
            break
    return (ast.get_docstring(tree) or "").partition("\n\n")[0].replace("\n", " ")  # type: ignore[arg-type]
