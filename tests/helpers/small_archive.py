"""A small archive of FITS-like files for the tests of the downloader, and the marks of a whole local copy of it."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from apogaia.archive.http.download import fetch_files
from apogaia.archive.http.remote_files import Outcome, RemoteFile

BLOCK = 2880


def fits_like(blocks: int, seed: int) -> bytes:
    """Random bytes that begin as a FITS file and have a FITS file's length."""
    return b"SIMPLE  =" + random.Random(seed).randbytes(blocks * BLOCK - 9)


def sha1(content: bytes) -> str:
    return "sha1:" + hashlib.sha1(content).hexdigest()


class SmallArchive:
    """Files in a folder that a server can serve, and the place where a client is to put them."""

    def __init__(self, root: Path, n_files: int, blocks: int = 20, seed: int = 0):
        self.served, self.folder = root / "served", root / "here"
        self.contents = {
            f"field{number % 3}/apStar-{number:04d}.fits": fits_like(blocks, 1000 * seed + number)
            for number in range(n_files)
        }
        for name, content in self.contents.items():
            (self.served / name).parent.mkdir(parents=True, exist_ok=True)
            (self.served / name).write_bytes(content)

    @property
    def n_bytes(self) -> int:
        return sum(map(len, self.contents.values()))

    def files(self, url: str, hashes: bool = True) -> list[RemoteFile]:
        return [
            RemoteFile(self.folder / name, f"{url}/{name}", sha1(content) if hashes else None)
            for name, content in self.contents.items()
        ]

    def assert_nothing_in_half(self) -> None:
        """Whatever bears a final name is whole."""
        for name, content in self.contents.items():
            path = self.folder / name
            assert not path.exists() or path.read_bytes() == content, f"{name} is not whole"

    def assert_whole(self) -> None:
        """All files are here, and nothing else."""
        here = {
            str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()
        }
        assert sorted(here) == sorted(self.contents)
        assert here == self.contents


def fetch(files, streams=4, attempts=6, timeout_s=5.0, progress=False, first_wait_s=0.01, **settings) -> list[Outcome]:
    """``fetch_files`` with the short pauses of a test."""
    return fetch_files(
        files,
        streams=streams,
        attempts=attempts,
        timeout_s=timeout_s,
        progress=progress,
        first_wait_s=first_wait_s,
        **settings,
    )
