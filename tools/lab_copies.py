"""Copy the notebooks into a folder in which they may be edited and saved: `make lab` opens it.

A copy that nobody has edited is brought up to date; an edited one stays, and the new version of its notebook is put
beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from apogaia.files import atomic

__all__ = ["copy_notebooks"]

ROOT = Path(__file__).resolve().parents[1]
COPIED = ".copied.json"  # what each copy was when it was made


def copy_notebooks(source: Path, folder: Path) -> list[str]:
    """Copy all notebooks of `source` into `folder`, and return a line for each that could not simply be copied."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / COPIED
    copied = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    said = []
    for notebook in sorted(source.glob("*.ipynb")):
        copy, content = folder / notebook.name, notebook.read_bytes()
        if copied.get(notebook.name) == _digest(content) and copy.is_file():
            continue  # the notebook has not changed; the copy may have
        if copy.is_file() and _digest(copy.read_bytes()) != copied.get(notebook.name):
            copy = folder / f"{notebook.stem}.new.ipynb"
            said.append(f"{folder / notebook.name} has your changes: its new version is {copy.name}")
        with atomic(copy) as temporary:
            temporary.write_bytes(content)
        copied[notebook.name] = _digest(content)
    with atomic(note) as temporary:
        temporary.write_text(json.dumps(copied, indent=1), encoding="utf-8")
    return said


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    for line in copy_notebooks(ROOT / "notebooks", parser.parse_args().folder):
        print(line)


if __name__ == "__main__":
    main()
