"""The part of a file that has arrived: kept beside the final name, with a note of the version it belongs to."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Note", "PartialFile", "partial_names"]


# Errors of file systems without locks; on these, only one process at a time may fetch a file.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def partial_names(path: Path) -> tuple[Path, Path]:
    """Return the path of a file's part, and that of the note about its version."""
    return path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.part.note")


@dataclass(frozen=True)
class Note:
    """A version of a file on a server: its address, length in bytes, and the validator by which the server knows it."""

    url: str
    length: int | None
    validator: str | None


class PartialFile:
    """The part of a file that has arrived, held by one thread of one process at a time."""

    def __init__(self, path: Path):
        self.final = path
        self.path, self._note = partial_names(path)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        self._held = False

    def take(self) -> bool:
        """Lock the part; return whether that succeeded and the part is still the one under this name."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        held = os.fstat(self._descriptor)
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return False
        self._held = (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)
        return self._held

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return os.fstat(self._descriptor).st_size

    def resumable(self, url: str, hash_known: bool) -> tuple[int, Note | None]:
        """Return how many bytes of which version have arrived, dropping those that may be another version's.

        A part whose version has no validator is only resumed if a hash shows afterwards whether the pieces fit.
        """
        size, note = self.size, self._read_note()
        if (
            not size
            or note is None
            or note.url != url
            or not (note.validator or hash_known)
            or (note.length is not None and size > note.length)
        ):
            if size:
                self.restart()
            return 0, None
        return size, note

    def _read_note(self) -> Note | None:
        try:
            return Note(**json.loads(self._note.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None  # none, or cut by a kill

    def restart(self, note: Note | None = None) -> None:
        """Drop what has arrived: first the part, then the note, so that a note never vouches for another version."""
        os.ftruncate(self._descriptor, 0)
        if note is None:
            self._note.unlink(missing_ok=True)
        else:
            self._note.write_text(json.dumps(asdict(note)), encoding="utf-8")

    def append(self, data: bytes) -> None:
        """Write data to the end of the part."""
        os.lseek(self._descriptor, 0, os.SEEK_END)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def finish(self) -> None:
        """Give the file its name, after syncing it to disk: a file with its name is not checked again."""
        os.fsync(self._descriptor)
        os.replace(self.path, self.final)
        self._held = False
        self._note.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the part and its note."""
        self._held = False
        for path in (self._note, self.path):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the part to others, and delete it if it is empty."""
        try:
            if self._held and not self.size:
                self.remove()
        finally:
            os.close(self._descriptor)
