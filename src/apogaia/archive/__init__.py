"""Fetching a real survey: tables, spectra and Gaia's sources, into the raw folder that the reduction reads.

The raw folder keeps the archive's own layout (`apogaia.releases`). A file has its name only once it is whole and agrees
with the archive's hash list; the manifest, written last, says what became of every spectrum.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.table import Table
from tqdm.auto import tqdm

from apogaia import __version__, files
from apogaia.archive.download import FetchError, Outcome, RemoteFile, State, fetch_file, fetch_files, link_file, verify
from apogaia.archive.gaia import Patience, fetch_gaia
from apogaia.raw_tables import read_allstar, spectrum_places
from apogaia.releases import Release, TableFile
from apogaia.survey import Survey
from apogaia.workspace import Workspace

__all__ = ["FetchReport", "fetch_survey", "link_folder", "read_hash_list"]

FIRST_WAIT_S = 1.0  # after a file's first fruitless attempt; doubles
PATIENCE = Patience()  # with the Gaia archive
BATCH = 50_000  # spectra in one go: a file takes about a kilobyte until it is there


@dataclass
class FetchReport:
    """What became of the files of a survey."""

    counts: dict[str, int] = field(default_factory=dict)  # spectra by state
    missing: dict[str, str] = field(default_factory=dict)  # place of a spectrum -> why it is not there; not at fault
    failed: dict[str, str] = field(default_factory=dict)  # place of a file -> why it could not be had this time
    unverified: list[str] = field(default_factory=list)  # spectra that no hash list of the archive names
    not_fetched: dict[str, str] = field(default_factory=dict)  # tables for comparison only
    complete: bool = False  # the manifest is written

    def __str__(self) -> str:
        parts = [f"{count} {state}" for state, count in sorted(self.counts.items()) if count]
        lines = [f"spectra: {', '.join(parts) or 'none asked for'}"]
        if self.missing:
            lines.append(f"{len(self.missing)} stars have no spectrum in the archive; their rows will say so")
        if self.unverified:
            lines.append(
                f"{len(self.unverified)} spectra are in no hash list of the archive: only their form was checked"
            )
        lines += [f"not fetched: {name}: {reason}" for name, reason in self.not_fetched.items()]
        lines += [f"failed: {name}: {reason}" for name, reason in list(self.failed.items())[:10]]
        if len(self.failed) > 10:
            lines.append(f"failed: and {len(self.failed) - 10} more")
        return "\n".join(lines)


# --- the whole survey -------------------------------------------------------------------------------------------------


def fetch_survey(
    survey: Survey,
    workspace: Workspace,
    *,
    limit: int | None = None,
    mirror: Path | None = None,
    check: bool = False,
    accept_failures: bool = False,
    progress: bool = True,
) -> FetchReport:
    """Fetch what the reduction of an archive survey needs; what is there already stays.

    Can be stopped at any time and goes on where it stopped. Files that cannot be had are tried again by the next call;
    the manifest is written, and the survey can be reduced, once none is left.

    Parameters
    ----------
    limit
        Spectra and Gaia sources of the first so many rows of allStar only, to try things out; a later call without it
        fetches the rest.
    mirror
        Root of an existing copy of the SAS (SDSS's SAS_BASE_DIR): its files are linked to, not copied; what it lacks
        is fetched.
    check
        Read every file again and compare it with the archive's hashes; what differs is fetched anew.
    accept_failures
        Write the manifest although files are missing; their stars' rows will say so.

    Raises
    ------
    FetchError
        If a table without which nothing goes on cannot be had, the archive cannot be reached, or nothing can be
        written (disk full, folder read-only).
    ValueError
        If the survey is not an archive survey.
    """
    if survey.sources.kind != "archive":
        raise ValueError(
            f"survey {survey.name} is {survey.sources.kind}, not fetched: use `apogaia data {survey.name}`"
        )
    key = files.fingerprint(
        survey.settings("archive") | {"limit": limit, "sources": survey.settings("sources")["sources"], "v": 1}
    )
    if not check and (report := _complete(workspace, key, accept_failures)):
        return report
    report = FetchReport()
    workspace.raw_manifest.unlink(missing_ok=True)
    pull = _Pull(survey, workspace, Path(mirror) if mirror else None, check, progress)
    pull.tables(report)
    allstar = read_allstar(workspace.allstar)
    if survey.counts.asserted and len(allstar) != survey.counts.rows:
        raise FetchError(
            f"{workspace.allstar} has {len(allstar)} rows, the release {survey.counts.rows}: is it another release's?"
            " Remove it and fetch again"
        )
    allstar = allstar[:limit]
    pull.gaia(allstar)
    if survey.sources.spectra == "released":
        pull.released_spectra()
    else:
        pull.spectra(allstar, report)
    if report.failed and not accept_failures:
        return report
    files.write_json(
        workspace.raw_manifest,
        {
            "kind": "archive",
            "survey": survey.name,
            "version": __version__,
            "fingerprint": key,
            "limit": limit,
            "rows": len(allstar),
            "spectra": report.counts,
            "missing": report.missing,
            "failed": report.failed,
            "unverified": report.unverified,
            "not_fetched": report.not_fetched,
        },
    )
    report.complete = True
    return report


def link_folder(survey: Survey, workspace: Workspace) -> None:
    """Make the raw folder from the user's own (`sources.kind = "folder"`): symbolic links and the manifest.

    Raises
    ------
    FetchError
        If the folder or one of the tables that the reduction needs is not there, or the raw folder holds other files.
    """
    folder = Path(survey.sources.folder)
    if not folder.is_dir():
        raise FetchError(f"{folder}: no such folder; survey {survey.name} names it as sources.folder")
    for path in (workspace.allstar, workspace.gaia, workspace.stellar_parameters):
        if not (folder / path.name).is_file():
            raise FetchError(
                f"{folder / path.name} is missing: data/README.md says what a folder of your own must hold"
            )
    workspace.raw.mkdir(parents=True, exist_ok=True)
    for source in sorted(folder.iterdir()):
        link = workspace.raw / source.name
        if link.is_symlink():
            link.unlink()
        elif link.exists() and link != workspace.raw_manifest:
            raise FetchError(f"{link} is in the way: the raw folder of {survey.name} shall only link to {folder}")
        if link != workspace.raw_manifest:
            link.symlink_to(source)
    files.write_json(workspace.raw_manifest, {"kind": "folder", "survey": survey.name, "folder": str(folder)})


def _complete(workspace: Workspace, key: str, accept_failures: bool) -> FetchReport | None:
    """What an earlier call reported, if it left nothing to do and all files are still there."""
    tables = (workspace.allstar, workspace.gaia, workspace.stellar_parameters)
    if not all(path.is_file() for path in (workspace.raw_manifest, *tables)):
        return None
    manifest = files.read_json(workspace.raw_manifest)
    if manifest.get("fingerprint") != key or (manifest["failed"] and not accept_failures):
        return None
    if workspace.survey.sources.spectra == "released":
        wanted = workspace.released_spectra
    else:
        places, _ = wanted_spectra(read_allstar(workspace.allstar)[: manifest["limit"]], workspace.release)
        lost = manifest["missing"].keys() | manifest["failed"].keys()
        wanted = [workspace.raw / place for place in places if place not in lost]
    if not all(path.is_file() for path in wanted):
        return None
    told = {name: manifest[name] for name in ("missing", "failed", "unverified", "not_fetched")}
    return FetchReport(counts=manifest["spectra"], complete=True, **told)


class _Pull:
    """One run of `fetch_survey`: where from, and how."""

    def __init__(self, survey: Survey, workspace: Workspace, mirror: Path | None, check: bool, progress: bool):
        if mirror is not None and not mirror.is_dir():
            raise FetchError(f"{mirror}: no such folder; --mirror wants the root of a copy of the SAS")
        self.survey, self.workspace, self.mirror = survey, workspace, mirror
        self.check, self.progress = check, progress
        self.release, self.archive = workspace.release, survey.archive

    def fetch(self, wanted: Mapping[str, RemoteFile], description: str) -> dict[str, Outcome]:
        """Files by their place on the SAS: linked to if the mirror has them whole, else fetched."""
        if self.check:
            for file in tqdm(wanted.values(), desc=f"{description}: check", unit="file", disable=not self.progress):
                if file.path.exists() and verify(file):
                    file.path.unlink()
        linked = self._link(wanted, description) if self.mirror else {}
        rest = {place: file for place, file in wanted.items() if place not in linked}
        how = {
            "attempts": self.archive.attempts,
            "timeout_s": self.archive.timeout,
            "first_wait_s": FIRST_WAIT_S,
            "progress": self.progress and bool(rest),
        }
        if len(rest) == 1:  # perhaps of gigabytes: its bar counts bytes
            fetched = [fetch_file(file, **how) for file in rest.values()]
        else:
            fetched = fetch_files(rest.values(), streams=self.archive.streams, description=description, **how)
        outcomes = linked | dict(zip(rest, fetched, strict=True))
        return {place: outcomes[place] for place in wanted}

    def _link(self, wanted: Mapping[str, RemoteFile], description: str) -> dict[str, Outcome]:
        """What the mirror has whole; a file there that differs from the archive's hash does not count."""
        there = [place for place, file in wanted.items() if not file.path.exists() and (self.mirror / place).is_file()]
        linked = {}
        with ThreadPoolExecutor(self.archive.streams) as pool:
            outcomes = pool.map(lambda place: link_file(wanted[place], self.mirror / place), there)
            bar = tqdm(
                outcomes, f"{description}: mirror", len(there), unit="file", disable=not (self.progress and there)
            )
            for place, outcome in zip(there, bar, strict=True):
                if outcome.whole:
                    linked[place] = outcome
        return linked

    def on_sas(self, place: str, target: Path, hash_: str | None = None) -> RemoteFile:
        return RemoteFile(target, f"{self.archive.sas.rstrip('/')}/{place}", hash_)

    # --- tables

    def tables(self, report: FetchReport) -> None:
        """allStar and the stellar parameters, which are needed, and what only comparisons read."""
        allstar, parameters = self.release.allstar, self.release.stellar_parameters
        self._needed(allstar.sas_path, self._table(allstar, f"sha1:{self.archive.allstar_sha1}"))
        if self.archive.stellar_parameters:
            self._needed("", RemoteFile(self.workspace.stellar_parameters, self.archive.stellar_parameters))
        else:
            self._needed(parameters.sas_path, self._table(parameters))
        wanted = {table.sas_path: self._table(table) for table in self.release.comparisons}
        for outcome in self.fetch(wanted, "comparisons").values():
            if not outcome.whole:
                report.not_fetched[outcome.file.path.name] = outcome.reason

    def _table(self, table: TableFile, hash_: str | None = None) -> RemoteFile:
        return self.on_sas(table.sas_path, self.workspace.raw / table.name, hash_)

    def _needed(self, place: str, wanted: RemoteFile) -> None:
        (outcome,) = self.fetch({place: wanted}, wanted.path.name).values()
        if not outcome.whole:
            raise FetchError(
                f"{wanted.url}: {outcome.reason}. Run again later, or put the file at {wanted.path} yourself"
            )

    def gaia(self, allstar: Table) -> None:
        fetch_gaia(
            self.survey,
            self.workspace,
            np.asarray(allstar["ra_apogee"]),
            np.asarray(allstar["dec_apogee"]),
            progress=self.progress,
            patience=PATIENCE,
        )

    def released_spectra(self) -> None:
        """The paper's training and test set from Zenodo, by the record that lists them with their hashes."""
        record = self.workspace.raw / "zenodo_record.json"
        record.unlink(missing_ok=True)
        self._needed("", RemoteFile(record, self.archive.zenodo))
        listed = {item["key"]: item for item in json.loads(record.read_text(encoding="utf-8"))["files"]}
        for path in self.workspace.released_spectra:
            if path.name not in listed:
                raise FetchError(f"{self.archive.zenodo} does not list {path.name}: it has {', '.join(sorted(listed))}")
            item = listed[path.name]
            self._needed("", RemoteFile(path, item["links"]["self"], item["checksum"], item["size"]))

    # --- spectra

    def spectra(self, allstar: Table, report: FetchReport) -> None:
        """Every star's combined spectrum, checked by the hash list of its folder."""
        wanted, outside = wanted_spectra(allstar, self.release)
        report.missing = dict.fromkeys(outside, "LOCATION_ID 1: released without an apStar file")
        hashes = self._hash_lists(wanted, report)
        counts = dict.fromkeys(State, 0)
        in_lists = {folder: listed.keys() for folder, listed in hashes.items()}
        report.unverified = [p for p in wanted if _folder(p) in hashes and _name(p) not in in_lists[_folder(p)]]
        lost = self._fetch_spectra([place for place in wanted if _folder(place) in hashes], hashes, counts)
        mended = self._new_hash_lists(lost, hashes, report)
        again = [place for place in lost if lost[place].hash_differs and _folder(place) in mended]
        counts[State.FAILED] -= len(again)
        lost = {place: lost[place] for place in lost if place not in again}
        lost |= self._fetch_spectra(again, hashes, counts)
        for place, outcome in lost.items():
            if outcome.state == State.FAILED:
                report.failed[place] = outcome.reason
            elif _name(place) in hashes[_folder(place)]:
                report.failed[place] = f"{outcome.reason}, though its hash list names it"
            else:
                report.missing[place] = outcome.reason
        for place in (place for place in wanted if _folder(place) not in hashes):
            counts[State.FAILED] += 1
            report.failed[place] = f"the hash list of {_folder(place)} cannot be had"
        report.unverified = [place for place in report.unverified if place not in lost]
        report.counts = {state.value: count for state, count in counts.items()}

    def _fetch_spectra(self, places: Sequence[str], hashes: Mapping[str, dict], counts: dict) -> dict[str, Outcome]:
        """Fetch spectra, some at a time so that what is kept of each stays small; add to `counts`.

        Returns
        -------
        dict
            Of those that are not there: place -> outcome.
        """
        lost = {}
        for start in range(0, len(places), BATCH):
            wanted = {}
            for place in places[start : start + BATCH]:
                listed = hashes[_folder(place)].get(_name(place))
                on_sas = f"{self.release.spectra_folder}/{place}"
                wanted[on_sas] = self.on_sas(on_sas, self.workspace.raw / place, f"sha1:{listed}" if listed else None)
            some = "spectra" if len(places) <= BATCH else f"spectra from {start} of {len(places)}"
            for place, outcome in zip(places[start : start + BATCH], self.fetch(wanted, some).values(), strict=True):
                counts[outcome.state] += 1
                if not outcome.whole:
                    lost[place] = outcome
        return lost

    def _hash_lists(self, places: Sequence[str], report: FetchReport, *, anew: bool = False) -> dict[str, dict]:
        """Folder -> name -> SHA-1, for the folders of `places`; a folder is left out if its list cannot be had."""
        folders = sorted({_folder(place) for place in places})
        wanted = {}
        for folder in folders:
            place = self.release.hash_list(*folder.split("/"))
            path = self.workspace.raw / place
            if anew or self.check:
                path.unlink(missing_ok=True)
            wanted[f"{self.release.spectra_folder}/{place}"] = self.on_sas(
                f"{self.release.spectra_folder}/{place}", path
            )
        hashes: dict[str, dict] = {}
        for folder, outcome in zip(folders, self.fetch(wanted, "hash lists").values(), strict=True):
            if outcome.state == State.ABSENT:
                hashes[folder] = {}
                continue
            try:
                if outcome.state == State.FAILED:
                    raise ValueError(outcome.reason)
                hashes[folder] = read_hash_list(outcome.file.path)
                report.failed.pop(folder, None)
            except ValueError as fault:
                report.failed[folder] = f"its hash list cannot be had: {fault}"
                if outcome.state != State.FAILED:
                    outcome.file.path.unlink(missing_ok=True)  # the next run asks again
        return hashes

    def _new_hash_lists(self, lost: Mapping[str, Outcome], hashes: dict, report: FetchReport) -> set[str]:
        """Ask anew for the lists of folders with files that differ from them; the folders whose list has changed."""
        doubtful = [place for place, outcome in lost.items() if outcome.hash_differs]
        if not doubtful:
            return set()
        fresh = self._hash_lists(doubtful, report, anew=True)
        changed = {folder for folder, listed in fresh.items() if listed != hashes[folder]}
        hashes.update(fresh)
        return changed


def wanted_spectra(allstar: Table, release: Release) -> tuple[list[str], list[str]]:
    """Places of the spectra to fetch, each once and sorted, and of those that were never released."""
    places = np.array(spectrum_places(allstar, release), dtype=object)
    outside = (np.asarray(allstar["location_id"]) == 1) & (not release.folder_is_field)
    return sorted(set(places[~outside])), sorted(set(places[outside]))


def _folder(place: str) -> str:
    return place.rpartition("/")[0]


def _name(place: str) -> str:
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
        hashes[name.strip().lstrip("*").rpartition("/")[2]] = digest.lower()
    if not hashes:
        raise ValueError(f"{Path(path).name} is empty")
    return hashes
