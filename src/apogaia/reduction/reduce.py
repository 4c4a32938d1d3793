"""Raw files -> stars.h5: one row per allStar row, with its Gaia source, its labels and its normalised spectrum."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from astropy.table import Table
from tqdm.auto import tqdm

from apogaia import files
from apogaia.formats.apstar import Status
from apogaia.formats.fits_columns import ReductionError
from apogaia.formats.releases import Release
from apogaia.formats.stars_h5_columns import COLUMNS, LABELS
from apogaia.formats.survey_tables import (
    GAIA_COLUMNS,
    read_allstar,
    read_gaia,
    read_stellar_parameters,
    spectrum_places,
)
from apogaia.formats.zenodo_spectra import ReleasedSpectra
from apogaia.physics import lindegren, luminosity
from apogaia.processes import WorkerDiedError, run_in_processes, usable_cores
from apogaia.reduction import dask_cluster, stars_h5
from apogaia.reduction.crossmatch import cross_match
from apogaia.reduction.normalised_spectra import read_spectra
from apogaia.survey import SpectraSettings, Survey
from apogaia.workspace import Workspace

__all__ = ["ReductionError", "reduce_spectra", "reduce_survey", "star_table"]

CHUNK_ROWS = 500  # stars per chunk: what a killed run loses at most, per process
_COLUMN = {column.name: column for column in COLUMNS}


# --- the star table ---------------------------------------------------------------------------------------------------


def star_table(allstar: Table, survey: Survey, workspace: Workspace) -> Table:
    """Every column of stars.h5 that does not come from spectra, row by row as `allstar` of `read_allstar`."""
    table = allstar.copy()
    table["spectrum_file"] = [place.rpartition("/")[2] for place in spectrum_places(allstar, workspace.release)]
    if workspace.release.gaia_in_allstar:
        table["match_distance"] = np.full(len(table), np.nan)
        table["n_gaia_matches"] = (np.asarray(table["gaia_source_id"]) != 0).astype(_COLUMN["n_gaia_matches"].kind)
    else:
        _match_gaia(table, survey, workspace)
    table["parallax_zero_point"] = np.zeros(len(table))
    if survey.sources.parallax_zero_point == "lindegren2021":
        lindegren.correct_parallaxes(table)

    if workspace.stellar_parameters in workspace.raw_tables:
        labels = read_stellar_parameters(workspace.stellar_parameters, table, workspace.release)
        for name in labels.colnames:
            table[name] = labels[name]
    else:  # the survey's labels come from elsewhere (`products.labelled_stars`)
        for name in (f"{label}{end}" for label in LABELS for end in ("", "_error")):
            table[name] = np.full(len(table), np.nan, _COLUMN[name].kind)

    table["a_k_mag"][table["a_k_mag"] < survey.cuts.min_a_k_targ] = np.nan
    k0_mag = luminosity.extinction_correction(np.asarray(table["k_mag"]), np.asarray(table["a_k_mag"]))
    fakemag, fakemag_error = luminosity.mag_to_fakemag(
        k0_mag, np.asarray(table["parallax"]), np.asarray(table["parallax_error"])
    )
    table["k0_mag"], table["fakemag"], table["fakemag_error"] = k0_mag, fakemag, fakemag_error
    table["log_luminosity"] = luminosity.fakemag_to_logsol(fakemag)
    return table


def _match_gaia(table: Table, survey: Survey, workspace: Workspace) -> None:
    """Add the columns of each star's nearest source in Gaia's table."""
    gaia = read_gaia(workspace.gaia, survey.sources.gaia_release)
    index, separation, count = cross_match(table["ra_apogee"], table["dec_apogee"], gaia, survey.sources)
    for name in GAIA_COLUMNS:
        column = _COLUMN[name]
        values = np.full(len(table), column.unknown, dtype=column.kind)
        values[index >= 0] = gaia[name][index[index >= 0]]
        table[name] = values
    table["match_distance"] = separation
    table["n_gaia_matches"] = count.astype(_COLUMN["n_gaia_matches"].kind)


# --- spectra ----------------------------------------------------------------------------------------------------------


def reduce_spectra(paths: Sequence[Path], settings: SpectraSettings) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Read and normalise apStar files.

    Returns
    -------
    flux, status, reason
        (n, 7514) float32 with NaN rows where there is no spectrum, `Status` (n,), and why, empty where all is well.
    """
    read = read_spectra(paths, settings)
    reason = [fault and f"{path.name}: {fault}" for path, fault in zip(paths, read.fault, strict=True)]
    return read.flux, read.status, reason


def _reduce_part(part: Path, paths: Sequence[Path], settings: SpectraSettings) -> int:
    normalised, status, reason = reduce_spectra(paths, settings)
    with files.atomic(part) as temporary:
        np.savez(temporary, spectrum=normalised, status=status, reason=np.array(reason, dtype=str))
    return len(paths)


def _part_array(part: Path, name: str) -> np.ndarray:
    with np.load(part) as arrays:
        return arrays[name]


def _parts(folder: Path, key: str, n_stars: int) -> Iterator[tuple[Path, slice]]:
    """Files and rows of the chunks. Names bear the fingerprint: a worker may outlive the run that it belongs to."""
    for start in range(0, n_stars, CHUNK_ROWS):
        yield folder / f"{start:09d}-{key[:16]}.npz", slice(start, min(start + CHUNK_ROWS, n_stars))


def _released_part(part: Path, released: ReleasedSpectra, rows: slice) -> int:
    normalised, status, reason = released.read(rows)
    with files.atomic(part) as temporary:
        np.savez(temporary, spectrum=normalised, status=status, reason=np.array(reason, dtype=str))
    return len(status)


def _apstar_paths(workspace: Workspace, allstar: Table, rows: slice) -> list[Path]:
    """Of some rows at a time: 733,901 paths would take more memory than their table."""
    return [workspace.raw / place for place in spectrum_places(allstar[rows], workspace.release)]


def _apstar_sizes(workspace: Workspace, allstar: Table, progress: bool) -> str:
    """A hash of the sizes of all apStar files, which tells whether one has come, gone or changed."""
    digest = hashlib.sha256()
    with tqdm(total=len(allstar), unit="file", desc="files", leave=False, disable=not progress) as bar:
        for start in range(0, len(allstar), CHUNK_ROWS):
            sizes = [_size(path) for path in _apstar_paths(workspace, allstar, slice(start, start + CHUNK_ROWS))]
            digest.update(np.array(sizes, dtype="<i8").tobytes())
            bar.update(len(sizes))
    return digest.hexdigest()


def _size(path: Path) -> int:
    """Length in bytes; -1 where there is no file, or none that could be looked at."""
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):  # its row will say why
        return -1


def _reduce_parts(
    todo: Sequence[tuple[Path, slice]],
    survey: Survey,
    workspace: Workspace,
    allstar: Table,
    processes: int | None,
    scheduler: str | None,
    progress: bool,
) -> None:
    """Make chunk files, on the cores of this machine or on the workers of a cluster."""
    remaining = sum(rows.stop - rows.start for _, rows in todo)
    if not todo:
        return
    tasks = ((part, _apstar_paths(workspace, allstar, rows), survey.spectra) for part, rows in todo)
    if survey.sources.spectra == "released":  # two files: read in turn
        released = ReleasedSpectra(workspace.released_spectra, allstar["ra_apogee"], allstar["dec_apogee"])
        done = run_in_processes(_released_part, ((part, released, rows) for part, rows in todo), 1)
    elif scheduler is None:
        done = run_in_processes(_reduce_part, tasks, min(processes or usable_cores(), len(todo)))
    else:
        shared = [workspace.raw_manifest, todo[0][0].with_name("fingerprint")]
        done = dask_cluster.run_on_cluster(_reduce_part, tasks, scheduler, shared=shared)
    bar = tqdm(total=len(allstar), initial=len(allstar) - remaining, unit="star", desc="spectra", disable=not progress)
    kept = f"finished chunks are kept in {todo[0][0].parent}: run again"
    try:
        with bar, closing(done):
            for count in done:
                bar.update(count)
    except WorkerDiedError as fault:
        raise ReductionError(
            f"a process that read spectra died (out of memory?); {kept}, perhaps with fewer processes"
        ) from fault
    except dask_cluster.ClusterError as fault:
        raise ReductionError(f"{fault}; {kept}") from fault


# --- the whole survey -------------------------------------------------------------------------------------------------


def reduce_survey(
    survey: Survey,
    workspace: Workspace,
    *,
    processes: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> Path:
    """Make stars.h5 from the raw files, and return its path; at once if it is up to date.

    Chunks of spectra are kept beside it until it is whole, so that a killed run resumes; the
    bytes of stars.h5 do not depend on that, nor on how many processes worked or where. It is current while the
    survey's settings, the raw tables, the manifest, the sizes of the spectra, and the code that computes it are the
    same. Spectra are in memory by the chunk; what stays are the tables, 1.5 kB a star at the peak.

    Parameters
    ----------
    processes
        That read spectra; by default, as many as this process may use cores.
    scheduler
        Address of a Dask scheduler (``tcp://host:8786``) whose workers read the spectra instead. They need the same
        version of this package, and must see the survey's folder at the same path.
    progress
        Show a progress bar.

    Raises
    ------
    ReductionError
        If the raw folder is not complete, a raw table cannot be used, a process died, or the cluster cannot do it. A
        spectrum that cannot be used is no error: its row has a status and a reason.
    """
    tables = workspace.raw_tables
    for path in (workspace.raw_manifest, *tables):
        if not path.is_file():
            remedy = "run `apogaia data` for this survey; data/README.md says what it is"
            raise ReductionError(f"{path} is missing: {remedy}")
    allstar = read_allstar(workspace.allstar, workspace.release)
    settings = survey.settings("sources", "spectra") | {
        "min_a_k_targ": survey.cuts.min_a_k_targ,
        "bytes_of_spectra": [_size(path) for path in workspace.released_spectra]
        if survey.sources.spectra == "released"
        else _apstar_sizes(workspace, allstar, progress),
    }
    key = files.fingerprint(settings, [*tables, workspace.raw_manifest], [reduce_survey])
    folder = workspace.stars.with_name("stars.parts")
    if files.is_current(workspace.stars, key):
        shutil.rmtree(folder, ignore_errors=True)
        return workspace.stars

    files.remove_leftovers(workspace.stars)  # they may be as large as stars.h5
    table = star_table(allstar, survey, workspace)
    files.parts_folder(folder, key)
    parts = list(_parts(folder, key, len(allstar)))
    there = {path.name for path in folder.iterdir()}
    todo = [(part, rows) for part, rows in parts if part.name not in there]
    _reduce_parts(todo, survey, workspace, allstar, processes, scheduler, progress)
    for part, _ in parts:
        if not dask_cluster.wait_for_file(part):
            raise ReductionError(f"{part} was made but is not seen here: is it on a disk that all machines share?")
    table["status"] = np.concatenate([_part_array(part, "status") for part, _ in parts])
    # as objects: few stars have a reason, and an array of texts is as wide as the longest
    table["reason"] = np.concatenate([_part_array(part, "reason").astype(object) for part, _ in parts])
    if survey.sources.spectra == "apstar":
        _say_what_was_not_fetched(table, allstar, workspace)
        table["reason"] = _reasons(table, workspace.release)
    blocks = (_part_array(part, "spectrum") for part, _ in parts)
    files.mark_current(workspace.stars, key, lambda path: stars_h5.write_stars(path, table, blocks))
    shutil.rmtree(folder, ignore_errors=True)  # a worker that outlived an earlier run may still write there
    return workspace.stars


def _say_what_was_not_fetched(table: Table, allstar: Table, workspace: Workspace) -> None:
    """Put the manifest's reasons in the place of "there is no file"."""
    try:
        manifest = files.read_json(workspace.raw_manifest)
    except ValueError as fault:
        raise ReductionError(f"{workspace.raw_manifest} is damaged ({fault}): run `apogaia data` again") from fault
    no_file = np.flatnonzero(np.asarray(table["status"]) == Status.NO_FILE)
    if failed := manifest.get("failed"):
        for i, place in zip(no_file, spectrum_places(allstar[no_file], workspace.release), strict=True):
            if place in failed:
                table["reason"][i] = f"not fetched: {failed[place]}"
    if manifest.get("limit") is not None:
        table["reason"][no_file[no_file >= manifest["limit"]]] = f"not fetched: beyond --limit {manifest['limit']}"


def _reasons(table: Table, release: Release) -> np.ndarray:
    """The reasons, better where allStar itself says why a star has no file."""
    location = np.asarray(table["location_id"])
    known = [(np.asarray(table["apogee_id"]) == "", "APOGEE_ID is empty: the star's apStar file cannot be located")]
    if release.spectra_by != "healpix":
        by_field = release.spectra_by == "field"
        folder, lost = ("FIELD", np.asarray(table["field"]) == "") if by_field else ("LOCATION_ID", location == 0)
        known += [
            (lost, f"{folder} is unknown: the star's apStar file cannot be located"),
            (location == 1, "LOCATION_ID 1 (1-m telescope): no apStar file in the survey's folders"),
        ]
    no_file = np.asarray(table["status"]) == Status.NO_FILE
    return np.select([no_file & where for where, _ in known], [text for _, text in known], table["reason"])
