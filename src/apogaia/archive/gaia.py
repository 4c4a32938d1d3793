"""Gaia's sources around APOGEE's stars, fetched from a TAP service chunk by chunk into the survey's raw folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from tqdm.auto import tqdm

from apogaia import files
from apogaia.archive.http.remote_files import on_disk
from apogaia.archive.tap_jobs import GaiaArchiveError, NoAnswer, Patience, TapJobs, TooLarge
from apogaia.formats import survey_tables
from apogaia.formats.fits_columns import ReductionError
from apogaia.formats.releases import GaiaRelease
from apogaia.survey import Survey
from apogaia.workspace import Workspace

__all__ = ["GaiaArchiveError", "GaiaTable", "Patience", "fetch_gaia", "gaia_query", "source_types"]

UPLOAD = "stars"  # the uploaded table in queries
BAND = 2.0  # [deg] of declination in which neighbouring stars follow each other
COUNTS = (
    *("visibility_periods_used", "astrometric_n_good_obs_al"),
    *("ipd_frac_multi_peak", "astrometric_params_solved"),
)
ROUND_CAP = 1000  # rows: services cap answers at round numbers


class GaiaTable(NamedTuple):
    """Gaia's table in the raw folder; `note` tells the user what is unusual about it, "" if nothing is."""

    path: Path
    note: str = ""


def fetch_gaia(
    survey: Survey,
    workspace: Workspace,
    ra: np.ndarray,
    dec: np.ndarray,
    *,
    progress: bool = True,
    patience: Patience | None = None,
) -> GaiaTable:
    """Fetch Gaia's sources around stars into `workspace.gaia`, sorted by source_id, each source once.

    The file has the columns, order and types of a simulated survey's, and its bytes depend only on the content of the
    archive: not on chunks, on the order of rows and columns in the answers, or on errors along the way. A run that was
    killed resumes when it is started again: each finished chunk is a file in the folder ``gaia.parts`` of
    `workspace.data`, which is removed when the table is complete; a part that cannot be read is requested again. A
    table that was fetched with the same query for the same stars, or for these and others, is kept without a request.
    So is a table that the user put there, if it can be read as one of the release.

    The ESA archive returns at most 3 million rows per job to anonymous users and ends jobs that run too long; when
    it is busy it answers 429, 504, or with an HTML page. Chunks of `archive.gaia_chunk` stars (2000: some 10,000 rows,
    less than a minute of work) stay far below these limits, and little is lost with one. A chunk that is nevertheless
    too large, because it does not finish, fails, or has a capped answer, is requested in halves. An answer is capped if
    it says so, and is assumed to be capped if its length is a multiple of 1000 rows, since some services cap silently:
    complete answers of such lengths are rare, and requesting their halves costs little. A silent cap at another number
    of rows cannot be distinguished from a complete answer.

    Parameters
    ----------
    survey
        `sources` (release, epochs, match radius) and `archive` (service, chunk, radii, attempts, timeout).
    workspace
        Whose raw folder gets the table.
    ra, dec
        (n,) positions of allStar's rows [deg, J2000]; repeated ones are requested once, those that are NaN or not on
        the sky are left out.
    progress
        Whether to show a progress bar, in stars.
    patience
        Waiting times, by default those for the real archive.

    Returns
    -------
    GaiaTable
        `workspace.gaia`, and a note if it was not fetched for these stars, or replaced a table of another origin.

    Raises
    ------
    GaiaArchiveError
        If no star has a position, the archive refuses the query or lacks a column, or a chunk still fails after
        `archive.attempts`; finished chunks are kept.
    FetchError
        If the disk is full or cannot be written.
    """
    release = GaiaRelease(survey.sources.gaia_release)
    query = gaia_query(survey)
    ra, dec = _positions(ra, dec)
    if not len(ra):
        raise GaiaArchiveError("no star has a position: is this allStar's RA and DEC?")
    key = _key(query, ra, dec)
    kept, note = _kept(workspace.gaia, release, query, ra, dec)
    if kept:
        return GaiaTable(workspace.gaia, note)
    folder = workspace.data / "gaia.parts"
    chunks = [slice(k, k + survey.archive.gaia_chunk) for k in range(0, len(ra), survey.archive.gaia_chunk)]
    parts = [folder / f"{_key(query, ra[chunk], dec[chunk])[:32]}.npy" for chunk in chunks]
    lacking = [(part, chunk) for part, chunk in zip(parts, chunks, strict=True) if not _is_part(part, release)]
    done = len(ra) - sum(len(ra[chunk]) for _, chunk in lacking)
    with (
        TapJobs(survey.archive.gaia_tap, survey.archive.timeout, survey.archive.attempts, patience) as jobs,
        tqdm(total=len(ra), initial=done, desc="Gaia", unit="star", disable=not progress) as bar,
    ):
        for part, chunk in lacking:
            rows = np.concatenate(list(_fetch(jobs, query, release, ra[chunk], dec[chunk], bar)))
            with on_disk(part), files.atomic(part) as temporary:
                np.save(temporary, rows, allow_pickle=False)
    for left in workspace.gaia.parent.glob(f".*{workspace.gaia.stem}.*-????????.*"):
        left.unlink()  # from a run that was killed while it wrote the table
    sources = _merged(parts, release)
    with on_disk(workspace.gaia):
        with files.atomic(_positions_file(workspace.gaia)) as temporary:
            np.save(temporary, np.stack([ra, dec]), allow_pickle=False)
        files.mark_current(workspace.gaia, key, lambda path: survey_tables.write_gaia(path, sources))
    shutil.rmtree(folder)
    return GaiaTable(workspace.gaia, note)


def gaia_query(survey: Survey) -> str:
    """Return the query, in ADQL 2.0, for the sources around the stars of the uploaded table ``stars`` (ra, dec [deg]).

    It selects sources within `archive.gaia_radius`, and out to `archive.gaia_radius_moving` those whose total proper
    motion may have carried them there from within `sources.match_radius` since APOGEE's epoch. The point is from the
    small table and the circle from the large one, as in the archive's own examples, so that its index is used.
    """
    sources, archive = survey.sources, survey.archive
    release = GaiaRelease(sources.gaia_release)
    near = max(archive.gaia_radius, sources.match_radius)
    far = max(archive.gaia_radius_moving, near)
    years = abs(sources.gaia_epoch - sources.apogee_epoch)
    star, source = "POINT('ICRS', s.ra, s.dec)", "POINT('ICRS', g.ra, g.dec)"
    columns = ", ".join(f"g.{name}" for name in release.columns)
    return (
        f"SELECT DISTINCT {columns} "
        f"FROM tap_upload.{UPLOAD} AS s JOIN {release.table} AS g "
        f"ON 1 = CONTAINS({star}, CIRCLE('ICRS', g.ra, g.dec, {_degrees(far)})) "
        f"WHERE DISTANCE({star}, {source}) <= {_degrees(near)} "
        f"OR DISTANCE({star}, {source}) <= {_degrees(sources.match_radius)}"
        f" + {years:.6f} * SQRT(g.pmra * g.pmra + g.pmdec * g.pmdec) / 3600000.0"
    )


def source_types(release: GaiaRelease) -> np.dtype:
    """Return the types of the table's columns: source_id int64, counts int32, all others float64."""
    types = {"source_id": "i8", **dict.fromkeys(COUNTS, "i4")}
    return np.dtype([(name, types.get(name, "f8")) for name in release.columns])


def _degrees(arcsec: float) -> str:
    """Return degrees without an exponent, which not every service reads, and rounded up."""
    return f"{np.ceil(arcsec / 3600 * 1e10) / 1e10:.10f}"


def _positions(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each position on the sky once, ordered so that consecutive ones cover a compact area."""
    ra, dec = np.asarray(ra, dtype=float), np.asarray(dec, dtype=float)
    on_sky = np.isfinite(ra) & (np.abs(dec) <= 90)
    positions = np.unique(np.stack([ra[on_sky] % 360, dec[on_sky]], axis=-1), axis=0)
    ra, dec = positions[:, 0], positions[:, 1]
    band = np.floor((dec + 90) / BAND).astype(int)
    order = np.lexsort((dec, np.where(band % 2, -ra, ra), band))
    return ra[order], dec[order]


def _key(query: str, ra: np.ndarray, dec: np.ndarray) -> str:
    return hashlib.sha256(query.encode() + ra.tobytes() + dec.tobytes()).hexdigest()


def _positions_file(table: Path) -> Path:
    """Return the file with the positions around which a table was fetched: beside it, like its fingerprint."""
    return table.with_name(f".{table.name}.stars.npy")


def _kept(table: Path, release: GaiaRelease, query: str, ra: np.ndarray, dec: np.ndarray) -> tuple[bool, str]:
    """Return whether the existing table serves for these stars, and what the user should know about that."""
    if not table.is_file() or files.is_current(table, _key(query, ra, dec)):
        return table.is_file(), ""
    if files.is_own(table):
        positions = _saved(_positions_file(table))
        if positions is None or positions.dtype != np.float64 or positions.ndim != 2 or len(positions) != 2:
            return False, ""
        if not files.is_current(
            table, _key(query, *positions)
        ):  # of another query, or the positions are another table's
            return False, ""
        # pairs as complex numbers: one exact comparison of arrays for hundreds of thousands of stars
        covered = bool(np.isin(ra + 1j * dec, positions[0] + 1j * positions[1]).all())
        return covered, f"{table} is kept: it was fetched for these and more stars" if covered else ""
    try:
        survey_tables.read_gaia(table, release.name)
    except ReductionError as fault:
        return False, f"{table} was not fetched by apogaia and cannot be used: it is fetched again ({fault})"
    return True, f"{table} was not fetched by apogaia: it is used as it is, whichever stars it covers"


def _saved(path: Path) -> np.ndarray | None:
    """Return an array as `np.save` wrote it, mapped; None if the file is missing, cut, or of another kind."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, EOFError, ValueError):  # EOFError: empty; ValueError: cut, or anything else
        return None


def _is_part(path: Path, release: GaiaRelease) -> bool:
    rows = _saved(path)
    return isinstance(rows, np.ndarray) and rows.dtype == source_types(release) and rows.ndim == 1


def _fetch(jobs: TapJobs, query: str, release: GaiaRelease, ra, dec, bar: tqdm) -> Iterator[np.ndarray]:
    """Yield the sources around the stars, in halves where they are too many for one job."""
    try:
        yield jobs.run(query, {UPLOAD: {"ra": ra, "dec": dec}}, lambda table: _rows(table, release), len(ra) > 1)
        bar.update(len(ra))
        return
    except NoAnswer as fault:
        raise GaiaArchiveError(
            f"{jobs.url} did not return Gaia's sources in {jobs.attempts} attempts: {fault}. Finished chunks are kept: "
            "run again later, or check archive.gaia_tap"
        ) from fault
    except TooLarge as fault:
        if len(ra) == 1:
            raise GaiaArchiveError(
                f"{jobs.url} fails for the single star at ra {ra[0]:.6f}, dec {dec[0]:.6f} deg: {fault}. Finished "
                "chunks are kept: run again later; if the answer is capped, use smaller radii (archive.gaia_radius)"
            ) from fault
    half = len(ra) // 2
    yield from _fetch(jobs, query, release, ra[:half], dec[:half], bar)
    yield from _fetch(jobs, query, release, ra[half:], dec[half:], bar)


def _rows(table: Table, release: GaiaRelease) -> np.ndarray:
    """Convert an answer's table to our types: NaN where the archive has no value, 0 in counts.

    Raises
    ------
    GaiaArchiveError
        If a column is missing or not numeric, or there is a source without id.
    TooLarge
        If the answer has a length at which services cap.
    """
    if len(table) and len(table) % ROUND_CAP == 0:
        raise TooLarge(f"an answer of exactly {len(table)} rows may have been capped", again=False)
    types = source_types(release)
    present = {name.lower(): name for name in table.colnames}
    rows = np.empty(len(table), dtype=types)
    for name in release.columns:
        if name not in present:
            raise GaiaArchiveError(
                f"the answer has no column {name}; it has {', '.join(table.colnames)}. Is {release.table} at "
                "archive.gaia_tap the whole table of the release?"
            )
        values: np.ma.MaskedArray = np.ma.asarray(table[present[name]])
        if values.dtype.kind not in ("iu" if name == "source_id" else "iuf"):
            raise GaiaArchiveError(f"column {name} of {release.table} holds {values.dtype}, not numbers of its kind")
        if types[name].kind == "f":
            rows[name] = np.ma.filled(values.astype(types[name]), np.nan)
        else:
            rows[name] = np.ma.masked_invalid(values).filled(0) if values.dtype.kind == "f" else values.filled(0)
    if np.any(rows["source_id"] == 0):
        raise GaiaArchiveError(f"{release.table} at archive.gaia_tap has a source without source_id")
    return rows


def _merged(parts: list[Path], release: GaiaRelease) -> dict[str, np.ndarray]:
    """Return the columns of all parts, each source once, by source_id; one column at a time to save memory."""

    def column(name: str) -> np.ndarray:
        return np.concatenate([np.array(np.load(part, mmap_mode="r", allow_pickle=False)[name]) for part in parts])

    ids, first = np.unique(column("source_id"), return_index=True)
    return {name: ids if name == "source_id" else column(name)[first] for name in release.columns}
