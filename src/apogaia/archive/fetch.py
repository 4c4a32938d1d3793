"""Fetching a real survey: tables, spectra and Gaia's sources, into the raw folder that the reduction reads.

The raw folder keeps the archive's own layout (`apogaia.formats.releases`). A file gets its name only once it is
complete and agrees with the archive's hash list; the manifest, written last, records the state of every spectrum.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from apogaia import __version__, files
from apogaia.archive.gaia import fetch_gaia
from apogaia.archive.http.remote_files import FetchError
from apogaia.archive.own_folder import link_folder
from apogaia.archive.pull import Pull
from apogaia.archive.star_spectra import FetchReport, StarSpectra, wanted_spectra
from apogaia.archive.tap_jobs import Patience
from apogaia.formats.fits_columns import ReductionError
from apogaia.formats.survey_tables import read_allstar, read_gaia
from apogaia.survey import Survey
from apogaia.workspace import Workspace

__all__ = ["FetchError", "FetchReport", "fetch_survey", "link_folder", "wanted_spectra"]

PATIENCE = Patience()  # with the Gaia archive
# Settings of the section [archive] on which the content of the raw folder depends.
CONTENT_SETTINGS = (
    *("sas", "allstar_sha1", "gaia_tap", "stellar_parameters", "zenodo"),
    *("gaia_radius", "gaia_radius_moving"),
)


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
    """Fetch what the reduction of an archive survey needs; existing files are kept.

    A run that was stopped resumes. Files that could not be downloaded are tried again, after growing pauses and by the
    next call; once none is left, the manifest is written and the survey can be reduced.

    Parameters
    ----------
    limit
        Number of rows of allStar, from the first, whose spectra and Gaia sources to fetch, to try things out; a later
        call without it fetches the rest.
    mirror
        Root of an existing copy of the SAS (SDSS's SAS_BASE_DIR): its files are linked to, not copied; files that it
        lacks are fetched.
    check
        Read every file again and compare it with the archive's hashes; files that differ are replaced.
    accept_failures
        Write the manifest although files are missing; their stars' rows will say so.

    Raises
    ------
    FetchError
        If a required table is not available, the archive cannot be reached, or nothing can be written (disk full,
        folder read-only).
    apogaia.files.BusyError
        If another process fetches the same survey.
    ValueError
        If the survey is not an archive survey.
    """
    if survey.sources.kind != "archive":
        raise ValueError(
            f"survey {survey.name} is not from an archive (sources.kind = {survey.sources.kind!r}): use `apogaia data`"
        )
    with files.alone(workspace.data / ".fetch.lock", f"another process is fetching into {workspace.data}"):
        return _fetch(survey, workspace, limit, mirror, check, accept_failures, progress)


def _fetch(
    survey: Survey,
    workspace: Workspace,
    limit: int | None,
    mirror: Path | None,
    check: bool,
    accept_failures: bool,
    progress: bool,
) -> FetchReport:
    archive = survey.settings("archive")["archive"]
    key = files.fingerprint({name: archive[name] for name in CONTENT_SETTINGS} | survey.settings("sources"))
    # a table that another source of labels needs may have joined since
    there = all(path.is_file() for path in workspace.raw_tables)
    if not check and there and (report := _complete(workspace, key, limit, accept_failures)):
        return report
    report = FetchReport()
    pull = Pull(survey, workspace, Path(mirror) if mirror else None, check, progress)
    pull.allstar()
    allstar = read_allstar(workspace.allstar, workspace.release)
    if survey.counts.asserted and len(allstar) != survey.counts.rows:
        raise FetchError(
            f"{workspace.allstar} has {len(allstar)} rows, the release {survey.counts.rows}: is it another release's?"
            " Remove it and fetch again"
        )
    allstar = allstar[:limit]
    # Spectra first: they take days, and the other services may have recovered by then.
    if survey.sources.spectra == "released":
        report.counts = pull.released_spectra()
    else:
        StarSpectra(pull).fetch(allstar, report)
    if survey.labels.source == "external":
        pull.stellar_parameters()
    report.not_fetched = pull.comparisons()
    report.notes += _fetch_gaia(survey, workspace, allstar, check, progress)
    if report.failed and not accept_failures:
        workspace.raw_manifest.unlink(missing_ok=True)
        return report
    report.complete = True
    recorded = {name: getattr(report, name) for name in ("missing", "failed", "unverified", "not_fetched")}
    manifest = {
        "kind": "archive",
        "survey": survey.name,
        "version": __version__,
        "fingerprint": key,
        "limit": limit,
        "rows": len(allstar),
        "spectra": report.counts,
        **recorded,
    }
    files.write_json(workspace.raw_manifest, manifest)
    return report


def _fetch_gaia(survey: Survey, workspace: Workspace, allstar: Table, check: bool, progress: bool) -> list[str]:
    """Fetch Gaia's table, if allStar has not its columns, and return notes for the user."""
    if workspace.release.gaia_in_allstar:
        return []
    if check and workspace.gaia.is_file():
        try:
            read_gaia(workspace.gaia, survey.sources.gaia_release)
        except ReductionError:
            workspace.gaia.unlink()
    positions = (np.asarray(allstar[name]) for name in ("ra_apogee", "dec_apogee"))
    table = fetch_gaia(survey, workspace, *positions, progress=progress, patience=PATIENCE)
    return [table.note] if table.note else []


def _complete(workspace: Workspace, key: str, limit: int | None, accept_failures: bool) -> FetchReport | None:
    """Return the report of an earlier call if it left nothing to do and all files still exist."""
    if not all(path.is_file() for path in (workspace.raw_manifest, *workspace.raw_tables)):
        return None
    try:
        manifest = files.read_json(workspace.raw_manifest)
    except ValueError:  # cut short: written again
        return None
    earlier_limit = manifest.get("limit")
    if manifest.get("fingerprint") != key or (earlier_limit is not None and (limit is None or limit > earlier_limit)):
        return None
    if manifest["failed"] and not accept_failures:
        return None
    if workspace.survey.sources.spectra == "released":
        wanted = list(workspace.released_spectra)
    else:
        spectra, _ = wanted_spectra(
            read_allstar(workspace.allstar, workspace.release)[:earlier_limit], workspace.release
        )
        lost = manifest["missing"].keys() | manifest["failed"].keys()
        wanted = [workspace.raw / spectrum for spectrum in spectra if spectrum not in lost]
    if not all(path.is_file() for path in wanted):
        return None
    recorded = {name: manifest[name] for name in ("missing", "failed", "unverified", "not_fetched")}
    return FetchReport(counts=manifest["spectra"], complete=True, **recorded)
