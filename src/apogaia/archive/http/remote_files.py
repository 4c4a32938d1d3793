"""Files of an archive: what is known about each, whether a local copy is complete, and the outcome of fetching it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from apogaia.archive.http.partial_files import partial_names

__all__ = ["FetchError", "Outcome", "RemoteFile", "State", "link_file", "verify"]

_ALGORITHMS = {  # name in words, and what its hex digits are
    "md5": ("MD5", "[0-9a-fA-F]{32}"),
    "sha1": ("SHA-1", "[0-9a-fA-F]{40}"),
    "sha256": ("SHA-256", "[0-9a-fA-F]{64}"),
}
_BEGINNINGS = {
    ".fits": (b"SIMPLE  =", "a FITS file"),
    ".fz": (b"SIMPLE  =", "a FITS file"),
    ".gz": (b"\x1f\x8b", "a gzip file"),
    ".h5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ".hdf5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
}
_IN_BLOCKS = (".fits", ".fz")
_FITS_BLOCK = 2880  # bytes
_HEAD = 1024  # bytes looked at to tell what a file is

# Errors of one name or one file; every other error of the disk would affect the next file, too.
_OF_ONE_FILE = {errno.ENAMETOOLONG, errno.EISDIR, errno.EFBIG, errno.EINVAL, errno.EILSEQ}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class State(StrEnum):
    """The state of a file after fetching."""

    PRESENT = "present"  # existed already
    FETCHED = "fetched"
    LINKED = "linked"  # to a complete copy on this machine's disks
    ABSENT = "absent"  # the archive says that it has no such file
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to download: its path here, its address, and what the archive says about its content.

    `hash` is written ``"sha1:..."``, ``"md5:..."`` or ``"sha256:..."`` in hex digits, `size` is in bytes; None where
    the archive does not say.

    Raises
    ------
    ValueError
        If the hash is not one of these.
    """

    path: Path
    url: str
    hash: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        """Check the hash."""
        if self.hash is not None:
            algorithm, _, digits = self.hash.partition(":")
            if algorithm not in _ALGORITHMS or not re.fullmatch(_ALGORITHMS[algorithm][1], digits):
                raise ValueError(
                    f"{self.path}: {self.hash!r} is no hash: write sha1:, md5: or sha256: followed by hex digits"
                )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for a file: `reason` says why it is absent or failed, `bytes_fetched` how much was downloaded.

    `hash_differs`: the file arrived twice the same, with another hash than the archive states.
    """

    file: RemoteFile
    state: State
    reason: str = ""
    bytes_fetched: int = 0
    hash_differs: bool = False

    @property
    def whole(self) -> bool:
        """Whether the file is now in its place."""
        return self.state in (State.PRESENT, State.FETCHED, State.LINKED)


class FetchError(OSError):
    """An error that affects all files: the disk is full or cannot be written, or the archive cannot be reached."""


class FileTrouble(Exception):
    """The disk refuses this one file, for example because its name is too long."""


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Turn errors of the disk into a ``FetchError`` with folder and remedy, or a ``FileTrouble`` of one file."""
    try:
        yield
    except FetchError:
        raise
    except OSError as error:
        if error.errno in _OF_ONE_FILE:
            raise FileTrouble(f"{path} cannot be written: {error.strerror}") from error
        again = "then run again: complete files are kept, and the current one resumes"
        if error.errno in _FULL:
            raise FetchError(
                f"No space left for {path.parent}{_free(path)} ({error.strerror}): free some space, or put the data on "
                f"another disk (APOGAIA_ROOT), {again}"
            ) from error
        raise FetchError(
            f"{path.parent} cannot be written ({error.strerror}): check its owner and how its disk is mounted, or put "
            f"the data elsewhere (APOGAIA_ROOT), {again}"
        ) from error


def _free(path: Path) -> str:
    try:
        return f", {shutil.disk_usage(path.parent).free / 1e6:.0f} MB free"
    except OSError:  # only a detail of an error message
        return ""


def is_html(path: Path, head: bytes) -> bool:
    """Return whether a file that begins like this is a web page although its name says otherwise."""
    if path.suffix.lower() in (".html", ".htm"):
        return False
    head = head[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return head.startswith(b"<") and (b"<html" in head or b"<!doctype html" in head)


def html_in_words(head: bytes) -> str:
    """Describe a web page by its title, in which archives say what is wrong."""
    title = re.search(rb"<title[^>]*>\s*([^<]{1,80})", head, re.IGNORECASE)
    text = f" ({' '.join(title[1].decode('utf-8', 'replace').split())})" if title else ""
    return f"an HTML page{text} instead of the file"


def hash_of(path: Path, algorithm: str) -> str:
    """Return a file's hash in hex digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


@dataclass(frozen=True)
class Fault:
    """Why a local file is not what the archive has; `digits` is its hash where that is what differs."""

    text: str
    digits: str = ""


def fault_of(copy: Path, file: RemoteFile) -> Fault | None:
    """Check a local copy of `file` by its beginning, size and hash; None if nothing is wrong.

    A FITS file of which neither size nor hash is known must consist of complete blocks, which reveals most cut ones.

    Raises
    ------
    OSError
        If the copy cannot be read.
    """
    size = copy.stat().st_size
    with open(copy, "rb") as handle:
        head = handle.read(_HEAD)
    if not size:
        return Fault("the file is empty")
    if is_html(file.path, head):
        return Fault(html_in_words(head))
    suffix = file.path.suffix.lower()
    beginning, kind = _BEGINNINGS.get(suffix, (b"", ""))
    if not head.startswith(beginning):
        return Fault(f"the file does not begin as {kind} does, but with {head[:16]!r}")
    if file.size is not None and size != file.size:
        return Fault(f"the file has {size} bytes, the archive says {file.size}")
    if file.hash is None:
        if file.size is None and suffix in _IN_BLOCKS and size % _FITS_BLOCK:
            return Fault(
                f"the file has {size} bytes, which is not a multiple of a FITS block's {_FITS_BLOCK}: it is cut"
            )
        return None
    algorithm, _, stated = file.hash.partition(":")
    digits = hash_of(copy, algorithm)
    if digits != stated.lower():
        return Fault(f"the file's {_ALGORITHMS[algorithm][0]} is {digits}, the archive's list says {stated}", digits)
    return None


def can_tell_cut(file: RemoteFile) -> bool:
    """Return whether ``fault_of`` detects a missing end of the file without its length from the server."""
    return file.hash is not None or file.size is not None or file.path.suffix.lower() in _IN_BLOCKS


def verify(file: RemoteFile) -> str:
    """Check the file in its place by its beginning and by the size and hash that the archive states.

    Returns
    -------
    str
        Empty if the file is complete; otherwise what is wrong.
    """
    return _verify_copy(file.path, file)


def _verify_copy(copy: Path, file: RemoteFile) -> str:
    if not copy.is_file():
        return "the file is missing"
    try:
        fault = fault_of(copy, file)
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    return fault.text if fault else ""


def link_file(file: RemoteFile, source: str | Path) -> Outcome:
    """Link a file to an existing copy, in a mirror for example, if the copy is complete.

    Parameters
    ----------
    file
        The wanted file. If it exists already, nothing is done.
    source
        The copy, which is read completely to verify it.

    Returns
    -------
    Outcome
        PRESENT, LINKED, or FAILED with the reason.

    Raises
    ------
    FetchError
        If the folder of `file` cannot be written.
    """
    source = Path(source)
    if file.path.is_file():
        return Outcome(file, State.PRESENT)
    fault = _verify_copy(source, file)
    if fault:
        return Outcome(file, State.FAILED, f"{source}: {fault}")
    link = file.path.with_name(f".{file.path.name}.link")
    try:
        with on_disk(file.path):
            file.path.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.abspath(source))
            os.replace(link, file.path)
            for path in partial_names(file.path):
                path.unlink(missing_ok=True)
    except FileTrouble as trouble:
        link.unlink(missing_ok=True)
        return Outcome(file, State.FAILED, str(trouble))
    return Outcome(file, State.LINKED)
