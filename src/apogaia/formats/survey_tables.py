"""The raw tables: allStar, Gaia's sources, stellar parameters; read under our names and types, and written.

The readers return unknown values as NaN (0 in whole numbers, empty in texts), however the file marks them.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from apogaia import files
from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.fits_columns import ReductionError, ascii_column, find_column, raw_values
from apogaia.formats.fits_columns import native as _native
from apogaia.formats.fits_columns import open_table as _open_table
from apogaia.formats.releases import EDR3_IMAGE_QUALITY, EDR3_SOLUTION, RELEASES, GaiaRelease, Release
from apogaia.formats.stars_h5_columns import COLUMNS, LABELS, StarColumn

__all__ = [
    "GAIA_UNITS",
    "SPECTRUM_PLACE",
    "ReductionError",
    "read_allstar",
    "read_gaia",
    "read_stellar_parameters",
    "spectrum_places",
    "table_blocks",
    "write_fits",
    "write_gaia",
    "write_table",
]

# Columns of stars.h5 that say where a spectrum is, in the order of `Release.spectrum`
SPECTRUM_PLACE = ("apogee_id", "telescope", "location_id", "field", "spectrum_file", "healpix", "reduction")

BLOCK_ROWS = 20_000  # of a table's file in memory at a time: 100 MB of allStar
MISSING_MAG_ABOVE = 90.0  # 99.999 stands for an unknown magnitude in 2MASS's

# Whole numbers whose unknown is not 0: a star without APOGEE's flags counts as flagged
UNKNOWN_INTEGER = {"starflag": -1}

GAIA_UNITS = {
    "ra": "deg",
    "dec": "deg",
    "ra_error": "mas",
    "dec_error": "mas",
    "pmra": "mas / yr",
    "pmdec": "mas / yr",
    "pmra_error": "mas / yr",
    "pmdec_error": "mas / yr",
    "parallax": "mas",
    "parallax_error": "mas",
    "phot_g_mean_mag": "mag",
    "bp_rp": "mag",
    "nu_eff_used_in_astrometry": "um-1",
    "pseudocolour": "um-1",
    "ecl_lat": "deg",
}


# Column of stars.h5 -> its possible names in allStar, the first present one counts; in joined tables K may not be Ks
ALLSTAR_COLUMNS = {
    "apogee_id": ("APOGEE_ID",),
    "telescope": ("TELESCOPE",),
    "location_id": ("LOCATION_ID",),
    "field": ("FIELD",),
    "spectrum_file": ("FILE",),
    "ra_apogee": ("RA",),
    "dec_apogee": ("DEC",),
    "glon": ("GLON",),
    "glat": ("GLAT",),
    "snr": ("SNR",),
    "n_visits": ("NVISITS",),
    "v_helio": ("VHELIO_AVG",),
    "v_scatter": ("VSCATTER",),
    "starflag": ("STARFLAG",),
    "j_mag": ("J",),
    "h_mag": ("H",),
    "k_mag": ("KS", "K"),
    "k_mag_error": ("KS_ERR", "K_ERR"),
    "a_k_mag": ("AK_TARG",),
    "aspcap_teff": ("TEFF",),
    "aspcap_logg": ("LOGG",),
}
ALLSTAR_REQUIRED = (
    *("apogee_id", "location_id", "ra_apogee", "dec_apogee"),
    *("snr", "v_scatter", "starflag", "k_mag", "a_k_mag"),
)
# Needed columns that may be NaN in every row of a table of one's own: data/README.md says what is then left out
MAY_BE_NAN = ("a_k_mag", "pmra", "pmdec", *EDR3_IMAGE_QUALITY, *EDR3_SOLUTION)

GAIA_COLUMNS = {
    "gaia_source_id": "source_id",
    "g_mag": "phot_g_mean_mag",
    **{name: name for name in ("ra", "dec", "pmra", "pmdec", "pmra_error", "pmdec_error")},
    **{name: name for name in ("parallax", "parallax_error", "bp_rp", "visibility_periods_used")},
    **{name: name for name in ("astrometric_chi2_al", "astrometric_n_good_obs_al")},
    **{name: name for name in (*EDR3_IMAGE_QUALITY, *EDR3_SOLUTION)},
}
# What neither luminosity nor constant zero point needs: photometry is for the multivariate one, errors for orbits
GAIA_OPTIONAL = (
    *("g_mag", "bp_rp", "pmra_error", "pmdec_error"),
    *("astrometric_chi2_al", "astrometric_n_good_obs_al"),
)

# Column of stars.h5 -> column of Astra's mwmAllStar, a row for each spectrum
MWM_COLUMNS = {
    "apogee_id": ("obj",),
    "telescope": ("telescope",),
    "field": ("field",),
    "reduction": ("apred",),
    "healpix": ("healpix",),
    "sdss_id": ("sdss_id",),
    "spectrum_pk": ("spectrum_pk",),
    "ra_apogee": ("ra",),
    "dec_apogee": ("dec",),
    "glon": ("l",),
    "glat": ("b",),
    "snr": ("snr",),
    "n_visits": ("n_visits",),
    "v_helio": ("v_rad",),
    "v_scatter": ("std_v_rad",),
    "starflag": ("spectrum_flags",),
    "j_mag": ("j_mag",),
    "h_mag": ("h_mag",),
    "k_mag": ("k_mag",),
    "k_mag_error": ("e_k_mag",),
    "a_k_mag": ("ebv",),
    "gaia_source_id": ("gaia_dr3_source_id",),
    "g_mag": ("g_mag",),
    "bp_rp": ("bp_mag",),  # until RP is subtracted
    "rp_mag": ("rp_mag",),
    "parallax": ("plx",),
    "parallax_error": ("e_plx",),
    "pmra": ("pmra",),
    "pmra_error": ("e_pmra",),
    "pmdec": ("pmde",),
    "pmdec_error": ("e_pmde",),
}
MWM_REQUIRED = (
    *("apogee_id", "telescope", "reduction", "healpix", "spectrum_pk", "ra_apogee", "dec_apogee", "snr", "v_scatter"),
    *("starflag", "k_mag", "a_k_mag", "gaia_source_id", "g_mag", "parallax", "parallax_error"),
)
A_K_PER_EBV = 0.3517  # as Astra's distances (0.918 / 2.61)

_COLUMN = {column.name: column for column in COLUMNS}
_RP_MAG = StarColumn("rp_mag", "f8", "mag", "Gaia RP, until BP-RP is made of it")
# Spellings of catalogues beside ours, C I and Ti II apart from C and Ti
LABEL_SPELLINGS = {"ci_h": ("C1_H", "C_1_H"), "tiii_h": ("TI2_H", "TI_2_H")}


# --- reading ----------------------------------------------------------------------------------------------------------


@takes(path=file_path)
def read_allstar(path: str | Path, release: Release = RELEASES["dr14"]) -> Table:
    """Columns of stars.h5 from a release's table of stars, row by row; NaN where it has a placeholder.

    A negative signal-to-noise ratio, and a position outside the sphere's coordinates, are unknown, too. SDSS-V's table
    (mwmAllStar) has a row for each spectrum, so that a star may have several, and Gaia's columns in the row. Its
    extinction is A_Ks = 0.3517 E(B-V) as in SDSS's Astra, unknown where E(B-V) is not positive, and the scatter of a
    single visit is 0.

    Parameters
    ----------
    path
        allStar of the release; mwmAllStar of SDSS-V, whose table for APOGEE is in HDU 2.
    release
        Whose names of columns and HDU are expected.

    Returns
    -------
    Table
        (n,) rows; names, types and units of `apogaia.formats.stars_h5_columns`, of which it has APOGEE's columns and
        for SDSS-V Gaia's.

    Raises
    ------
    ReductionError
        If the file cannot be read, has no rows, lacks columns without which there is no distance (all are named), or
        has one of another kind.
    """
    if release.gaia_in_allstar:
        table = _read_columns(path, MWM_COLUMNS, required=MWM_REQUIRED, hdu=release.allstar.hdu)
    else:
        table = _read_columns(path, ALLSTAR_COLUMNS, required=ALLSTAR_REQUIRED)
    for name in ("j_mag", "h_mag", "k_mag", "k_mag_error", "a_k_mag", "g_mag", "bp_rp", "rp_mag"):
        if name in table.colnames:
            table[name][table[name] > MISSING_MAG_ABOVE] = np.nan
    table["snr"][table["snr"] < 0] = np.nan
    _forget_impossible_positions(table, "ra_apogee", "dec_apogee")
    table["telescope"][table["telescope"] == ""] = "apo25m"  # APOGEE's only telescope before it was a column
    if release.gaia_in_allstar:
        _complete_mwm(table)
    for name in (*ALLSTAR_COLUMNS, "reduction", "healpix", "sdss_id", "spectrum_pk"):
        if name not in table.colnames:
            table[name] = np.full(len(table), _COLUMN[name].unknown, _numpy_kind(_COLUMN[name]))
    return table


def _complete_mwm(table: Table) -> None:
    """Turn columns of mwmAllStar into ours where they differ by more than the name."""
    ebv = np.asarray(table["a_k_mag"])
    with np.errstate(invalid="ignore"):
        table["a_k_mag"] = np.where(ebv > 0, A_K_PER_EBV * ebv, np.nan).astype(ebv.dtype)
    table["bp_rp"] = table["bp_rp"] - table["rp_mag"]
    del table["rp_mag"]
    table["v_scatter"][(table["n_visits"] == 1) & np.isnan(table["v_scatter"])] = 0.0
    for name in ("sdss_id", "spectrum_pk", "gaia_source_id", "healpix"):
        table[name][table[name] < 0] = 0
    for name in GAIA_COLUMNS:
        if name not in table.colnames:
            table[name] = np.full(len(table), _COLUMN[name].unknown, _numpy_kind(_COLUMN[name]))
    matched = np.asarray(table["gaia_source_id"]) != 0
    for ours, theirs in (("ra", "ra_apogee"), ("dec", "dec_apogee")):
        table[ours] = np.where(matched, table[theirs], np.nan)
    _forget_impossible_errors(table)


@takes(path=file_path)
def read_gaia(path: str | Path, release: str = "dr2") -> Table:
    """Gaia's columns of stars.h5, one row per source, each source once; NaN where Gaia has none.

    Photometry and errors of proper motions may be absent, and are unknown then. An error that is not positive, and a
    position outside the sphere's coordinates, are unknown, too.

    Parameters
    ----------
    release
        Of Gaia, "dr2" or a later one, whose columns must be there.

    Raises
    ------
    ReductionError
        If the file cannot be read, has no rows, lacks needed columns of the release (all are named) or has one of
        another kind, holds source numbers that lost digits, or describes one source in two ways.
    ValueError
        If there is no such release.
    """
    needed = set(GaiaRelease(release).columns)
    required = [new for new, old in GAIA_COLUMNS.items() if old in needed and new not in GAIA_OPTIONAL]
    table = _read_columns(path, {new: (old,) for new, old in GAIA_COLUMNS.items()}, required=required)
    _forget_impossible_errors(table)
    _forget_impossible_positions(table, "ra", "dec")
    return _each_source_once(path, table)


def _forget_impossible_errors(table: Table) -> None:
    for name in ("pmra_error", "pmdec_error", "parallax_error"):
        table[name][~(table[name] > 0)] = np.nan


def _forget_impossible_positions(table: Table, ra: str, dec: str) -> None:
    impossible = ~((table[ra] >= 0) & (table[ra] <= 360) & (np.abs(table[dec]) <= 90))
    table[ra][impossible] = table[dec][impossible] = np.nan


def _each_source_once(path: str | Path, table: Table) -> Table:
    """Drop the second rows of sources that overlapping queries returned twice; sources without a number stay."""
    ids = np.asarray(table["gaia_source_id"])
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero((ids[order[1:]] == ids[order[:-1]]) & (ids[order[1:]] != 0)) + 1
    if not len(again):
        return table
    for name in table.colnames:
        first, second = np.asarray(table[name])[order[again - 1]], np.asarray(table[name])[order[again]]
        both_unknown = (first != first) & (second != second)  # only NaN differs from itself; texts have no np.isnan
        differs = np.flatnonzero((first != second) & ~both_unknown)
        if len(differs):
            rows = order[again[differs[0]] - 1], order[again[differs[0]]]
            raise ReductionError(
                f"{path}: rows {rows[0]} and {rows[1]} both are source {ids[rows[0]]}, with different {name}: "
                "the table seems to mix two releases; fetch or make it again"
            )
    kept = np.ones(len(table), dtype=bool)
    kept[order[again]] = False
    return table[kept]


@takes(path=file_path)
def read_stellar_parameters(path: str | Path, allstar: Table, release: Release = RELEASES["dr14"]) -> Table:
    """Teff, log g and abundances with errors, row by row as `allstar`.

    Up to DR17 the catalogue is row by row as allStar. SDSS-V's (astraAllStarAstroNN) has a row for each spectrum with a
    result, in any order: rows meet by spectrum_pk, the first of several counts, and a spectrum without one has NaN.

    Parameters
    ----------
    path
        The catalogue of the release.
    allstar
        (n,) rows of `read_allstar` of the release.
    release
        Whose form of the catalogue is expected.

    Returns
    -------
    Table
        (n,) rows with teff [K], logg [dex], [X/H] [dex] and the error of each, named with _error.

    Raises
    ------
    ReductionError
        If the file cannot be read, has neither 22 values a row (DR14) nor a column per label (DR17; all missing ones
        are named), holds no value at all in such a column, or is not row by row as allStar where it should be.
    """
    hdu, by_row = release.stellar_parameters.hdu, not release.gaia_in_allstar
    apogee_id = np.asarray(allstar["apogee_id"])
    with _open_table(path, hdu) as hdus:
        n_rows, names = hdus[hdu].header["NAXIS2"], hdus[hdu].columns.names
    present = {name.upper(): name for name in names}
    if by_row and n_rows != len(apogee_id):
        raise ReductionError(f"{path} has {n_rows} rows, allStar {len(apogee_id)}: they must agree row by row")
    if not by_row and "SPECTRUM_PK" not in present:
        raise ReductionError(f"{path} has no column spectrum_pk: is it {release.stellar_parameters.name}?")
    places = _label_places(path, present)
    for column in {column for column, _ in places.values()}:
        twins = [name for name in names if name.upper() == column.upper()]
        if len(twins) > 1:  # a table that was joined with another
            raise ReductionError(f"{path} has {len(twins)} columns {' and '.join(twins)}: keep the catalogue's own")
    table = Table({label: np.empty(n_rows, "f4") for label in places}, copy=False)
    numbers = np.zeros(n_rows, "i8")
    start = 0
    for data in table_blocks(path, hdu):
        rows = slice(start, start + len(data))
        if by_row and "APOGEE_ID" in present:
            _check_names(path, raw_values(data, present["APOGEE_ID"]), apogee_id[rows], start)
        if not by_row:
            numbers[rows] = _numbers(path, data, present["SPECTRUM_PK"], "i8")
        columns = {column: _numbers(path, data, column, "f4") for column in {column for column, _ in places.values()}}
        for label, (column, place) in places.items():
            values = columns[column]
            expected = (len(data),) if place is None else (len(data), len(LABELS))
            if values.shape != expected:
                must = "one value" if place is None else f"{len(LABELS)} values"
                raise ReductionError(f"{path}: column {column} must hold {must} a row: {values.shape}; fetch it again")
            table[label][rows] = values if place is None else values[:, place]
        start = rows.stop
    for label, (column, place) in places.items():
        if place is None and n_rows and not np.isfinite(table[label]).any():  # a mistake of whoever made the table
            raise ReductionError(f"{path}: column {column} holds no value for any star: fetch it again")
    return table if by_row else _in_order(table, numbers, np.asarray(allstar["spectrum_pk"]))


def _numbers(path: str | Path, data: fits.FITS_rec, column: str, kind: str) -> np.ndarray:
    try:
        values = _native(raw_values(data, column), kind, data.columns[column].null)
    except (TypeError, ValueError) as fault:
        raise ReductionError(f"{path}: column {column} holds {fault}; fetch it again") from fault
    if kind == "i8" and values.ndim > 1:
        raise ReductionError(f"{path}: column {column} must hold one value a row: {values.shape}; fetch it again")
    return values


def _in_order(table: Table, numbers: np.ndarray, wanted: np.ndarray) -> Table:
    """Rows of `table` in the order of `wanted` numbers; NaN where there is none."""
    known, first = np.unique(numbers, return_index=True)
    at = np.searchsorted(known, wanted)
    found = (at < len(known)) & (wanted != 0)
    found[found] = known[at[found]] == wanted[found]
    ordered = Table({name: np.full(len(wanted), np.nan, "f4") for name in table.colnames}, copy=False)
    for name in table.colnames:
        ordered[name][found] = np.asarray(table[name])[first[at[found]]]
    return ordered


def _label_places(path: str | Path, present: dict[str, str]) -> dict[str, tuple[str, int | None]]:
    """Column of each label and its error, with its place in a row of 22 values (DR14) or None (DR17)."""
    places: dict[str, tuple[str, int | None]] = {}
    missing = []
    if "ASTRONN" in present or "TEFF" not in present:
        for column, suffix in (("astroNN", ""), ("astroNN_error", "_error")):
            if column.upper() not in present:
                missing.append(column)
                continue
            places |= {label + suffix: (present[column.upper()], i) for i, label in enumerate(LABELS)}
        if missing:
            raise ReductionError(f"{path} has no {_columns(missing)}: is it the stellar-parameter catalogue?")
        return places
    for label in LABELS:
        spellings = [label.upper(), *LABEL_SPELLINGS.get(label, ())]
        for name, candidates in (
            (label, spellings),
            (f"{label}_error", [text for base in spellings for text in (f"{base}_ERR", f"{base}_ERROR", f"E_{base}")]),
        ):
            found = next((present[text] for text in candidates if text in present), None)
            if found is None:
                missing.append(" or ".join(candidates))
            else:
                places[name] = (found, None)
    if missing:
        raise ReductionError(
            f"{path} has no {_columns(missing)}: fetch it again. In a table of your own single values may be NaN; for"
            " labels that nobody measured give columns astroNN and astroNN_error of 22 values, -9999 where unknown"
        )
    return places


def _columns(names: Sequence[str]) -> str:
    return f"column{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _check_names(path: str | Path, named: np.ndarray, apogee_id: np.ndarray, start: int) -> None:
    differs = np.flatnonzero((named != apogee_id) & (named != "") & (apogee_id != ""))
    if len(differs):
        raise ReductionError(
            f"{path}: row {start + differs[0]} is {named[differs[0]]}, in allStar {apogee_id[differs[0]]}; "
            "the catalogue must be row by row as allStar: fetch both of the same release again"
        )


def _read_columns(path: str | Path, names: Mapping[str, Sequence[str]], required: Sequence[str], hdu: int = 1) -> Table:
    """Columns of a FITS table under our names and types, whatever their case; absent optional ones are unknown."""
    pieces: dict[str, list[np.ndarray]] = {new: [] for new in names}
    for data in table_blocks(path, hdu):
        if not len(data):
            raise ReductionError(f"{path} has no rows: fetch or make it again")
        _check_columns(path, data.names, names, required)
        for new, candidates in names.items():
            pieces[new].append(_piece(path, data, new, candidates))
    return Table({new: np.concatenate(pieces.pop(new)) for new in names}, copy=False)


def _check_columns(
    path: str | Path, present: Sequence[str], names: Mapping[str, Sequence[str]], required: Sequence[str]
) -> None:
    """Name all needed columns that are missing, which of them may be filled with NaN, and which are not needed."""
    spelt = {new: " or ".join(name.upper() for name in candidates) for new, candidates in names.items()}
    missing = [new for new in required if find_column(present, names[new]) is None]
    if not missing:
        return
    nan = [spelt[new] for new in missing if new in MAY_BE_NAN]
    absent = [spelt[new] for new in names if new not in required]
    raise ReductionError(
        f"{path} has no {_columns([spelt[new] for new in missing])}: fetch or make it again."
        f" In a table of your own {', '.join(nan) or 'none of these'} may hold NaN in every row, and"
        f" {', '.join(absent)} may be absent: data/README.md says what is then left out"
    )


def _piece(path: str | Path, data: fits.FITS_rec, new: str, candidates: Sequence[str]) -> np.ndarray:
    """One column of some rows."""
    column = _COLUMN.get(new, _RP_MAG)
    old = find_column(data.names, candidates)
    if old is None:
        return np.full(len(data), column.unknown, dtype=_numpy_kind(column))
    try:
        values = raw_values(data, old)
        if values.ndim > 1:
            raise ValueError(f"{values[0].size} values a row")
        if new == "gaia_source_id" and values.dtype.kind == "f":
            raise ValueError("numbers with a decimal point, which have not all digits of a source's number")
        return _native(values, column.kind, data.columns[old].null, UNKNOWN_INTEGER.get(new, 0))
    except (TypeError, ValueError) as fault:
        raise ReductionError(f"{path}: column {old} holds {fault}; fetch or make it again") from fault


def _numpy_kind(column: StarColumn) -> str:
    return "U8" if column.kind == "U" else column.kind


@takes(path=file_path)
def table_blocks(path: str | Path, hdu: int = 1) -> Iterator[fits.FITS_rec]:
    """Yield the rows of a FITS table in blocks, at least one; a compressed file is one block.

    What has been read of a mapped file stays in memory until the file is closed, and allStar has 4 GB of which few
    columns are needed.
    """
    with open(path, "rb") as file:
        step = BLOCK_ROWS if file.read(6) == b"SIMPLE" else None
    start, n_rows = 0, None
    while n_rows is None or start < n_rows:
        with _open_table(path, hdu) as hdus:
            n_rows = hdus[hdu].header["NAXIS2"]
            step = step or max(1, n_rows)
            yield hdus[hdu].data[start : start + step]
            del hdus[hdu].data  # what is loaded when a file is closed is copied into memory whole
        start += step


def spectrum_places(allstar: Table, release: Release) -> list[str]:
    """Place of each row's combined spectrum below the raw folder; `allstar` as `read_allstar` gives it."""
    columns = (allstar[name].tolist() for name in SPECTRUM_PLACE)
    return [release.spectrum(*row) for row in zip(*columns, strict=True)]


# --- writing ----------------------------------------------------------------------------------------------------------


@takes(path=file_path)
def write_gaia(path: Path, sources: dict[str, np.ndarray]) -> None:
    """Write Gaia's sources under the archive's names, source_id first; simulated and fetched ones alike."""
    write_table(path, {"source_id": sources["source_id"]} | sources, GAIA_UNITS)


@takes(path=file_path)
def write_table(path: Path, columns: dict[str, np.ndarray], units: dict[str, str] | None = None, hdu: int = 1) -> None:
    """Write a binary table in HDU 1, or behind empty ones, atomically; compressed if the name ends in ``.gz``.

    Bytes depend on nothing but the columns and their units.
    """
    units = units or {}
    made = []
    for name, values in columns.items():
        if values.dtype.kind == "U":
            values = ascii_column(values)
            # A column of empty texts still needs a width.
            width = max(1, int(np.char.str_len(values).max(initial=1)))
            made.append(fits.Column(name=name, format=f"{width}A", array=values, unit=units.get(name)))
        else:
            code = {"f4": "E", "f8": "D", "i2": "I", "i4": "J", "i8": "K", "b1": "L", "i1": "I"}[values.dtype.str[1:]]
            values = values.astype(np.int16) if values.dtype == np.int8 else values
            count = values.shape[1] if values.ndim == 2 else ""
            made.append(fits.Column(name=name, format=f"{count}{code}", array=values, unit=units.get(name)))
    empty = [fits.Column(name=column.name, format=column.format, unit=column.unit) for column in made]
    before = [fits.BinTableHDU.from_columns(empty) for _ in range(hdu - 1)]
    write_fits(path, [fits.PrimaryHDU(), *before, fits.BinTableHDU.from_columns(made)])


@takes(path=file_path)
def write_fits(path: str | Path, parts: Sequence) -> None:
    """Write HDUs, the primary one first, atomically; compressed if the name ends in ``.gz``, to the same bytes."""
    path, hdus = Path(path), fits.HDUList(list(parts))
    with files.atomic(path) as temporary:
        if path.suffix == ".gz":
            with open(temporary, "wb") as plain, gzip.GzipFile("", "wb", fileobj=plain, mtime=0) as packed:
                hdus.writeto(packed)
        else:
            hdus.writeto(temporary)
