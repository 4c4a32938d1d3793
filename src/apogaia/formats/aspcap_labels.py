"""The labels of APOGEE's own pipeline (ASPCAP) in allStar: Teff, log g and [X/H] of 20 elements, with errors and flags.

They train the network of stellar parameters. What does not count as a label is NaN here, however the table marks it:
allStar of DR14 has -9999, of DR16 -9999.99 in values and -999.99 in errors, of DR17 NaN; there are placeholders without
a flag, and flags without a placeholder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.fits_columns import ReductionError, find_column, native, raw_values
from apogaia.formats.releases import RELEASES, Release
from apogaia.formats.stars_h5_columns import ELEMENTS, LABELS
from apogaia.formats.survey_tables import table_blocks

__all__ = ["read_aspcap_labels"]


@takes(path=file_path)
def read_aspcap_labels(path: str | Path, release: Release = RELEASES["dr14"]) -> Table:
    """Labels, errors and ASPCAPFLAG of allStar, row by row.

    [X/H] is [X/Fe] + [Fe/H] of the named columns (C_FE, FE_H), which are those that the survey recommends; its error is
    that of [X/Fe], which equals X_H_ERR. A value is NaN, and its error too, if

    - it is a placeholder or not finite, or [Fe/H] is;
    - its error is not a positive number;
    - the flag of the element (C_FE_FLAG, FE_H_FLAG) has any bit set. A flag of [Fe/H] is about iron alone.

    Parameters
    ----------
    path
        allStar of the release.
    release
        DR19's table holds no labels of ASPCAP.

    Returns
    -------
    Table
        (n,) rows: `LABELS` [K, dex], each with ``_error``, and ``aspcapflag``, -1 where it is unknown.

    Raises
    ------
    ReductionError
        If the file cannot be read, lacks columns (all are named), or has one of another kind.
    """
    if release.gaia_in_allstar:
        raise ReductionError(f"{path}: labels of ASPCAP are not in this release's table of stars")
    pieces = [_labels_of(path, data) for data in table_blocks(path)]
    return Table({name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}, copy=False)


def _labels_of(path: str | Path, data: fits.FITS_rec) -> dict[str, np.ndarray]:
    """The columns of some rows."""
    named = {label: _allstar_name(label) for label in LABELS}
    wanted = [*named.values(), *(f"{name}_ERR" for name in named.values())]
    wanted += [f"{named[_label(element)]}_FLAG" for element in ELEMENTS] + ["ASPCAPFLAG"]
    missing = [name for name in wanted if find_column(data.names, (name,)) is None]
    if missing:
        raise ReductionError(f"{path} has no column {', '.join(missing)}: these labels of ASPCAP are needed; fetch it")
    columns = {"aspcapflag": _column(path, data, "ASPCAPFLAG", "i8")}
    iron = _column(path, data, named["fe_h"], "f4")
    for label, name in named.items():
        value, error = _column(path, data, name, "f4"), _column(path, data, f"{name}_ERR", "f4")
        with np.errstate(invalid="ignore"):
            known = np.isfinite(value) & (error > 0)
        if name.endswith("_FE"):
            value = value + iron
            known &= np.isfinite(iron)
        if label not in ("teff", "logg"):
            known &= _column(path, data, f"{name}_FLAG", "i8") == 0
        columns[label], columns[f"{label}_error"] = np.where(known, value, np.nan), np.where(known, error, np.nan)
    return columns


def _label(element: str) -> str:
    return f"{element.lower()}_h"


def _allstar_name(label: str) -> str:
    """Name of a label in allStar: [X/Fe] of all elements but iron."""
    return label.upper() if label in ("teff", "logg", "fe_h") else f"{label.removesuffix('_h').upper()}_FE"


def _column(path: str | Path, data: fits.FITS_rec, name: str, kind: str) -> np.ndarray:
    """One column, unknown as NaN or -1."""
    found = find_column(data.names, (name,)) or name
    try:
        values = raw_values(data, found)
        if values.ndim > 1:
            raise ValueError(f"{values[0].size} values a row")
        return native(values, kind, data.columns[found].null, unknown_integer=-1)
    except (TypeError, ValueError) as fault:
        raise ReductionError(f"{path}: column {found} holds {fault}; fetch or make it again") from fault
