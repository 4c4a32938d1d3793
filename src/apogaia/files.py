"""Files that are whole or absent: atomic writing, JSON results, and the provenance by which a product is reused."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

__all__ = [
    "atomic",
    "file_digest",
    "fingerprint",
    "is_current",
    "mark_current",
    "read_json",
    "remove_leftovers",
    "write_json",
]


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well the file gets its name, otherwise it is removed.

    The temporary name keeps the suffix, since many writers choose the format by it. The file is synced to disk before
    the rename, so a killed process leaves the old file or the new one, never half of one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, values: Mapping) -> None:
    """Write numbers, texts and arrays as sorted, indented JSON, atomically; NaN and infinities become null."""
    text = json.dumps(_plain(values), indent=1, sort_keys=True, allow_nan=False)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path) -> dict:
    """Read a JSON file.

    Raises
    ------
    FileNotFoundError
        If it is not there; the message says that an earlier step makes it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there yet: run the notebook whose number it bears, or `make`")
    return json.loads(path.read_text(encoding="utf-8"))


def _plain(value):
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def fingerprint(settings: Mapping, inputs: Sequence[str | Path] = (), modules: Sequence[ModuleType] = ()) -> str:
    """A hash of everything that a product depends on.

    Parameters
    ----------
    settings
        The survey's sections in question, as ``survey.settings("network", "training")``.
    inputs
        Files read. One that bears a fingerprint of its own counts by it, any other by its content.
    modules
        The package's modules that compute the product, by their source.
    """
    digest = hashlib.sha256(json.dumps(_plain(settings), sort_keys=True).encode())
    for path in inputs:
        path = Path(path)
        mark = _mark(path)
        digest.update(path.name.encode())
        digest.update(mark.read_bytes() if mark.is_file() else file_digest(path))
    for module in modules:
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()


def file_digest(path: str | Path) -> bytes:
    """SHA-256 of a file's content, read in pieces: raw tables are as large as 4 GB."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").digest()


def is_current(product: str | Path, key: str) -> bool:
    """Whether `product` was made with this fingerprint."""
    mark = _mark(Path(product))
    return Path(product).is_file() and mark.is_file() and mark.read_text().strip() == key


def mark_current(product: str | Path, key: str, make: Callable[[Path], None]) -> None:
    """Make `product` with `make(temporary_path)`, then note its fingerprint beside it."""
    product = Path(product)
    _mark(product).unlink(missing_ok=True)
    with atomic(product) as temporary:
        make(temporary)
    with atomic(_mark(product)) as temporary:
        temporary.write_text(key + "\n")


def remove_leftovers(product: str | Path) -> None:
    """Remove what runs that were killed while they wrote `product` or its fingerprint left beside it."""
    product = Path(product)
    for path in (product, _mark(product)):
        for leftover in path.parent.glob(f".{path.stem}.*-*{path.suffix}"):
            leftover.unlink()


def _mark(path: Path) -> Path:
    return path.with_name(f".{path.name}.fingerprint")
