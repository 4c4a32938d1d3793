"""What a fetch would take: files, bytes and time, before anything is written."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

from apogaia.archive import wanted_spectra
from apogaia.raw_tables import read_allstar
from apogaia.survey import Survey
from apogaia.workspace import Workspace

__all__ = ["Estimate", "estimate"]

SAMPLE = 8  # spectra whose size is asked for
TIMED = 3  # of them, fetched to see how fast
RELEASED_BYTES = 1.035e9  # of each of the two files of released spectra


@dataclass(frozen=True)
class Estimate:
    """What a fetch would bring."""

    files: int
    present: int  # of them there already
    spectrum_bytes: float  # mean of one that is not
    bytes_per_second: float | None  # of all streams together; None: the archive cannot be reached
    basis: str
    free_bytes: int

    @property
    def bytes(self) -> float:
        return (self.files - self.present) * self.spectrum_bytes

    def __str__(self) -> str:
        to_do = self.files - self.present
        lines = [
            f"{self.files} files, {self.present} of them here; {to_do} to fetch, about {_size(self.bytes)}"
            f" ({_size(self.spectrum_bytes)} each, {self.basis}); free on this disk: {_size(self.free_bytes)}"
        ]
        if self.bytes_per_second:
            rate = self.bytes_per_second
            lines.append(f"at the {_size(rate)}/s measured just now: {_duration(self.bytes / rate)}")
        else:
            lines.append(
                f"the archive cannot be reached from here; at 10 MB/s: {_duration(self.bytes / 1e7)},"
                f" at 100 MB/s: {_duration(self.bytes / 1e8)}"
            )
        return "\n".join(lines)


def estimate(survey: Survey, workspace: Workspace, *, limit: int | None = None, mirror: Path | None = None) -> Estimate:
    """Count, bytes and time of what `fetch_survey` would do; nothing is written.

    With allStar at hand the spectra that are not there yet are counted, else the release's rows. Size and speed are
    asked of the archive for a few spectra, if it can be reached.
    """
    release = workspace.release
    allstar_path = workspace.allstar
    if not allstar_path.is_file() and mirror and (Path(mirror) / release.allstar.sas_path).is_file():
        allstar_path = Path(mirror) / release.allstar.sas_path
    if survey.sources.spectra == "released":
        present = sum(path.is_file() for path in workspace.released_spectra)
        return Estimate(2, present, RELEASED_BYTES, None, "the size stated for the release", _free(workspace))
    if not allstar_path.is_file():
        count = min(limit or release.n_rows, release.n_rows)
        return Estimate(
            count, 0, release.mean_spectrum_bytes, None, "typical; allStar is not here yet", _free(workspace)
        )
    allstar = read_allstar(allstar_path)[:limit]
    places, _ = wanted_spectra(allstar, release)
    lacking = [place for place in places if not (workspace.raw / place).exists()]
    if mirror:
        lacking = [place for place in lacking if not (Path(mirror) / release.spectra_folder / place).is_file()]
    sample = [lacking[i] for i in np.unique(np.linspace(0, len(lacking) - 1, SAMPLE).astype(int))] if lacking else []
    size, rate = _ask(survey, release.spectra_folder, sample)
    basis = f"mean of {SAMPLE} asked for" if size else "typical"
    return Estimate(
        len(places), len(places) - len(lacking), size or release.mean_spectrum_bytes, rate, basis, _free(workspace)
    )


def _ask(survey: Survey, folder: str, places: Sequence[str]) -> tuple[float | None, float | None]:
    """Mean size [bytes] of some spectra, and the rate [bytes/s] of all streams together; None where not to be had."""
    base = f"{survey.archive.sas.rstrip('/')}/{folder}"
    sizes, rates = [], []
    try:
        with requests.Session() as session:
            for k, place in enumerate(places):
                started = time.monotonic()
                answer = session.get(f"{base}/{place}", timeout=survey.archive.timeout, stream=k >= TIMED)
                if answer.ok and k < TIMED:
                    sizes.append(len(answer.content))
                    rates.append(len(answer.content) / (time.monotonic() - started))
                elif answer.ok and "Content-Length" in answer.headers:
                    sizes.append(int(answer.headers["Content-Length"]))
                answer.close()
    except requests.RequestException:
        return None, None  # an estimate does without; `fetch` itself says what is wrong
    return (
        float(np.mean(sizes)) if sizes else None,
        float(np.median(rates)) * survey.archive.streams if rates else None,
    )


def _free(workspace: Workspace) -> int:
    folder = workspace.data
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
