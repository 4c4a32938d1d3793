"""Which files of this package a piece of code depends on, read from its imports.

Products carry a fingerprint of the code that made them, and make runs a notebook again when code that it uses has
changed. Both ask this module, so that no list of modules has to be kept by hand. It needs the standard library alone:
make calls it before there is an environment (``tools/dependencies.py``).
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["closure", "code_digest", "imported_modules", "module_file"]

PACKAGE = Path(__file__).resolve().parent


def module_file(name: str, package: Path = PACKAGE) -> Path | None:
    """The file of the module ``apogaia.x.y``; None if the package has none of that name."""
    path = package.joinpath(*name.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def imported_modules(source: str, package: Path = PACKAGE) -> set[Path]:
    """Files of the package that a source text imports when it runs, anywhere in it.

    The ``__init__.py`` of the folders above a module count, since Python runs them first. Imports under
    ``if TYPE_CHECKING:`` do not.

    Raises
    ------
    ValueError
        If an import is relative: the package has none, and this function would miss it.
    """
    found: set[Path] = set()
    for node in _walk_what_runs(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"line {node.lineno}: a relative import; write from {package.name}. ... import")
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == package.name and module_file(name, package):
                parents = (module_file(".".join(parts[:depth]), package) for depth in range(1, len(parts) + 1))
                found |= {path for path in parents if path}
    return found


def closure(start: Iterable[Path], package: Path = PACKAGE) -> list[Path]:
    """Files that code depends on: those of `start`, what they import, and the data files that any of them reads.

    A module reads a data file of its own folder if the file's name stands in it as a text ("atomic_lines.csv").

    Returns
    -------
    list of Path
        Sorted; Python files and data files of the package.
    """
    seen: set[Path] = set()
    waiting = {Path(path) for path in start}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        if path.suffix == ".py":
            modules, data = _neighbours(path, path.stat().st_mtime_ns, package)
            waiting |= (modules | data) - seen
    return sorted(seen)


def code_digest(start: Iterable[Path], package: Path = PACKAGE) -> str:
    """SHA-256 of all code and data that `start` depends on (`closure`).

    Comments, docstrings and the layout of the text do not count.
    """
    digest = hashlib.sha256()
    for path in closure(start, package):
        name = path.relative_to(package) if path.is_relative_to(package) else path.name
        digest.update(f"{name} {_content_digest(path, path.stat().st_mtime_ns)}\n".encode())
    return digest.hexdigest()


@functools.cache
def _neighbours(path: Path, _modified: int, package: Path) -> tuple[set[Path], set[Path]]:
    """The modules that a module imports, and the data files beside it that it names."""
    source = path.read_text(encoding="utf-8")
    constants = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    texts = {value for value in constants if isinstance(value, str) and _may_name_a_file(value)}
    data = {path.with_name(text) for text in texts if path.with_name(text).is_file()}
    return imported_modules(source, package), data


def _may_name_a_file(text: str) -> bool:
    return "." in text[1:] and len(text) < 100 and not set(text) & set("/\\\n ")


@functools.cache
def _content_digest(path: Path, _modified: int) -> str:
    content = path.read_bytes()
    if path.suffix == ".py":
        tree = ast.parse(content)
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
                first = node.body[0]
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    node.body = node.body[1:] or [ast.Pass()]
        content = ast.unparse(tree).encode()
    return hashlib.sha256(content).hexdigest()


def _walk_what_runs(tree: ast.AST) -> Iterable[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING:``."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))
