"""Raw files -> stars.h5: one row per allStar row, with its Gaia source, its labels and its normalised spectrum."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from astropy.table import Table
from tqdm.auto import tqdm

from apogaia import apstar, crossmatch, files, fits_columns, luminosity, pixels, raw_tables, spectra, stars
from apogaia.crossmatch import cross_match
from apogaia.raw_tables import GAIA_COLUMNS, ReductionError, read_allstar, read_gaia, read_stellar_parameters
from apogaia.spectra import N_PIXELS_APSTAR, SpectrumError, Status
from apogaia.stars import COLUMNS, Stars, open_stars, status_counts
from apogaia.survey import Spectra, Survey
from apogaia.workspace import Workspace

__all__ = [
    "ReductionError",
    "Stars",
    "cross_match",
    "open_stars",
    "read_allstar",
    "read_gaia",
    "read_stellar_parameters",
    "reduce_spectra",
    "reduce_survey",
    "status_counts",
]

CHUNK_ROWS = 1000  # stars per chunk: what a killed run loses at most, per process
_COLUMN = {column.name: column for column in COLUMNS}


# --- the star table ---------------------------------------------------------------------------------------------------


def star_table(allstar: Table, survey: Survey, workspace: Workspace) -> Table:
    """Every column of stars.h5 that does not come from spectra, row by row as `allstar` of `read_allstar`."""
    table = allstar.copy()
    gaia = read_gaia(workspace.gaia)
    index, separation, count = cross_match(table["ra_apogee"], table["dec_apogee"], gaia, survey.sources)
    for name in GAIA_COLUMNS:
        column = _COLUMN[name]
        values = np.full(len(table), column.unknown, dtype=column.kind)
        values[index >= 0] = gaia[name][index[index >= 0]]
        table[name] = values
    table["match_distance"] = separation
    table["n_gaia_matches"] = count.astype(_COLUMN["n_gaia_matches"].kind)

    labels = read_stellar_parameters(workspace.stellar_parameters, np.asarray(table["apogee_id"]))
    for name in labels.colnames:
        table[name] = labels[name]

    table["a_k_mag"][table["a_k_mag"] < survey.cuts.min_a_k_targ] = np.nan
    k0_mag = luminosity.extinction_correction(np.asarray(table["k_mag"]), np.asarray(table["a_k_mag"]))
    fakemag, fakemag_error = luminosity.mag_to_fakemag(
        k0_mag, np.asarray(table["parallax"]), np.asarray(table["parallax_error"])
    )
    table["k0_mag"], table["fakemag"], table["fakemag_error"] = k0_mag, fakemag, fakemag_error
    table["log_luminosity"] = luminosity.fakemag_to_logsol(fakemag)
    return table


# --- spectra ----------------------------------------------------------------------------------------------------------


def reduce_spectra(paths: Sequence[Path], settings: Spectra) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Read and normalise apStar files.

    Returns
    -------
    flux, status, reason
        (n, 7514) float32 with NaN rows where there is no spectrum, `Status` (n,), and why, empty where all is well.
    """
    n = len(paths)
    flux, error = np.zeros((2, n, N_PIXELS_APSTAR), dtype=np.float32)
    mask = np.zeros((n, N_PIXELS_APSTAR), dtype=np.int32)
    status, reason = np.zeros(n, dtype=np.int8), [""] * n
    for i, path in enumerate(paths):
        try:
            star = spectra.read_apstar(path, masked_bits=settings.masked_bits)
        except SpectrumError as fault:
            status[i], reason[i] = fault.status, f"{path.name}: {fault.detail}"
        else:
            flux[i], error[i], mask[i] = star.flux, star.error, star.mask
    # Rows without a spectrum stay in, as zeros: in a batch of another size the last bits of the others would change.
    normalised, _ = spectra.apogee_continuum(flux, error, mask, spectra=settings)
    normalised[status != Status.OK] = np.nan
    for i in np.flatnonzero((status == Status.OK) & np.isnan(normalised[:, 0])):
        status[i], reason[i] = Status.NO_CONTINUUM, f"{paths[i].name}: {Status.NO_CONTINUUM.reason}"
    return normalised, status, reason


def _reduce_part(part: Path, paths: Sequence[Path], settings: Spectra) -> int:
    normalised, status, reason = reduce_spectra(paths, settings)
    with files.atomic(part) as temporary:
        np.savez(temporary, spectrum=normalised, status=status, reason=np.array(reason, dtype=str))
    return len(paths)


def _part_array(part: Path, name: str) -> np.ndarray:
    with np.load(part) as arrays:
        return arrays[name]


def _part_rows(n_stars: int) -> Iterator[tuple[str, slice]]:
    for start in range(0, n_stars, CHUNK_ROWS):
        yield f"{start:09d}.npz", slice(start, min(start + CHUNK_ROWS, n_stars))


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reduce_parts(
    folder: Path, paths: Sequence[Path], settings: Spectra, processes: int | None, progress: bool
) -> None:
    """Make the chunk files that are not there yet."""
    todo = [(folder / name, paths[rows]) for name, rows in _part_rows(len(paths)) if not (folder / name).is_file()]
    remaining = sum(len(chunk) for _, chunk in todo)
    processes = min(processes or _usable_cores(), len(todo))
    with tqdm(
        total=len(paths), initial=len(paths) - remaining, unit="star", desc="spectra", disable=not progress
    ) as bar:
        if processes <= 1:
            for part, chunk in todo:
                bar.update(_reduce_part(part, chunk, settings))
            return
        # fresh interpreters: a fork would copy the threads' locks of whatever else the caller has loaded
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            try:
                for done in as_completed([pool.submit(_reduce_part, *work, settings) for work in todo]):
                    bar.update(done.result())
            except BrokenProcessPool as fault:
                raise ReductionError(
                    f"a process that read spectra died (out of memory?); finished chunks are kept in {folder}: "
                    "run again, perhaps with fewer processes"
                ) from fault
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


# --- the whole survey -------------------------------------------------------------------------------------------------


def reduce_survey(survey: Survey, workspace: Workspace, *, processes: int | None = None, progress: bool = True) -> Path:
    """Make stars.h5 from the raw files, and return its path; at once if it is current.

    Chunks of spectra are kept beside it until it is whole, so that a run that was killed goes on where it stopped; the
    bytes of stars.h5 do not depend on that, nor on the number of processes. It is current while the survey's settings,
    the raw tables, the manifest, the sizes of the spectra, and the modules that compute it are the same.

    Parameters
    ----------
    processes
        That read spectra; by default, as many as this process may use cores.
    progress
        Show a progress bar.

    Raises
    ------
    ReductionError
        If the raw folder is not complete, or a raw table cannot be used. A spectrum that cannot be used is no error:
        its row has a status and a reason.
    """
    tables = [workspace.allstar, workspace.gaia, workspace.stellar_parameters]
    for path in (workspace.raw_manifest, *tables):
        if not path.is_file():
            simulated = survey.sources.kind == "simulated"
            remedy = f"run `apogaia mock {survey.name}`" if simulated else "data/README.md says where it comes from"
            raise ReductionError(f"{path} is missing: {remedy}")
    allstar = read_allstar(workspace.allstar)
    paths = [
        workspace.apstar(str(apogee_id), int(location_id), str(telescope))
        for apogee_id, location_id, telescope in allstar.iterrows("apogee_id", "location_id", "telescope")
    ]
    settings = survey.settings("sources", "spectra") | {
        "min_a_k_targ": survey.cuts.min_a_k_targ,
        "apstar_bytes": [_size(path) for path in paths],
    }
    modules = [apstar, fits_columns, pixels, raw_tables, spectra, crossmatch, luminosity, stars, sys.modules[__name__]]
    key = files.fingerprint(settings, [*tables, workspace.raw_manifest], modules)
    folder = workspace.stars.with_name("stars.parts")
    if files.is_current(workspace.stars, key):
        shutil.rmtree(folder, ignore_errors=True)
        return workspace.stars

    for leftover in workspace.data.glob(f".{workspace.stars.stem}.*{workspace.stars.suffix}"):
        leftover.unlink()  # of a run killed while it wrote; it may be as large as stars.h5
    table = star_table(allstar, survey, workspace)
    _start_parts(folder, key)
    _reduce_parts(folder, paths, survey.spectra, processes, progress)
    names = [name for name, _ in _part_rows(len(paths))]
    table["status"] = np.concatenate([_part_array(folder / name, "status") for name in names])
    table["reason"] = np.concatenate([_part_array(folder / name, "reason") for name in names])
    table["reason"] = _reasons(table, workspace.release.folder_is_field)
    blocks = (_part_array(folder / name, "spectrum") for name in names)
    files.mark_current(workspace.stars, key, lambda path: stars.write_stars(path, table, blocks))
    shutil.rmtree(folder)
    return workspace.stars


def _reasons(table: Table, folder_is_field: bool) -> np.ndarray:
    """The reasons, better where allStar itself says why a star has no file."""
    location = np.asarray(table["location_id"])
    folder = "FIELD" if folder_is_field else "LOCATION_ID"
    lost = np.asarray(table["field"]) == "" if folder_is_field else location == 0
    known = [
        (np.asarray(table["apogee_id"]) == "", "APOGEE_ID is empty: nobody knows which apStar file is the star's"),
        (lost, f"{folder} is unknown: nobody knows where the star's apStar file is"),
        (location == 1, "LOCATION_ID 1: released without an apStar file"),
    ]
    no_file = np.asarray(table["status"]) == Status.NO_FILE
    return np.select([no_file & where for where, _ in known], [text for _, text in known], table["reason"])


def _size(path: Path) -> int | None:
    """Length in bytes; None where there is no file, or none that could be looked at."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # its row will say why
        return None


def _start_parts(folder: Path, key: str) -> None:
    """An empty folder for chunks, or the one that a killed run with the same fingerprint left."""
    note = folder / "fingerprint"
    if folder.is_dir() and not (note.is_file() and note.read_text().strip() == key):
        shutil.rmtree(folder)
    if not folder.is_dir():
        with files.atomic(note) as temporary:
            temporary.write_text(key + "\n")
