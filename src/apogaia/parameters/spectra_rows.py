"""Whose spectrum each row of Astra's products is: from stars.h5, or from the headers of apStar files.

Nothing here loads a network, so that the processes which read spectra start quickly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from apogaia import files
from apogaia.formats.apstar import MAX_ROWS, Status
from apogaia.formats.fits_columns import known_number
from apogaia.formats.releases import RELEASES
from apogaia.formats.survey_tables import A_K_PER_EBV
from apogaia.reduction.normalised_spectra import NormalisedSpectra, read_spectra
from apogaia.survey import SpectraSettings, Survey

__all__ = ["file_rows", "read_visit_part", "survey_rows", "visit_rows"]

VISIT_CARDS = ("plate", "mjd", "fiber")


def survey_rows(survey: Survey, table: Table) -> Table:
    """Rows of a survey's combined spectra under Astra's names, as `apogaia.parameters.astra` takes them.

    Parameters
    ----------
    survey
        Whose releases of APOGEE and Gaia count.
    table
        Of stars.h5, row by row. E(B-V) is that which corresponds to its extinction in Ks.
    """
    release, n = RELEASES[survey.sources.apogee_release], len(table)
    names, telescope = (np.asarray(table[name]).astype(str) for name in ("apogee_id", "telescope"))
    reduction = np.asarray(table["reduction"]).astype(str)
    sdss5 = (reduction != "dr17") if release.name == "dr19" else np.zeros(n, bool)
    gaia = "gaia_dr2_source_id" if survey.sources.gaia_release == "dr2" else "gaia_dr3_source_id"
    south = np.char.startswith(telescope, "lco")
    return Table(
        {
            "sdss_id": _number(table["sdss_id"]),
            "sdss4_apogee_id": np.where(sdss5, "", names),
            gaia: _number(table["gaia_source_id"]),
            "ra": np.asarray(table["ra_apogee"]),
            "dec": np.asarray(table["dec_apogee"]),
            "release": np.where(sdss5, "sdss5", "dr17" if release.name == "dr19" else release.name),
            "filetype": np.full(n, "apStar"),
            "apred": np.where(reduction == "", release.reduction, reduction),
            "apstar": np.full(n, "stars"),
            "obj": names,
            "telescope": telescope,
            "healpix": np.where(sdss5, table["healpix"], -1),
            "field": np.asarray(table["field"]).astype(str),
            "prefix": np.where(sdss5, "", np.where(south, "as", "ap")),
            "snr": np.asarray(table["snr"]),
            "spectrum_flags": np.asarray(table["starflag"]),
            "spectrum_pk": _number(table["spectrum_pk"]),
            "status": np.asarray(table["status"]),
            "k_mag": np.asarray(table["k_mag"]),
            "ebv": np.asarray(table["a_k_mag"]) / A_K_PER_EBV,
        }
    )


def _number(column) -> np.ndarray:
    """Numbers of the archives, of which 0 is none."""
    return np.where(np.asarray(column) == 0, -1, column)


def file_rows(paths: Sequence[Path], read: NormalisedSpectra, ebv: float | None = None) -> Table:
    """Rows of the spectra in files, from their headers, under Astra's names.

    Parameters
    ----------
    paths
        The files.
    read
        What `read_spectra` gave for them.
    ebv
        E(B-V) [mag] of stars whose header has no extinction. That of the header is AKTARG / 0.3517, which is for the
        star; its card SFD_EBV is for the whole line of sight, and too large for stars within the Galaxy's disc.

    Returns
    -------
    Table
        With visits, `plate`, `mjd` and `fiber`, too.
    """
    own = np.array([known_number(header.get("a_k_targ")) for header in read.headers]) / A_K_PER_EBV
    given = np.nan if ebv is None else ebv
    columns = {
        **{name: _texts(read.headers, key) for name, key in (("obj", "apogee_id"), ("telescope", "telescope"))},
        "field": _texts(read.headers, "field"),
        **{name: _floats(read.headers, name) for name in ("ra", "dec", "snr", "k_mag")},
        "spectrum_flags": _wholes(read.headers, "starflag"),
        "ebv": np.where(own > 0, own, given),
        "status": read.status,
        "visit": read.visit,
        "file": np.array([str(paths[i]) for i in read.file.tolist()], dtype=str),
        "reason": np.array(
            [
                fault and f"{paths[i]}: {fault}; {Status(status).remedy}"
                for i, fault, status in zip(read.file.tolist(), read.fault, read.status.tolist(), strict=True)
            ],
            dtype=str,
        ),
    }
    columns["snr"][columns["snr"] < 0] = np.nan
    return Table(columns | (_visit_columns(read.headers) if read.visit.any() else {}))


def visit_rows(rows: Table, star: np.ndarray, own: Mapping[str, np.ndarray]) -> Table:
    """Rows of visits: those of their stars, with the values of each visit.

    Parameters
    ----------
    rows
        Of `survey_rows`.
    star
        (n,) which of them each visit belongs to.
    own
        The arrays of `read_visit_part`.
    """
    table = rows[star]
    table["spectrum_pk"] = np.full(len(table), -1)  # the number is that of the combined spectrum
    for name in ("snr", "spectrum_flags", "status", "visit", *VISIT_CARDS):
        table[name] = own[name]
    return table


def read_visit_part(
    part: Path, first: int, paths: Sequence[Path], n_visits: Sequence[int], settings: SpectraSettings
) -> Path:
    """Read the visits of some stars, and write their spectra and whose they are to a .npz file; return its path.

    Parameters
    ----------
    part
        The file.
    first
        Row of the first star in the survey.
    paths
        The stars' apStar files.
    n_visits
        How many visits each should have: of a file that cannot be read, so many rows stay, at least one.
    settings
        The survey's section ``spectra``.
    """
    read = read_spectra(paths, settings, visits=True)
    taken: list[int] = []
    visit: list[int] = []
    headers: list[Mapping] = []
    for i, expected in enumerate(n_visits):
        rows = np.flatnonzero(read.file == i)
        own = rows[read.visit[rows] > 0].tolist()
        missing = 0 if own else min(max(1, int(expected)), MAX_ROWS)
        taken += own or rows[:1].tolist() * missing
        visit += read.visit[own].tolist() if own else range(1, missing + 1)
        headers += [read.headers[row] for row in own] if own else [{}] * missing
    snr = _floats(headers, "snr")
    with files.atomic(part) as temporary:
        np.savez(
            temporary,
            spectrum=read.flux[taken],
            star=first + read.file[taken],
            visit=np.array(visit, np.int32),
            status=read.status[taken],
            snr=np.where(snr >= 0, snr, np.nan),
            spectrum_flags=_wholes(headers, "starflag"),
            **_visit_columns(headers),
        )
    return part


def _visit_columns(headers: Sequence[Mapping]) -> dict[str, Any]:
    return {"plate": _texts(headers, "plate"), **{name: _wholes(headers, name) for name in ("mjd", "fiber")}}


def _texts(headers: Sequence[Mapping], name: str) -> np.ndarray:
    return np.array([str(header.get(name) or "").strip() for header in headers], dtype=str)


def _floats(headers: Sequence[Mapping], name: str) -> np.ndarray:
    return np.array([known_number(header.get(name)) for header in headers], dtype=float)


def _wholes(headers: Sequence[Mapping], name: str) -> np.ndarray:
    """Whole numbers of the headers; -1 where there is none."""
    found = (header.get(name) for header in headers)
    return np.array([value if type(value) is int and abs(value) < 2**63 else -1 for value in found], dtype=np.int64)
