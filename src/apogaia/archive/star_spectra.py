"""Fetching the stars' combined spectra, checked by the hash lists of their folders."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from astropy.table import Table
from tqdm.auto import tqdm

from apogaia import files
from apogaia.archive.hash_lists import folder_of, name_of, read_hash_list
from apogaia.archive.http.remote_files import Outcome, RemoteFile, State, verify
from apogaia.archive.pull import Pull
from apogaia.archive.report import FetchReport
from apogaia.formats.releases import Release
from apogaia.formats.survey_tables import spectrum_places

__all__ = ["StarSpectra", "wanted_spectra"]

BATCH = 50_000  # spectra in one go: a file takes about a kilobyte until it is there
PAUSES_S = (60, 300, 900)  # before spectra that failed are tried again; from the first as long as some come
OUTSIDE = "LOCATION_ID 1 (1-m telescope): no apStar file in the survey's folders"


def wanted_spectra(allstar: Table, release: Release) -> tuple[list[str], list[str]]:
    """Places of the spectra to fetch, each once, and of those that were never released.

    Spectra of one folder do not follow each other, so that a folder that cannot be had does not look like an archive
    that cannot be had.

    Parameters
    ----------
    allstar
        (n,) rows of `apogaia.formats.survey_tables.read_allstar`.
    release
        Whose layout the places have.
    """
    places = np.array(spectrum_places(allstar, release), dtype=object)
    outside = (np.asarray(allstar["location_id"]) == 1) & (not release.folder_is_field)
    wanted = sorted(set(places[~outside]))
    turn = itertools.chain.from_iterable(range(len(list(group))) for _, group in itertools.groupby(wanted, folder_of))
    return [place for _, place in sorted(zip(turn, wanted, strict=True))], sorted(set(places[outside]))


class StarSpectra:
    """The spectra of one run.

    Attributes
    ----------
    hashes
        Folder -> file name -> SHA-1; empty where the archive has no list; without the folders whose list cannot be had.
    listless
        Folders of which the archive has no list.
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
        """Fetch what is not there, try again what failed, and fill the report."""
        wanted, outside = wanted_spectra(allstar, self.release)
        report.missing = dict.fromkeys(outside, OUTSIDE)
        self._read_lists({folder_of(place) for place in wanted}, report)
        self._verify_late(wanted)
        lost = self._fetch([place for place in wanted if folder_of(place) in self.hashes])
        lost = self._again(lost, self._with_new_lists(lost, report))
        lost = self._patiently(lost)
        for place, outcome in lost.items():
            if outcome.state == State.FAILED:
                report.failed[place] = outcome.reason
            elif name_of(place) in self.hashes[folder_of(place)]:
                report.failed[place] = f"{outcome.reason}, though its hash list names it"
            elif folder_of(place) in self.listless:
                report.failed[place] = f"{outcome.reason}, nor a hash list of {folder_of(place)}: is the folder away?"
            else:
                report.missing[place] = outcome.reason
        for place in (place for place in wanted if folder_of(place) not in self.hashes):
            self.counts[State.FAILED] += 1
            report.failed[place] = f"the hash list of {folder_of(place)} cannot be had"
        report.unverified = sorted(
            p for p in wanted if p not in lost and not self._hash(p) and folder_of(p) in self.hashes
        )
        report.counts = {state.value: count for state, count in self.counts.items()}

    def _hash(self, place: str) -> str | None:
        digits = self.hashes.get(folder_of(place), {}).get(name_of(place))
        return f"sha1:{digits}" if digits else None

    def _file(self, place: str) -> RemoteFile:
        return self.pull.on_sas(f"{self.release.spectra_folder}/{place}", self.raw / place, self._hash(place))

    def _fetch(self, places: Sequence[str]) -> dict[str, Outcome]:
        """Fetch spectra, some at a time so that what is kept of each stays small; those that are not there."""
        lost = {}
        for start in range(0, len(places), BATCH):
            batch = places[start : start + BATCH]
            named = "spectra" if len(places) <= BATCH else f"spectra from {start} of {len(places)}"
            wanted = {f"{self.release.spectra_folder}/{place}": self._file(place) for place in batch}
            for place, outcome in zip(batch, self.pull.fetch(wanted, named).values(), strict=True):
                self.counts[outcome.state] += 1
                if not outcome.whole:
                    lost[place] = outcome
        return lost

    def _again(self, lost: Mapping[str, Outcome], places: Iterable[str]) -> dict[str, Outcome]:
        """Try some of those that are lost again; what is lost afterwards."""
        chosen = dict.fromkeys(places)
        for place in chosen:
            self.counts[lost[place].state] -= 1
        return {place: lost[place] for place in lost if place not in chosen} | self._fetch(list(chosen))

    def _patiently(self, lost: dict[str, Outcome]) -> dict[str, Outcome]:
        """An archive's bad hour shall not end a run of days: go over what failed again, after growing pauses."""
        pauses = list(PAUSES_S)
        while pauses and (failed := [p for p in lost if lost[p].state == State.FAILED and not lost[p].hash_differs]):
            pause = pauses.pop(0)
            if self.pull.progress:
                tqdm.write(f"{len(failed)} spectra failed ({lost[failed[0]].reason}); again in {pause} s")
            time.sleep(pause)
            lost = self._again(lost, failed)
            if sum(lost[place].state == State.FAILED for place in failed if place in lost) < len(failed):
                pauses = list(PAUSES_S)
        return lost

    def _read_lists(self, folders: Iterable[str], report: FetchReport, *, anew: bool = False) -> None:
        """Fetch the hash lists of folders and read them."""
        paths, wanted = {}, {}
        for folder in sorted(folders):
            telescope, _, name = folder.partition("/")
            place = self.release.hash_list(telescope, name)
            paths[folder] = self.raw / place
            wanted[folder] = f"{self.release.spectra_folder}/{place}"
        asked = {wanted[folder]: self.pull.on_sas(wanted[folder], paths[folder]) for folder in paths}
        outcomes = self.pull.fetch(asked, "hash lists", anew=anew or self.pull.check) if asked else {}
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
                report.failed[folder] = f"its hash list cannot be had: {fault}"
                if outcome.whole:
                    path.unlink(missing_ok=True)  # the next run asks again

    def _with_new_lists(self, lost: Mapping[str, Outcome], report: FetchReport) -> list[str]:
        """Ask anew for the lists of folders with files that differ from them; the files whose hash is another now."""
        doubtful = {place: self._hash(place) for place, outcome in lost.items() if outcome.hash_differs}
        self._read_lists({folder_of(place) for place in doubtful}, report, anew=True)
        return [place for place, before in doubtful.items() if self._hash(place) not in (before, None)]

    def _verify_late(self, wanted: Sequence[str]) -> None:
        """Compare spectra that came when there was no hash for them, if there is one now; note those without.

        The note is written before anything is fetched, so that a killed run leaves it, too.
        """
        before = set(files.read_json(self.note)["places"]) if self.note.is_file() else set()
        for place in sorted(before):
            file = self._file(place)
            if file.hash and file.path.exists() and verify(file):
                file.path.unlink()
        without = {place for place in wanted if folder_of(place) in self.hashes}
        files.write_json(self.note, {"places": sorted(p for p in before | without if not self._hash(p))})
