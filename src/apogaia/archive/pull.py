"""One run of fetching: files of the SAS, from a mirror or over the network; tables and released spectra."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from apogaia.archive.http.download import fetch_file, fetch_files
from apogaia.archive.http.remote_files import FetchError, Outcome, RemoteFile, State, link_file, verify
from apogaia.formats.releases import RELEASES, Release, TableFile
from apogaia.survey import Survey
from apogaia.workspace import Workspace

__all__ = ["Pull", "check_mirror"]

FIRST_WAIT_S = 1.0  # after a file's first failed attempt; doubles with each further one


def check_mirror(mirror: Path, release: Release) -> None:
    """Check that a folder can be the root of a copy of the SAS.

    Raises
    ------
    FetchError
        If there is no such folder, or it has no folder with the name of the release.
    """
    if not mirror.is_dir():
        raise FetchError(f"{mirror}: no such folder; --mirror needs the root of a copy of the SAS (SAS_BASE_DIR)")
    if not (mirror / release.name).is_dir():
        folders = ", ".join(f"{name}/" for name in RELEASES)
        raise FetchError(
            f"{mirror} holds no {release.name}/: --mirror needs the folder that holds {folders} (SAS_BASE_DIR)"
        )


class Pull:
    """The source of the files (archive or mirror) and how to fetch them.

    Parameters
    ----------
    mirror
        Root of a copy of the SAS, or None.
    check
        Whether existing files are compared with the archive's hashes, and replaced if they differ.
    """

    def __init__(self, survey: Survey, workspace: Workspace, mirror: Path | None, check: bool, progress: bool):
        self.survey, self.workspace, self.mirror = survey, workspace, mirror
        self.check, self.progress = check, progress
        self.release, self.archive = workspace.release, survey.archive
        if mirror is not None:
            check_mirror(mirror, self.release)

    def fetch(self, wanted: Mapping[str, RemoteFile], description: str, *, refetch: bool = False) -> dict[str, Outcome]:
        """Get files, by their path on the SAS: linked to if the mirror has them complete, else downloaded.

        With `refetch`, existing files are downloaded again, not linked, and replaced once they have arrived.
        """
        doubtful = set(wanted) if refetch else self._differing(wanted, description) if self.check else set()
        again = {sas_path: wanted[sas_path] for sas_path in doubtful if wanted[sas_path].path.exists()}
        beside = {
            sas_path: replace(file, path=file.path.with_name(f".again.{file.path.name}"))
            for sas_path, file in again.items()
        }
        for file in beside.values():
            file.path.unlink(missing_ok=True)
        asked = {sas_path: beside.get(sas_path, file) for sas_path, file in wanted.items()}
        linked = {} if refetch else self._link(asked, description)
        outcomes = linked | self._over_the_network({p: asked[p] for p in asked if p not in linked}, description)
        for sas_path, file in again.items():
            if outcomes[sas_path].whole:
                os.replace(beside[sas_path].path, file.path)
            outcomes[sas_path] = replace(outcomes[sas_path], file=file)
        return {sas_path: outcomes[sas_path] for sas_path in wanted}

    def _differing(self, wanted: Mapping[str, RemoteFile], description: str) -> set[str]:
        """Return the paths of existing files that differ from what the archive states."""
        there = [sas_path for sas_path, file in wanted.items() if file.path.exists()]
        bar = tqdm(there, f"{description}: check", unit="file", disable=not (self.progress and there))
        return {sas_path for sas_path in bar if verify(wanted[sas_path])}

    def _link(self, wanted: Mapping[str, RemoteFile], description: str) -> dict[str, Outcome]:
        """Link to files that the mirror has complete and with the archive's hash."""
        if self.mirror is None:
            return {}
        mirror = self.mirror
        there = [
            sas_path for sas_path, file in wanted.items() if not file.path.exists() and (mirror / sas_path).is_file()
        ]
        linked = {}
        with ThreadPoolExecutor(self.archive.streams) as pool:
            outcomes = pool.map(lambda sas_path: link_file(wanted[sas_path], mirror / sas_path), there)
            bar = tqdm(outcomes, f"{description}: mirror", len(there), unit="file", disable=not self.progress)
            for sas_path, outcome in zip(there, bar, strict=True):
                if outcome.whole:
                    linked[sas_path] = outcome
        return linked

    def _over_the_network(self, wanted: Mapping[str, RemoteFile], description: str) -> dict[str, Outcome]:
        attempts, timeout, progress = self.archive.attempts, self.archive.timeout, self.progress and bool(wanted)
        if len(wanted) == 1:  # perhaps of gigabytes: its bar counts bytes
            ((sas_path, file),) = wanted.items()
            outcome = fetch_file(
                file, attempts=attempts, timeout_s=timeout, progress=progress, first_wait_s=FIRST_WAIT_S
            )
            return {sas_path: outcome}
        outcomes = fetch_files(
            wanted.values(),
            streams=self.archive.streams,
            attempts=attempts,
            timeout_s=timeout,
            progress=progress,
            description=description,
            first_wait_s=FIRST_WAIT_S,
        )
        return dict(zip(wanted, outcomes, strict=True))

    def on_sas(self, sas_path: str, target: Path, hash_: str | None = None) -> RemoteFile:
        """Return a file of the SAS, to be saved as `target`."""
        return RemoteFile(target, f"{self.archive.sas.rstrip('/')}/{sas_path}", hash_)

    def needed(self, sas_path: str, wanted: RemoteFile, *, refetch: bool = False) -> Outcome:
        """Get one required file; `sas_path` is "" if it is not on the SAS.

        Raises
        ------
        FetchError
            If it is not available.
        """
        (outcome,) = self.fetch({sas_path: wanted}, wanted.path.name, refetch=refetch).values()
        if not outcome.whole:
            raise FetchError(
                f"{wanted.url}: {outcome.reason}. Run again later, or put the file at {wanted.path} yourself"
            )
        return outcome

    # --- tables

    def allstar(self) -> None:
        """Get the release's allStar, or raise `FetchError`."""
        table = self.release.allstar
        stated = self.archive.allstar_sha1
        self.needed(table.sas_path, self._table(table, f"sha1:{stated}" if stated else None))

    def stellar_parameters(self) -> None:
        """Get the stellar-parameter catalogue, or raise `FetchError`."""
        table = self.release.stellar_parameters
        if self.archive.stellar_parameters:
            self.needed("", RemoteFile(self.workspace.stellar_parameters, self.archive.stellar_parameters))
        else:
            self.needed(table.sas_path, self._table(table))

    def comparisons(self) -> dict[str, str]:
        """Get tables that only comparisons read; return those that are not available, with the reason."""
        wanted = {table.sas_path: self._table(table) for table in self.release.comparisons}
        outcomes = self.fetch(wanted, "comparisons") if wanted else {}
        return {outcome.file.path.name: outcome.reason for outcome in outcomes.values() if not outcome.whole}

    def _table(self, table: TableFile, hash_: str | None = None) -> RemoteFile:
        return self.on_sas(table.sas_path, self.workspace.raw / table.name, hash_)

    # --- released spectra

    def released_spectra(self) -> dict[str, int]:
        """Get the paper's training and test set from Zenodo, by the record that lists them with their hashes.

        Returns
        -------
        dict
            Number of files by state.

        Raises
        ------
        FetchError
            If a file or the record is not available, or the record does not list the files.
        """
        paths = self.workspace.released_spectra
        if all(path.is_file() for path in paths) and not self.check:
            return {State.PRESENT.value: len(paths)}
        record = self.workspace.raw / "zenodo_record.json"
        self.needed("", RemoteFile(record, self.archive.zenodo), refetch=record.exists())
        try:
            listed = {item["key"]: item for item in json.loads(record.read_text(encoding="utf-8"))["files"]}
            items = [(path, listed[path.name]) for path in paths]
            files = [RemoteFile(path, at["links"]["self"], at["checksum"], at["size"]) for path, at in items]
        except (KeyError, TypeError, ValueError) as fault:
            raise FetchError(
                f"{self.archive.zenodo} does not list {' and '.join(path.name for path in paths)} as expected"
                f" ({fault!r}): download them from the record's page and put them into {self.workspace.raw}"
            ) from fault
        return dict(Counter(self.needed("", file).state.value for file in files))
