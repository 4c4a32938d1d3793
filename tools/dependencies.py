"""Print, as make variables, which package files each notebook rests on, and of each survey its files and its kind.

With the path of a survey file, print its kind alone.

Read from the imports, transitively, with the standard library alone: make runs this before there is an environment.
"""

import ast
import json
import sys
import tomllib
from pathlib import Path

PACKAGE = Path("src/apogaia")


def module_file(dotted: str) -> Path | None:
    """The file of ``apogaia.x.y``, or None if there is no such module."""
    path = PACKAGE.joinpath(*dotted.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


class _WithoutTypeChecking(ast.NodeTransformer):
    """Leave out imports that only a type checker sees."""

    def visit_If(self, node: ast.If):
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)


def imported(source: str) -> set[Path]:
    """Package files that a source text imports when it runs."""
    found = set()
    for node in ast.walk(_WithoutTypeChecking().visit(ast.parse(source))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {module_file(name) for name in names if name.split(".")[0] == "apogaia"} - {None}
    return found


def closure(start: set[Path]) -> list[str]:
    """All package files reached from `start` through imports."""
    seen: set[Path] = set()
    waiting = set(start)
    while waiting:
        path = waiting.pop()
        seen.add(path)
        waiting |= imported(path.read_text(encoding="utf-8")) - seen
    return sorted(str(path) for path in seen)


def notebook_source(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
    return "\n".join(line if not line.lstrip().startswith(("%", "!")) else "pass" for line in lines)


def survey_chain(path: Path) -> list[str]:
    base = tomllib.loads(path.read_text(encoding="utf-8")).get("extends")
    return [str(path), *(survey_chain(path.with_name(f"{base}.toml")) if base else [])]


def survey_kind(path: Path) -> str:
    """`sources.kind` of a survey file, from the file that it extends if it says nothing."""
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    if "kind" in values.get("sources", {}):
        return values["sources"]["kind"]
    base = f"{values['extends']}.toml"
    return survey_kind(path.with_name(base) if path.with_name(base).is_file() else PACKAGE / "surveys" / base)


def main() -> None:
    if len(sys.argv) > 1:
        print(survey_kind(Path(sys.argv[1])))
        return
    for path in sorted(Path("notebooks").glob("*.ipynb")):
        print(f"SOURCES_{path.stem} := {' '.join(closure(imported(notebook_source(path))))}")
    print(f"SOURCES_simulate := {' '.join(closure({PACKAGE / 'simulate' / 'run.py'}))}")
    for path in sorted((PACKAGE / "surveys").glob("*.toml")):
        print(f"SURVEY_FILES_{path.stem} := {' '.join(survey_chain(path))}")
        print(f"KIND_{path.stem} := {survey_kind(path)}")


if __name__ == "__main__":
    main()
