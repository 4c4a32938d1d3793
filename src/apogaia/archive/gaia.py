"""Gaia's sources around APOGEE's stars, fetched from a TAP service chunk by chunk into the survey's raw folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from apogaia import files
from apogaia.archive.http.remote_files import on_disk
from apogaia.archive.tap_jobs import GaiaArchiveError, Patience, Silence, TapJobs, TooLarge
from apogaia.formats import survey_tables
from apogaia.formats.fits_columns import ReductionError
from apogaia.formats.releases import GAIA_RELEASES, GaiaRelease
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
    """Gaia's table in the raw folder; `note` tells the user what is unusual about it, "" where nothing is."""

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

    The file has the columns, order and types of a simulated survey's, and its bytes depend on what the archive holds
    alone: not on chunks, on the order of rows and columns in the answers, or on anything that went wrong on the way.
    A run that was killed goes on when it is started again: each finished chunk is a file in the folder ``gaia.parts``
    of `workspace.data`, which goes when the table is whole; a part that cannot be read is asked for again. A table that
    was fetched with the same query for the same stars, or for these and others, is kept, and nothing is asked. So is a
    table that somebody else put in its place, if it can be read as one of the release.

    The ESA archive lets anonymous users have 3 million rows of a job and ends jobs that run too long; where it is busy
    it answers 429, 504, or with a page in HTML. Chunks of `archive.gaia_chunk` stars (2000: some 10,000 rows, less than
    a minute of work) stay far below all of that, and little is lost with one. A chunk that is too much all the same,
    because it does not finish, fails, or has a capped answer, is asked for in halves. An answer is capped if it says
    so, and is taken for capped if its length is a multiple of 1000 rows, since some services cap without a word: true
    answers of such lengths are rare, and asking for their halves costs little. A silent cap at another number of rows
    cannot be told from a whole answer.

    Parameters
    ----------
    survey
        `sources` (release, epochs, match radius) and `archive` (service, chunk, radii, attempts, timeout).
    workspace
        Where the table goes.
    ra, dec
        (n,) positions of allStar's rows [deg, J2000]; repeated ones are asked for once, those that are NaN or not on
        the sky are left out.
    progress
        Whether to show a progress bar, in stars.
    patience
        Waiting times, by default those for the real archive.

    Returns
    -------
    GaiaTable
        `workspace.gaia`, and a note where it was not fetched for these stars, or took the place of another's.

    Raises
    ------
    GaiaArchiveError
        If no star has a position, the archive refuses the query or lacks a column, or a chunk still fails after
        `archive.attempts`; finished chunks stay.
    FetchError
        If the disk is full or cannot be written.
    """
    release = GAIA_RELEASES[survey.sources.gaia_release]
    query = gaia_query(survey)
    ra, dec = _places(ra, dec)
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
        left.unlink()  # of a run that was killed while it wrote the table
    sources = _merged(parts, release)
    with on_disk(workspace.gaia):
        with files.atomic(_places_file(workspace.gaia)) as temporary:
            np.save(temporary, np.stack([ra, dec]), allow_pickle=False)
        files.mark_current(workspace.gaia, key, lambda path: survey_tables.write_gaia(path, sources))
    shutil.rmtree(folder)
    return GaiaTable(workspace.gaia, note)


def gaia_query(survey: Survey) -> str:
    """The query, in ADQL 2.0, for the sources around the stars of the uploaded table ``stars`` (ra, dec [deg]).

    Kept are the sources within `archive.gaia_radius`, and out to `archive.gaia_radius_moving` those whose total proper
    motion may have brought them there from within `sources.match_radius` since APOGEE's epoch. The point is that of the
    small table and the circle that of the large one, as in the archive's own examples, so that its index is used.
    """
    sources, archive = survey.sources, survey.archive
    release = GAIA_RELEASES[sources.gaia_release]
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
    """Types of the table's columns: source_id int64, counts int32, all others float64."""
    types = {"source_id": "i8", **dict.fromkeys(COUNTS, "i4")}
    return np.dtype([(name, types.get(name, "f8")) for name in release.columns])


def _degrees(arcsec: float) -> str:
    """Without an exponent, which not every service reads, and rounded up."""
    return f"{np.ceil(arcsec / 3600 * 1e10) / 1e10:.10f}"


def _places(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each position on the sky once, in an order in which a run of them covers a compact area."""
    ra, dec = np.asarray(ra, dtype=float), np.asarray(dec, dtype=float)
    on_sky = np.isfinite(ra) & (np.abs(dec) <= 90)
    places = np.unique(np.stack([ra[on_sky] % 360, dec[on_sky]], axis=-1), axis=0)
    ra, dec = places[:, 0], places[:, 1]
    band = np.floor((dec + 90) / BAND).astype(int)
    order = np.lexsort((dec, np.where(band % 2, -ra, ra), band))
    return ra[order], dec[order]


def _key(query: str, ra: np.ndarray, dec: np.ndarray) -> str:
    return hashlib.sha256(query.encode() + ra.tobytes() + dec.tobytes()).hexdigest()


def _places_file(table: Path) -> Path:
    """Where the positions are noted around which a table was fetched: beside it, like its fingerprint."""
    return table.with_name(f".{table.name}.stars.npy")


def _kept(table: Path, release: GaiaRelease, query: str, ra: np.ndarray, dec: np.ndarray) -> tuple[bool, str]:
    """Whether the table that is there serves for these stars, and what the user should know about that."""
    if not table.is_file() or files.is_current(table, _key(query, ra, dec)):
        return table.is_file(), ""
    if files.is_own(table):
        places = _saved(_places_file(table))
        if places is None or places.dtype != np.float64 or places.ndim != 2 or len(places) != 2:
            return False, ""
        if not files.is_current(table, _key(query, *places)):  # of another query, or the positions are another table's
            return False, ""
        whole = bool(np.isin(ra + 1j * dec, places[0] + 1j * places[1]).all())
        return whole, f"{table} is kept: it was fetched for these and more stars" if whole else ""
    try:
        survey_tables.read_gaia(table, release.name)
    except ReductionError as fault:
        return False, f"{table} was not fetched by apogaia and cannot be used: it is fetched anew ({fault})"
    return True, f"{table} was not fetched by apogaia: it is taken as it is, whatever stars it covers"


def _saved(path: Path) -> np.ndarray | None:
    """An array as `np.save` wrote it, mapped; None if it is not there, cut, or not such a file."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, EOFError, ValueError):  # EOFError: empty; ValueError: cut, or anything else
        return None


def _is_part(path: Path, release: GaiaRelease) -> bool:
    rows = _saved(path)
    return isinstance(rows, np.ndarray) and rows.dtype == source_types(release) and rows.ndim == 1


def _fetch(jobs: TapJobs, query: str, release: GaiaRelease, ra, dec, bar: tqdm) -> Iterator[np.ndarray]:
    """The sources around the stars, in halves where they are too much for one job."""
    try:
        yield jobs.run(query, {UPLOAD: {"ra": ra, "dec": dec}}, lambda table: _rows(table, release), len(ra) > 1)
        bar.update(len(ra))
        return
    except Silence as fault:
        raise GaiaArchiveError(
            f"{jobs.url} did not give Gaia's sources in {jobs.attempts} attempts: {fault}. Finished chunks are kept: "
            "run it again later, or see whether archive.gaia_tap is right"
        ) from fault
    except TooLarge as fault:
        if len(ra) == 1:
            raise GaiaArchiveError(
                f"{jobs.url} fails for the single star at ra {ra[0]:.6f}, dec {dec[0]:.6f} deg: {fault}. Finished "
                "chunks are kept: run it again later; if the answer is capped, take smaller radii (archive.gaia_radius)"
            ) from fault
    half = len(ra) // 2
    yield from _fetch(jobs, query, release, ra[:half], dec[:half], bar)
    yield from _fetch(jobs, query, release, ra[half:], dec[half:], bar)


def _rows(table, release: GaiaRelease) -> np.ndarray:
    """An answer's table under our types: NaN where the archive has none, 0 in counts.

    Raises
    ------
    GaiaArchiveError
        If a column is missing, holds no numbers, or there is a source without id.
    TooLarge
        If the answer is as long as a capped one may be.
    """
    if len(table) and len(table) % ROUND_CAP == 0:
        raise TooLarge(f"an answer of exactly {len(table)} rows may have been capped", again=False)
    types = source_types(release)
    present = {name.lower(): name for name in table.colnames}
    rows = np.empty(len(table), dtype=types)
    for name in types.names:
        if name not in present:
            raise GaiaArchiveError(
                f"the answer has no column {name}; it has {', '.join(table.colnames)}. Is {release.table} at "
                "archive.gaia_tap the whole table of the release?"
            )
        values = np.ma.asarray(table[present[name]])
        if values.dtype.kind not in ("iu" if name == "source_id" else "iuf"):
            raise GaiaArchiveError(f"column {name} of {release.table} holds {values.dtype}, no numbers of its kind")
        if types[name].kind == "f":
            rows[name] = values.astype(types[name]).filled(np.nan)
        else:
            rows[name] = np.ma.masked_invalid(values).filled(0) if values.dtype.kind == "f" else values.filled(0)
    if np.any(rows["source_id"] == 0):
        raise GaiaArchiveError(f"{release.table} at archive.gaia_tap has a source without source_id")
    return rows


def _merged(parts: list[Path], release: GaiaRelease) -> dict[str, np.ndarray]:
    """The columns of all parts, each source once, by source_id; one column at a time, since tables may be large."""

    def column(name: str) -> np.ndarray:
        return np.concatenate([np.array(np.load(part, mmap_mode="r", allow_pickle=False)[name]) for part in parts])

    ids, first = np.unique(column("source_id"), return_index=True)
    return {name: ids if name == "source_id" else column(name)[first] for name in release.columns}
