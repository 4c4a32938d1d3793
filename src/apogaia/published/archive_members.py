"""Members of a zip archive that a file claims to be, read within limits."""

from __future__ import annotations

import zipfile
from pathlib import Path

from apogaia.model.model_origin import ModelFileError

__all__ = ["read_members"]

MAX_BYTES = 1 << 29  # of all members unpacked; the largest published file has some 45 MB


def read_members(path: Path, kind: str) -> dict[str, bytes]:
    """Read all members of a zip archive.

    Parameters
    ----------
    path
        The archive.
    kind
        What it should be, for messages.

    Raises
    ------
    ModelFileError
        If it is no zip archive, is damaged, or unpacks to more than `MAX_BYTES`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MAX_BYTES:
                raise ModelFileError(f"{path}: unpacks to {size} bytes, too many for any published network")
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ModelFileError(f"{path}: damaged, cut short, or not {kind} ({error}): get it again") from error
