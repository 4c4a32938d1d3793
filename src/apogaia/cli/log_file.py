"""``--log``: what a command prints, kept in a file, too."""

from __future__ import annotations

import datetime
import io
import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from apogaia import __version__

__all__ = ["logged"]


class _Both(io.TextIOBase):
    """Writes to a stream, and each line that is finished to a log, with the time; bars that are redrawn stay out."""

    def __init__(self, stream: TextIO, log: TextIO):
        self.stream, self.log, self.line = stream, log, ""

    def write(self, text: str) -> int:
        self.stream.write(text)
        *finished, self.line = (self.line + text).split("\n")
        for line in finished:
            self.log.write(f"{_now()} {line.rsplit(chr(13), 1)[-1]}\n")
        self.log.flush()
        self.line = self.line.rsplit("\r", 1)[-1]  # a bar is drawn over and over, and only its last state is a line
        return len(text)

    def finish(self) -> None:
        """Write to the log what has no end of line yet."""
        if self.line:
            self.log.write(f"{_now()} {self.line}\n")

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding


@contextmanager
def logged(path: Path | None, arguments: Sequence[str]) -> Iterator[None]:
    """Add all that is printed to the file `path`, after the time and the command; None: no file.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    if path is None:
        yield
        return
    with path.open("a", encoding="utf-8") as log:
        command = shlex.join(["apogaia", *arguments])
        log.write(f"{_now()} apogaia {__version__}, Python {platform.python_version()}: {command}\n")
        both = [_Both(stream, log) for stream in (sys.stdout, sys.stderr)]
        try:
            with redirect_stdout(both[0]), redirect_stderr(both[1]):
                yield
        finally:
            for stream in both:
                stream.finish()


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
