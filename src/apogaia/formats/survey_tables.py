"""The raw tables: allStar, Gaia's sources, stellar parameters; read under our names and types, and written.

The readers return unknown values as NaN (0 in whole numbers, empty in texts), however the file marks them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from apogaia import files
from apogaia.arguments.plain import file_path, texts
from apogaia.arguments.takes import takes
from apogaia.formats.fits_columns import ReductionError, find_column, raw_values
from apogaia.formats.fits_columns import native as _native
from apogaia.formats.fits_columns import open_table as _open_table
from apogaia.formats.releases import EDR3_IMAGE_QUALITY, EDR3_SOLUTION, Release
from apogaia.formats.stars_h5_columns import COLUMNS, ELEMENTS

__all__ = [
    "GAIA_UNITS",
    "ReductionError",
    "read_allstar",
    "read_gaia",
    "read_stellar_parameters",
    "spectrum_places",
    "write_gaia",
    "write_table",
]

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

GAIA_COLUMNS = {
    "gaia_source_id": "source_id",
    "g_mag": "phot_g_mean_mag",
    **{name: name for name in ("ra", "dec", "pmra", "pmdec", "pmra_error", "pmdec_error")},
    **{name: name for name in ("parallax", "parallax_error", "bp_rp", "visibility_periods_used")},
    **{name: name for name in ("astrometric_chi2_al", "astrometric_n_good_obs_al")},
    **{name: name for name in (*EDR3_IMAGE_QUALITY, *EDR3_SOLUTION)},
}
GAIA_EDR3_COLUMNS = (*EDR3_IMAGE_QUALITY, *EDR3_SOLUTION)  # not in DR2

_COLUMN = {column.name: column for column in COLUMNS}
# Spellings of catalogues beside ours, C I and Ti II apart from C and Ti
LABEL_SPELLINGS = {"ci_h": ("C1_H", "C_1_H"), "tiii_h": ("TI2_H", "TI_2_H")}
LABELS = ("teff", "logg", *(f"{element.lower()}_h" for element in ELEMENTS))


# --- reading ----------------------------------------------------------------------------------------------------------


@takes(path=file_path)
def read_allstar(path: str | Path) -> Table:
    """APOGEE's columns of stars.h5 from an allStar file, row by row; NaN where allStar has a placeholder.

    A negative signal-to-noise ratio, and a position outside the sphere's coordinates, are unknown, too.

    Raises
    ------
    ReductionError
        If the file cannot be read, has no rows, lacks a column without which there is no distance, or has one of
        another kind.
    """
    table = _read_columns(path, ALLSTAR_COLUMNS, required=ALLSTAR_REQUIRED)
    for name in ("j_mag", "h_mag", "k_mag", "k_mag_error", "a_k_mag"):
        table[name][table[name] > MISSING_MAG_ABOVE] = np.nan
    table["snr"][table["snr"] < 0] = np.nan
    _forget_impossible_positions(table, "ra_apogee", "dec_apogee")
    table["telescope"][table["telescope"] == ""] = "apo25m"  # APOGEE's only telescope before it was a column
    return table


@takes(path=file_path)
def read_gaia(path: str | Path, release: str = "dr2") -> Table:
    """Gaia's columns of stars.h5, one row per source, each source once; NaN where Gaia has none.

    An error that is not positive, and a position outside the sphere's coordinates, are unknown, too.

    Parameters
    ----------
    release
        "dr2" or "edr3", which has more columns.

    Raises
    ------
    ReductionError
        If the file cannot be read, has no rows, lacks a column of the release or has one of another kind, holds
        source numbers that lost digits, or describes one source in two ways.
    """
    required = [name for name in GAIA_COLUMNS if release != "dr2" or name not in GAIA_EDR3_COLUMNS]
    table = _read_columns(path, {new: (old,) for new, old in GAIA_COLUMNS.items()}, required=required)
    for name in ("pmra_error", "pmdec_error", "parallax_error"):
        table[name][~(table[name] > 0)] = np.nan
    _forget_impossible_positions(table, "ra", "dec")
    return _each_source_once(path, table)


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


@takes(path=file_path, apogee_id=texts)
def read_stellar_parameters(path: str | Path, apogee_id: np.ndarray) -> Table:
    """Teff, log g and abundances with errors from a catalogue that is row by row as allStar.

    Raises
    ------
    ReductionError
        If the file cannot be read, has neither 22 values a row (DR14) nor a column per label (DR17), holds no value at
        all in such a column, or is not row by row as allStar.
    """
    with _open_table(path) as hdus:
        n_rows, present = hdus[1].header["NAXIS2"], {name.upper(): name for name in hdus[1].columns.names}
    if n_rows != len(apogee_id):
        raise ReductionError(f"{path} has {n_rows} rows, allStar {len(apogee_id)}: they must agree row by row")
    places = _label_places(path, present)
    table = Table({label: np.empty(n_rows, "f4") for label in places}, copy=False)
    start = 0
    for data in _blocks(path):
        rows = slice(start, start + len(data))
        if "APOGEE_ID" in present:
            _check_names(path, raw_values(data, present["APOGEE_ID"]), apogee_id[rows], start)
        columns = {column: _native(data[column], "f4") for column in {column for column, _ in places.values()}}
        for label, (column, place) in places.items():
            values = columns[column]
            if place is not None and values.shape != (len(data), len(LABELS)):
                raise ReductionError(f"{path}: column {column} must hold {len(LABELS)} values a row: {values.shape}")
            table[label][rows] = values if place is None else values[:, place]
        start = rows.stop
    for label, (column, place) in places.items():
        if place is None and n_rows and not np.isfinite(table[label]).any():  # a mistake of whoever made the table
            raise ReductionError(f"{path}: column {column} holds no value for any star: fetch it again")
    return table


def _label_places(path: str | Path, present: dict[str, str]) -> dict[str, tuple[str, int | None]]:
    """Column of each label and its error, with its place in a row of 22 values (DR14) or None (DR17)."""
    places: dict[str, tuple[str, int | None]] = {}
    if "ASTRONN" in present or "TEFF" not in present:
        for column, suffix in (("astroNN", ""), ("astroNN_error", "_error")):
            if column.upper() not in present:
                raise ReductionError(f"{path} has no column {column}: is it the stellar-parameter catalogue?")
            places |= {label + suffix: (present[column.upper()], i) for i, label in enumerate(LABELS)}
        return places
    for label in LABELS:
        spellings = [label.upper(), *LABEL_SPELLINGS.get(label, ())]
        for name, candidates in (
            (label, spellings),
            (f"{label}_error", [text for base in spellings for text in (f"{base}_ERR", f"{base}_ERROR", f"E_{base}")]),
        ):
            found = next((present[text] for text in candidates if text in present), None)
            if found is None:
                raise ReductionError(f"{path} has no column {' or '.join(candidates)}: fetch it again")
            places[name] = (found, None)
    return places


def _check_names(path: str | Path, named: np.ndarray, apogee_id: np.ndarray, start: int) -> None:
    differs = np.flatnonzero((named != apogee_id) & (named != "") & (apogee_id != ""))
    if len(differs):
        raise ReductionError(
            f"{path}: row {start + differs[0]} is {named[differs[0]]}, in allStar {apogee_id[differs[0]]}; "
            "the catalogue must be row by row as allStar: fetch both of the same release again"
        )


def _read_columns(path: str | Path, names: Mapping[str, Sequence[str]], required: Sequence[str]) -> Table:
    """Columns of a FITS table under our names and types, whatever their case; absent optional ones are unknown."""
    pieces: dict[str, list[np.ndarray]] = {new: [] for new in names}
    for data in _blocks(path):
        if not len(data):
            raise ReductionError(f"{path} has no rows: fetch or make it again")
        for new, candidates in names.items():
            pieces[new].append(_piece(path, data, new, candidates, new in required))
    return Table({new: np.concatenate(pieces.pop(new)) for new in names}, copy=False)


def _piece(path: str | Path, data: fits.FITS_rec, new: str, candidates: Sequence[str], required: bool) -> np.ndarray:
    """One column of some rows."""
    column = _COLUMN[new]
    old = find_column(data.names, candidates)
    if old is None and required:
        raise ReductionError(
            f"{path} has no column {' or '.join(name.upper() for name in candidates)}: fetch or make it again"
        )
    if old is None:
        return np.full(len(data), column.unknown, dtype="U8" if column.kind == "U" else column.kind)
    try:
        values = raw_values(data, old)
        if values.ndim > 1:
            raise ValueError(f"{values[0].size} values a row")
        if new == "gaia_source_id" and values.dtype.kind == "f":
            raise ValueError("numbers with a decimal point, which have not all digits of a source's number")
        return _native(values, column.kind, data.columns[old].null, UNKNOWN_INTEGER.get(new, 0))
    except (TypeError, ValueError) as fault:
        raise ReductionError(f"{path}: column {old} holds {fault}; fetch or make it again") from fault


def _blocks(path: str | Path) -> Iterator[fits.FITS_rec]:
    """Yield the rows of a FITS table in blocks, at least one; a compressed file is one block.

    What has been read of a mapped file stays in memory until the file is closed, and allStar has 4 GB of which few
    columns are needed.
    """
    with open(path, "rb") as file:
        step = BLOCK_ROWS if file.read(6) == b"SIMPLE" else None
    start, n_rows = 0, None
    while n_rows is None or start < n_rows:
        with _open_table(path) as hdus:
            n_rows = hdus[1].header["NAXIS2"]
            step = step or max(1, n_rows)
            yield hdus[1].data[start : start + step]
            del hdus[1].data  # what is loaded when a file is closed is copied into memory whole
        start += step


def spectrum_places(allstar: Table, release: Release) -> list[str]:
    """Place of each row's combined spectrum below the raw folder; `allstar` as `read_allstar` gives it."""
    columns = (allstar[name].tolist() for name in ("apogee_id", "telescope", "location_id", "field", "spectrum_file"))
    return [release.spectrum(*row) for row in zip(*columns, strict=True)]


# --- writing ----------------------------------------------------------------------------------------------------------


@takes(path=file_path)
def write_gaia(path: Path, sources: dict[str, np.ndarray]) -> None:
    """Write Gaia's sources under the archive's names, source_id first; simulated and fetched ones alike."""
    write_table(path, {"source_id": sources["source_id"]} | sources, GAIA_UNITS)


@takes(path=file_path)
def write_table(path: Path, columns: dict[str, np.ndarray], units: dict[str, str] | None = None) -> None:
    """Write one binary table in HDU 1, atomically; units as given. Bytes depend on nothing but the columns."""
    units = units or {}
    made = []
    for name, values in columns.items():
        if values.dtype.kind == "U":
            # A column of empty texts still needs a width.
            values = values.astype(f"S{max(1, values.dtype.itemsize // 4)}")
            width = max(1, int(np.char.str_len(values).max(initial=1)))
            made.append(fits.Column(name=name, format=f"{width}A", array=values, unit=units.get(name)))
        else:
            code = {"f4": "E", "f8": "D", "i2": "I", "i4": "J", "i8": "K", "b1": "L", "i1": "I"}[values.dtype.str[1:]]
            values = values.astype(np.int16) if values.dtype == np.int8 else values
            count = values.shape[1] if values.ndim == 2 else ""
            made.append(fits.Column(name=name, format=f"{count}{code}", array=values, unit=units.get(name)))
    with files.atomic(path) as temporary:
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(made)]).writeto(temporary)
