"""Fetching the stars' combined spectra, checked against the SHA-1 lists of their folders."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.table import Table
from tqdm.auto import tqdm

from apogaia import files
from apogaia.archive.http.remote_files import Outcome, RemoteFile, State, verify
from apogaia.archive.pull import Pull
from apogaia.formats.releases import Release
from apogaia.formats.survey_tables import spectrum_places

__all__ = ["FetchReport", "StarSpectra", "read_hash_list", "wanted_spectra"]

BATCH = 50_000  # spectra fetched at a time: each takes about a kilobyte of memory until it has arrived
PAUSES_S = (60, 300, 900)  # before spectra that failed are tried again; from the first whenever some succeed
SHOWN = 10  # failures that are listed one by one
OUTSIDE = "LOCATION_ID 1 (1-m telescope): no apStar file in the survey's folders"


@dataclass
class FetchReport:
    """What a fetch did and what it left; spectra are named by their path, ``apo25m/4405/apStar-r8-2M...fits``."""

    counts: dict[str, int] = field(default_factory=dict)  # spectra by state
    missing: dict[str, str] = field(default_factory=dict)  # why the archive has no such spectrum; not a failure
    failed: dict[str, str] = field(default_factory=dict)  # files and folders that could not be downloaded, and why
    unverified: list[str] = field(default_factory=list)  # spectra that no hash list of the archive names
    not_fetched: dict[str, str] = field(default_factory=dict)  # tables for comparison only
    notes: list[str] = field(default_factory=list)
    complete: bool = False  # the manifest is written

    def __str__(self) -> str:
        """Return the report in a few lines of text."""
        parts = [f"{count} {state}" for state, count in sorted(self.counts.items()) if count]
        lines = [f"spectra: {', '.join(parts) or 'none asked for'}"]
        if self.missing:
            lines.append(f"stars without a spectrum in the archive: {len(self.missing)}; their rows will say so")
        if self.unverified:
            lines.append(f"spectra in no hash list of the archive: {len(self.unverified)}; only their form is checked")
        lines += [f"not fetched: {name}: {reason}" for name, reason in self.not_fetched.items()]
        lines += [f"failed: {name}: {reason}" for name, reason in list(self.failed.items())[:SHOWN]]
        if len(self.failed) > SHOWN:
            lines.append(f"failed: and {len(self.failed) - SHOWN} more")
        return "\n".join(lines + self.notes)


def folder_of(path: str) -> str:
    """Return ``apo25m/4405`` for ``apo25m/4405/apStar-r8-2M...fits``."""
    return path.rpartition("/")[0]


def name_of(path: str) -> str:
    """Return ``apStar-r8-2M...fits`` for ``apo25m/4405/apStar-r8-2M...fits``."""
    return path.rpartition("/")[2]


def read_hash_list(path: str | Path) -> dict[str, str]:
    """Read a list as `sha1sum` writes it: file name -> SHA-1 in hex digits.

    Raises
    ------
    ValueError
        If a line does not belong to such a list, or the list is empty.
    """
    hashes = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        digest, _, name = line.strip().partition(" ")
        if not line.strip():
            continue
        if len(digest) != 40 or not name or set(digest.lower()) - set("0123456789abcdef"):
            raise ValueError(f"{Path(path).name}: line {number} does not belong to a SHA-1 list")
        hashes[name_of(name.strip().lstrip("*"))] = digest.lower()
    if not hashes:
        raise ValueError(f"{Path(path).name} is empty")
    return hashes


def wanted_spectra(allstar: Table, release: Release) -> tuple[list[str], list[str]]:
    """Return the paths of the spectra to fetch, each once, and of those that were never released.

    Spectra of one folder do not follow each other, so that an unavailable folder does not look like an unavailable
    archive.

    Parameters
    ----------
    allstar
        (n,) rows of `apogaia.formats.survey_tables.read_allstar`.
    release
        Whose layout the paths have.
    """
    spectra = np.array(spectrum_places(allstar, release), dtype=object)
    outside = (np.asarray(allstar["location_id"]) == 1) & (release.spectra_by == "location_id")
    wanted = sorted(set(spectra[~outside]))
    turn = itertools.chain.from_iterable(range(len(list(group))) for _, group in itertools.groupby(wanted, folder_of))
    return [spectrum for _, spectrum in sorted(zip(turn, wanted, strict=True))], sorted(set(spectra[outside]))


class StarSpectra:
    """The spectra of one run.

    Attributes
    ----------
    hashes
        Folder -> file name -> SHA-1; empty where the archive has no list; folders whose list is unavailable are absent.
    listless
        Folders for which the archive has no list.
    counts
        Spectra by state.
    """

    def __init__(self, pull: Pull):
        self.pull, self.release, self.raw = pull, pull.release, pull.workspace.raw
        self.hashes: dict[str, dict[str, str]] = {}
        self.listless: set[str] = set()
        self.counts = dict.fromkeys(State, 0)
        self.note = pull.workspace.data / ".unverified.json"

    def fetch(self, allstar: Table, report: FetchReport) -> None:
        """Fetch what is missing, retry what failed, and fill the report."""
        wanted, outside = wanted_spectra(allstar, self.release)
        report.missing = dict.fromkeys(outside, OUTSIDE)
        self._read_lists({folder_of(spectrum) for spectrum in wanted}, report)
        self._verify_late(wanted)
        lost = self._fetch([spectrum for spectrum in wanted if folder_of(spectrum) in self.hashes])
        lost = self._retry(lost, self._with_new_lists(lost, report))
        lost = self._retry_after_pauses(lost)
        for spectrum, outcome in lost.items():
            if outcome.state == State.FAILED:
                report.failed[spectrum] = outcome.reason
            elif name_of(spectrum) in self.hashes[folder_of(spectrum)]:
                report.failed[spectrum] = f"{outcome.reason}, though its hash list names it"
            elif folder_of(spectrum) in self.listless:
                report.failed[spectrum] = (
                    f"{outcome.reason}, nor a hash list of {folder_of(spectrum)}: is the folder gone?"
                )
            else:
                report.missing[spectrum] = outcome.reason
        for spectrum in (spectrum for spectrum in wanted if folder_of(spectrum) not in self.hashes):
            self.counts[State.FAILED] += 1
            report.failed[spectrum] = f"the hash list of {folder_of(spectrum)} is not available"
        report.unverified = sorted(
            p for p in wanted if p not in lost and not self._hash(p) and folder_of(p) in self.hashes
        )
        report.counts = {state.value: count for state, count in self.counts.items()}

    def _hash(self, spectrum: str) -> str | None:
        digits = self.hashes.get(folder_of(spectrum), {}).get(name_of(spectrum))
        return f"sha1:{digits}" if digits else None

    def _file(self, spectrum: str) -> RemoteFile:
        return self.pull.on_sas(f"{self.release.spectra_folder}/{spectrum}", self.raw / spectrum, self._hash(spectrum))

    def _fetch(self, spectra: Sequence[str]) -> dict[str, Outcome]:
        """Fetch spectra, some at a time to save memory, and return those that did not arrive."""
        lost = {}
        for start in range(0, len(spectra), BATCH):
            batch = spectra[start : start + BATCH]
            named = "spectra" if len(spectra) <= BATCH else f"spectra from {start} of {len(spectra)}"
            wanted = {f"{self.release.spectra_folder}/{spectrum}": self._file(spectrum) for spectrum in batch}
            for spectrum, outcome in zip(batch, self.pull.fetch(wanted, named).values(), strict=True):
                self.counts[outcome.state] += 1
                if not outcome.whole:
                    lost[spectrum] = outcome
        return lost

    def _retry(self, lost: Mapping[str, Outcome], spectra: Iterable[str]) -> dict[str, Outcome]:
        """Fetch some of the lost spectra again and return what is still lost."""
        chosen = dict.fromkeys(spectra)
        for spectrum in chosen:
            self.counts[lost[spectrum].state] -= 1
        return {spectrum: lost[spectrum] for spectrum in lost if spectrum not in chosen} | self._fetch(list(chosen))

    def _retry_after_pauses(self, lost: dict[str, Outcome]) -> dict[str, Outcome]:
        """Fetch what failed again after growing pauses: an hour without the archive must not end a run of days."""
        pauses = list(PAUSES_S)
        while pauses and (failed := [p for p in lost if lost[p].state == State.FAILED and not lost[p].hash_differs]):
            pause = pauses.pop(0)
            if self.pull.progress:
                tqdm.write(f"{len(failed)} spectra failed ({lost[failed[0]].reason}); again in {pause} s")
            time.sleep(pause)
            lost = self._retry(lost, failed)
            if sum(lost[spectrum].state == State.FAILED for spectrum in failed if spectrum in lost) < len(failed):
                pauses = list(PAUSES_S)
        return lost

    def _read_lists(self, folders: Iterable[str], report: FetchReport, *, refetch: bool = False) -> None:
        """Fetch the hash lists of folders and read them."""
        paths, wanted = {}, {}
        for folder in sorted(folders):
            list_path = self.release.hash_list(folder)
            paths[folder] = self.raw / list_path
            wanted[folder] = f"{self.release.spectra_folder}/{list_path}"
        asked = {wanted[folder]: self.pull.on_sas(wanted[folder], paths[folder]) for folder in paths}
        outcomes = self.pull.fetch(asked, "hash lists", refetch=refetch or self.pull.check) if asked else {}
        for folder, path in paths.items():
            outcome = outcomes[wanted[folder]]
            self.hashes.pop(folder, None)
            self.listless.discard(folder)
            report.failed.pop(folder, None)
            try:
                if outcome.state == State.ABSENT:
                    self.hashes[folder] = {}
                    self.listless.add(folder)
                elif outcome.state == State.FAILED:
                    raise ValueError(outcome.reason)
                else:
                    self.hashes[folder] = read_hash_list(path)
            except ValueError as fault:
                report.failed[folder] = f"its hash list is not available: {fault}"
                if outcome.whole:
                    path.unlink(missing_ok=True)  # the next run asks again

    def _with_new_lists(self, lost: Mapping[str, Outcome], report: FetchReport) -> list[str]:
        """Fetch the lists again of folders with files that differ; return the files whose listed hash has changed."""
        doubtful = {spectrum: self._hash(spectrum) for spectrum, outcome in lost.items() if outcome.hash_differs}
        self._read_lists({folder_of(spectrum) for spectrum in doubtful}, report, refetch=True)
        return [spectrum for spectrum, before in doubtful.items() if self._hash(spectrum) not in (before, None)]

    def _verify_late(self, wanted: Sequence[str]) -> None:
        """Verify spectra that were fetched without a hash, if there is one now, and note those without.

        The note is written before anything is fetched, so that a killed run leaves it, too.
        """
        before = set(files.read_json(self.note)["places"]) if self.note.is_file() else set()
        for spectrum in sorted(before):
            file = self._file(spectrum)
            if file.hash and file.path.exists() and verify(file):
                file.path.unlink()
        without = {spectrum for spectrum in wanted if folder_of(spectrum) in self.hashes}
        files.write_json(self.note, {"places": sorted(p for p in before | without if not self._hash(p))})
