"""Files that are complete or absent: atomic writing, JSON results, and the provenance for reusing products."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from apogaia.code_dependencies import code_digest

__all__ = [
    "BusyError",
    "alone",
    "atomic",
    "file_digest",
    "fingerprint",
    "in_turn",
    "is_current",
    "is_own",
    "kept",
    "mark_current",
    "parts_folder",
    "read_json",
    "remove_leftovers",
    "write_json",
]

SAMPLED_ABOVE = 64 * 2**20  # [bytes] larger products are recognised by their size and three pieces of their content
PIECE = 2**20  # [bytes]


class BusyError(OSError):
    """Another process is working on the same product; the message says which, and what to do."""


@contextmanager
def alone(lock: str | Path, busy: str) -> Iterator[None]:
    """Exclude a second process from the block with a `BusyError` that says `busy`. A killed process blocks nobody."""
    Path(lock).parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{busy}: wait for it, or stop it") from None
        yield


@contextmanager
def in_turn(product: str | Path) -> Iterator[None]:
    """Let a second process that is to make the same product wait until the first has left the block, and say so.

    A killed process blocks nobody. Where nothing may be written nobody waits: a finished product can be read there.
    """
    product = Path(product)
    try:
        product.parent.mkdir(parents=True, exist_ok=True)
        handle = open(product.with_name(f".{product.stem}.lock"), "w")  # noqa: SIM115, closed below
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        yield
        return
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process, which is making {product}", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; if the block succeeds the file gets its name, otherwise it is removed.

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
    """Write numbers, strings and arrays as sorted, indented JSON, atomically; NaN and infinities become null."""
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
        raise FileNotFoundError(f"{path} does not exist yet: run the notebook with its number, or `make`")
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


def fingerprint(
    settings: Mapping, inputs: Iterable[str | Path] = (), code: Iterable[Callable | ModuleType] = ()
) -> str:
    """A hash of everything that a product depends on.

    Parameters
    ----------
    settings
        The survey's sections in question, as ``survey.settings("network", "training")``.
    inputs
        Files read, by their content. One that bears a fingerprint of its own counts by that and by what `is_current`
        compares of its content, which is quick for large ones.
    code
        Functions or modules that compute the product. All code of this package that their modules import counts, and
        the data files which that code reads (`apogaia.code_dependencies`).
    """
    digest = hashlib.sha256(json.dumps(_plain(settings), sort_keys=True).encode())
    for path in inputs:
        path = Path(path)
        mark = _mark(path)
        digest.update(path.name.encode())
        if mark.is_file():
            digest.update(f"{_mark_lines(path)[:1]} {_content(path)}".encode())
        else:
            digest.update(file_digest(path))
    if sources := [_source_file(item) for item in code]:
        digest.update(code_digest(sources).encode())
    return digest.hexdigest()


def _source_file(code: Callable | ModuleType) -> Path:
    """The file of a module, or of the module that defines a function, also if arguments are bound to it."""
    while isinstance(code, functools.partial):
        code = code.func
    module = code if isinstance(code, ModuleType) else sys.modules[code.__module__]
    return Path(str(module.__file__)).resolve()


def kept(
    product: str | Path,
    make: Callable[..., None],
    settings: Mapping,
    inputs: Iterable[str | Path] = (),
    *,
    in_parts: bool = False,
) -> Path:
    """Make a product unless it exists and is up to date, and return its path.

    Parameters
    ----------
    product
        The file.
    make
        Writes it to the path that it is given; usually a `functools.partial` of a function. The code of that
        function's module, with all that the module imports, is part of the fingerprint.
    settings, inputs
        What `make` depends on besides, as for `fingerprint`.
    in_parts
        Give `make` also the `parts_folder` beside the product, as its argument ``parts``, and remove it in the end.
    """
    product, inputs = Path(product), list(inputs)
    key, folder = fingerprint(settings, inputs, [make]), product.with_name(f"{product.name}.parts")
    if not is_current(product, key):
        if in_parts:
            make = functools.partial(make, parts=parts_folder(folder, key))
        mark_current(product, key, make)
    if in_parts:
        shutil.rmtree(folder, ignore_errors=True)  # also what a run left that was killed just before this
    return product


def file_digest(path: str | Path) -> bytes:
    """SHA-256 of a file's content, read in pieces: raw tables are as large as 4 GB."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").digest()


def is_current(product: str | Path, key: str) -> bool:
    """Whether `product` was made with this fingerprint and has not changed since.

    A file that was changed or replaced since is not current. Up to 64 MiB the whole content is compared. Of larger
    files, such as a stars.h5 of 22 GB, these are: the size and the first, middle and last MiB; a change in place
    elsewhere goes unnoticed.
    """
    product = Path(product)
    lines = _mark_lines(product)
    return product.is_file() and len(lines) == 2 and lines[0] == key and lines[1] == _content(product)


def is_own(product: str | Path) -> bool:
    """Whether `mark_current` made `product`, with whatever fingerprint; a file put in its place by hand is not."""
    product = Path(product)
    lines = _mark_lines(product)
    # a mark of one line, without the content, is an older version's
    return product.is_file() and (len(lines) == 1 or (len(lines) > 1 and _content(product) in lines[1:]))


def mark_current(product: str | Path, key: str, make: Callable[[Path], None]) -> None:
    """Make `product` with `make(temporary_path)`, then note its fingerprint and content beside it.

    If that fails, the old product and its fingerprint stay.
    """
    product = Path(product)
    with atomic(product) as temporary:
        make(temporary)
        content = _content(temporary)
        # a run killed from here on leaves the old product or the new one: neither is current, both are known as own
        _write_mark(product, ["unfinished", content, *_mark_lines(product)[1:]])
    _write_mark(product, [key, content])


def parts_folder(folder: str | Path, key: str) -> Path:
    """A folder for the parts of a product: empty, or with the finished parts of a killed run with the same fingerprint.

    Parts are written with `atomic`; what a killed run left half written is removed.
    """
    folder = Path(folder)
    note = folder / "fingerprint"
    if folder.is_dir() and not (note.is_file() and note.read_text().strip() == key):
        shutil.rmtree(folder)
    if not folder.is_dir():
        with atomic(note) as temporary:
            temporary.write_text(key + "\n")
    for leftover in folder.glob(".*"):
        leftover.unlink()
    return folder


def remove_leftovers(product: str | Path) -> None:
    """Remove files left by runs that were killed while writing `product` or its fingerprint."""
    product = Path(product)
    for path in (product, _mark(product)):
        for leftover in path.parent.glob(f".{path.stem}.*-*{path.suffix}"):
            leftover.unlink()


def _mark(path: Path) -> Path:
    return path.with_name(f".{path.name}.fingerprint")


def _mark_lines(product: Path) -> list[str]:
    """The fingerprint of a product, and the content that goes with it; empty without a mark."""
    mark = _mark(product)
    return mark.read_text(errors="replace").split("\n")[:-1] if mark.is_file() else []


def _write_mark(product: Path, lines: Sequence[str]) -> None:
    with atomic(_mark(product)) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines))


def _content(path: Path) -> str:
    """Size and SHA-256 of a file's content, or of its first, middle and last MiB if it is larger than 64 MiB."""
    size = path.stat().st_size
    if size <= SAMPLED_ABOVE:
        return f"{size} {file_digest(path).hex()}"
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for start in (0, (size - PIECE) // 2, size - PIECE):
            handle.seek(start)
            digest.update(handle.read(PIECE))
    return f"{size} {digest.hexdigest()}"
