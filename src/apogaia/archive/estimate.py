"""How many files, how many bytes and how much time a fetch needs, before anything is written."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import requests

from apogaia import files
from apogaia.archive.http.server_responses import Scope, refusal, transport_trouble
from apogaia.archive.http.transfers import MAX_REDIRECTS
from apogaia.archive.pull import check_mirror
from apogaia.archive.star_spectra import wanted_spectra
from apogaia.formats.survey_tables import read_allstar
from apogaia.survey import Survey
from apogaia.workspace import Workspace

__all__ = ["Estimate", "counted", "estimate"]

SAMPLE = 8  # spectra whose size is requested
TIMED = 3  # of these, fetched to measure the speed
SECONDS_PER_FILE = 0.3  # least time of a file on one stream, assumed where none was timed
RELEASED_BYTES = 1.035e9  # of each of the two files of released spectra


@dataclass(frozen=True)
class Estimate:
    """What a fetch would download."""

    files: int
    present: int  # of them here already, or in the mirror
    file_bytes: float  # mean size of the others
    basis: str  # of that mean
    bytes_per_second: float | None  # of all streams together
    seconds_per_file: float | None  # mean of the timed ones, each on one stream
    no_speed: str  # why these two are None
    streams: int
    gaia_queries: int
    folder: Path  # where the files go
    free_bytes: int  # on its disk

    @property
    def bytes(self) -> float:
        """Bytes still to be fetched."""
        return (self.files - self.present) * self.file_bytes

    @property
    def lacking_bytes(self) -> float:
        """Bytes by which the free space is too small; 0 if there is enough."""
        return max(self.bytes - self.free_bytes, 0.0)

    def seconds(self, bytes_per_second: float) -> float:
        """Return the time [s] for all files at this rate of all streams together, or for their requests if longer."""
        per_file = SECONDS_PER_FILE if self.seconds_per_file is None else self.seconds_per_file
        return max(self.bytes / bytes_per_second, (self.files - self.present) * per_file / self.streams)

    def no_room(self) -> str:
        """Return a message if the files do not fit on the disk; empty if they do."""
        if not self.lacking_bytes:
            return ""
        return (
            f"NOT ENOUGH ROOM: lacks {_size(self.lacking_bytes)} in {self.folder}; to use another disk, set"
            f" APOGAIA_ROOT=/disk (under make: link {self.folder.parent} to a folder there)"
        )

    def __str__(self) -> str:
        """Return the estimate in a few lines of text."""
        to_do = self.files - self.present
        lines = [
            f"{counted(self.files, 'file')}, {self.present} of them here; {to_do} to fetch, about {_size(self.bytes)}"
            f" ({_size(self.file_bytes)} each, {self.basis})",
            f"also allStar and other tables (some GB), and {counted(self.gaia_queries, 'query', 'queries')} to the"
            " Gaia archive",
            f"they go to {self.folder}; free on its disk: {_size(self.free_bytes)}",
        ]
        if self.lacking_bytes:
            lines.append(self.no_room())
        if not to_do:
            lines.append("time: none for spectra")
        elif self.bytes_per_second:
            rate = self.bytes_per_second
            lines.append(
                f"time: {_duration(self.seconds(rate))}, at the {_size(rate)}/s measured just now"
                f" ({counted(self.streams, 'stream')}, {self.seconds_per_file:.2g} s a file on each)"
            )
        else:
            lines.append(f"the download speed is not known: {self.no_speed}")
            lines.append(
                f"time: {_duration(self.seconds(1e7))} at 10 MB/s, {_duration(self.seconds(1e8))} at 100 MB/s, if each"
                f" file takes {SECONDS_PER_FILE} s at least, on each of {counted(self.streams, 'stream')} (assumed)"
            )
        return "\n".join(lines)


def counted(count: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: "1 file", "2 files"."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def estimate(
    survey: Survey, workspace: Workspace, *, limit: int | None = None, mirror: Path | None = None, ask: bool = True
) -> Estimate:
    """Estimate the number of files, bytes and time of `fetch_survey`; nothing is written.

    If allStar is here, the spectra still missing are counted, else the release's rows. Size and speed are measured for
    a few spectra, if the archive can be reached and `ask` is True.

    Raises
    ------
    FetchError
        If `mirror` is not a copy of the SAS.
    ValueError
        If the survey is not an archive survey, or allStar cannot be read.
    """
    if survey.sources.kind != "archive":
        raise ValueError(f"survey {survey.name} is not fetched: its sources.kind is {survey.sources.kind!r}")
    release = workspace.release
    if mirror is not None:
        check_mirror(Path(mirror), release)
    allstar_path = workspace.allstar
    if not allstar_path.is_file() and mirror and (Path(mirror) / release.allstar.sas_path).is_file():
        allstar_path = Path(mirror) / release.allstar.sas_path
    rows = min(limit or release.n_rows, release.n_rows)
    allstar = read_allstar(allstar_path, release)[:limit] if allstar_path.is_file() else None
    result = partial(
        Estimate,
        streams=survey.archive.streams,
        gaia_queries=math.ceil((rows if allstar is None else len(allstar)) / survey.archive.gaia_chunk),
        folder=workspace.raw,
        free_bytes=_free(workspace.raw),
    )
    if survey.sources.spectra == "released":
        present = sum(path.is_file() for path in workspace.released_spectra)
        why = "it is not measured for the released spectra"
        return result(2, present, RELEASED_BYTES, "as stated for the release", None, None, why)
    if allstar is None:
        why = "allStar, which names the spectra, is not here yet"
        return result(rows, 0, release.mean_spectrum_bytes, "typical", None, None, why)
    spectra, _ = wanted_spectra(allstar, release)
    if workspace.raw_manifest.is_file():  # of an earlier fetch: what the archive does not have
        absent = files.read_json(workspace.raw_manifest).get("missing", {})
        spectra = [spectrum for spectrum in spectra if spectrum not in absent]
    lacking = [spectrum for spectrum in spectra if not (workspace.raw / spectrum).exists()]
    if mirror:
        lacking = [spectrum for spectrum in lacking if not (Path(mirror) / release.spectra_folder / spectrum).is_file()]
    sample = [lacking[i] for i in np.unique(np.linspace(0, len(lacking) - 1, SAMPLE).astype(int))] if lacking else []
    asked = _ask(survey, release.spectra_folder, sample) if ask else _Asked([], [], [], "the archive was not asked")
    size = float(np.mean(asked.sizes)) if asked.sizes else release.mean_spectrum_bytes
    return result(
        files=len(spectra),
        present=len(spectra) - len(lacking),
        file_bytes=size,
        basis=f"mean of a sample of {len(asked.sizes)}" if asked.sizes else "typical",
        bytes_per_second=float(np.median(asked.rates)) * survey.archive.streams if asked.rates else None,
        seconds_per_file=float(np.mean(asked.seconds)) if asked.seconds else None,
        no_speed=asked.trouble or "nothing to fetch",
    )


@dataclass
class _Asked:
    """The archive's answers for a few spectra."""

    sizes: list[int]  # [bytes]
    seconds: list[float]  # of those fetched, on one stream
    rates: list[float]  # [bytes/s] of those
    trouble: str  # what went wrong last; empty if nothing did


def _ask(survey: Survey, folder: str, spectra: Sequence[str]) -> _Asked:
    """Return sizes of some spectra and times of the first few; what is not available is left out of the estimate."""
    base = f"{survey.archive.sas.rstrip('/')}/{folder}"
    asked = _Asked([], [], [], "")
    try:
        with requests.Session() as session:
            for spectrum in spectra:
                started = time.monotonic()
                timed = len(asked.seconds) < TIMED
                with session.get(f"{base}/{spectrum}", timeout=survey.archive.timeout, stream=not timed) as answer:
                    if not answer.ok:
                        asked.trouble = str(refusal(answer.status_code, answer.reason or "", answer.headers))
                    elif timed:
                        asked.sizes.append(len(answer.content))
                        asked.seconds.append(time.monotonic() - started)
                        asked.rates.append(asked.sizes[-1] / asked.seconds[-1])
                    elif "Content-Length" in answer.headers:
                        asked.sizes.append(int(answer.headers["Content-Length"]))
    except requests.RequestException as fault:
        host = urlsplit(base).netloc
        trouble = transport_trouble(fault, host, survey.archive.timeout, MAX_REDIRECTS)
        unreached = getattr(trouble, "scope", None) is Scope.UNREACHED
        asked.trouble = f"the archive cannot be reached from here ({trouble})" if unreached else str(trouble)
    return asked


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
