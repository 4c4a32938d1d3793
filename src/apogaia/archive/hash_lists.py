"""The SHA-1 lists that lie beside an archive's spectra."""

from __future__ import annotations

from pathlib import Path

__all__ = ["folder_of", "name_of", "read_hash_list"]


def folder_of(place: str) -> str:
    """``apo25m/4405`` of ``apo25m/4405/apStar-r8-2M...fits``."""
    return place.rpartition("/")[0]


def name_of(place: str) -> str:
    return place.rpartition("/")[2]


def read_hash_list(path: str | Path) -> dict[str, str]:
    """File name -> SHA-1 (hexadecimal) of a list as `sha1sum` writes it.

    Raises
    ------
    ValueError
        If a line is not one of such a list, or there is none.
    """
    hashes = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        digest, _, name = line.strip().partition(" ")
        if not line.strip():
            continue
        if len(digest) != 40 or not name or set(digest.lower()) - set("0123456789abcdef"):
            raise ValueError(f"{Path(path).name}: line {number} is not one of a SHA-1 list")
        hashes[name_of(name.strip().lstrip("*"))] = digest.lower()
    if not hashes:
        raise ValueError(f"{Path(path).name} is empty")
    return hashes
