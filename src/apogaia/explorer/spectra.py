"""Which stars' spectra the explorer holds, and the sensitivity of the network's luminosity to their pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from apogaia.explorer.table import ExplorerTable
from apogaia.reduction.stars_h5 import Stars, open_stars

__all__ = ["CHOICE", "EmbeddedSpectra", "choose_stars", "find_model", "read_spectra"]

TEFF_CELL, LOGG_CELL = 250.0, 0.25  # [K, dex] of the Kiel diagram
CHOICE = (
    "chosen evenly over the Kiel diagram: from each cell of 250 K by 0.25 dex in turn the star with the highest SNR"
    " that is left, among those that are not flagged as unusable"
)


@dataclass(frozen=True)
class EmbeddedSpectra:
    """Spectra of some stars of a table, and the sensitivity of the luminosity where there is a model."""

    rows: np.ndarray  # (n,) of the table
    flux: np.ndarray = field(repr=False)  # (n, 7514) normalised
    sensitivity: np.ndarray | None = field(default=None, repr=False)  # (n, 7514) d fakemag / d flux [mas]
    model: str = ""  # the model's file


def choose_stars(table: ExplorerTable, available: np.ndarray, n_stars: int) -> np.ndarray:
    """Ascending rows of at most `n_stars` stars, evenly over the Kiel diagram (`CHOICE`).

    Parameters
    ----------
    table
        The stars.
    available
        (n,) which of them have a spectrum.
    n_stars
        How many are wanted. Stars without Teff or log g count as a cell of their own, the last.
    """
    rows = np.flatnonzero(available & ~table.bad)
    teff, logg = table.values("teff")[rows], table.values("logg")[rows]
    known = np.isfinite(teff) & np.isfinite(logg)
    cells = np.full((len(rows), 2), np.inf)
    cells[known] = np.column_stack([teff[known] // TEFF_CELL, logg[known] // LOGG_CELL])
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    snr = np.nan_to_num(table.values("snr")[rows], nan=-np.inf)
    order = np.lexsort((rows, -snr, cell))
    starts = np.flatnonzero(np.r_[True, np.diff(cell[order]) > 0])
    rank = np.empty(len(rows), int)  # of a star in its cell
    rank[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)]))
    chosen = np.lexsort((rows, -snr, rank))[:n_stars]
    return np.sort(rows[chosen])


def find_model(folder: Path, made_with: str | None) -> Path | None:
    """The model file that a catalogue was made with, by its hash; ``calibrated.keras`` if the catalogue names none."""
    models = sorted(folder.glob("*.keras"))
    if made_with:
        return next((path for path in models if hashlib.sha256(path.read_bytes()).hexdigest() == made_with), None)
    return next((path for path in models if path.name == "calibrated.keras"), None)


def read_spectra(
    table: ExplorerTable, stars_path: Path, model: Path | None, n_stars: int, wanted: Sequence[int] = ()
) -> EmbeddedSpectra:
    """Spectra from stars.h5, and their sensitivities.

    Parameters
    ----------
    table
        The stars.
    stars_path
        The file; its rows are those of the catalogue, or meet it by the stars' names.
    model
        Of distances, for the sensitivity; None: there is none.
    n_stars
        How many spectra at most, as `choose_stars` does.
    wanted
        Rows of the table whose spectra are wanted beside these.

    Raises
    ------
    FileNotFoundError
        If there is no stars.h5.
    ValueError
        If a wanted star has no spectrum.
    """
    with open_stars(stars_path) as stars:
        places = _places(table, stars)
        available = places >= 0
        for row in wanted:
            if not available[row]:
                raise ValueError(f"{stars_path} has no spectrum of {table.ids[row]}: leave this --star out")
        rows = choose_stars(table, available, n_stars) if n_stars else np.empty(0, int)
        rows = np.union1d(rows, np.asarray(wanted, int)).astype(int)
        ascending = np.unique(places[rows])
        flux = stars.spectra_of(ascending)[np.searchsorted(ascending, places[rows])]
    if model is None or not len(rows):
        return EmbeddedSpectra(rows, flux)
    return EmbeddedSpectra(rows, flux, _sensitivity(flux, model), model.name)


def _places(table: ExplorerTable, stars: Stars) -> np.ndarray:
    """(n,) row of stars.h5 with the spectrum of each star; -1 where there is none."""
    good = np.flatnonzero(np.asarray(stars.table["status"]) == 0)
    if table.n_rows == len(stars.table) and np.array_equal(table.ids, stars.table["apogee_id"][table.rows]):
        places = np.full(len(stars.table), -1)
        places[good] = good
        return places[table.rows]
    snr = np.nan_to_num(np.asarray(stars.table["snr"], float), nan=-np.inf)
    best = good[np.argsort(snr[good], kind="stable")]
    by_name = dict(zip(np.asarray(stars.table["apogee_id"])[best].tolist(), best.tolist(), strict=True))
    return np.array([by_name.get(star, -1) for star in table.ids.tolist()], dtype=int)


def _sensitivity(flux: np.ndarray, model: Path) -> np.ndarray:
    from apogaia.model.jacobian import jacobian  # here: Keras takes seconds to import
    from apogaia.model.model_file import load_network

    return jacobian(load_network(model), flux)
