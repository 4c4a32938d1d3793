"""A catalogue of a few hundred stars with its stars.h5, abundances and model, for tests of the explorer."""

from __future__ import annotations

from pathlib import Path

import catalogue_rows
import numpy as np
from astropy.table import Table

from apogaia.distances import catalogue
from apogaia.formats.pixel_grid import N_PIXELS
from apogaia.formats.stars_h5_columns import COLUMNS, LABELS
from apogaia.formats.survey_tables import write_table
from apogaia.reduction.stars_h5 import write_stars
from apogaia.survey import load_survey

N_STARS = 300
NO_SPECTRUM, REPEATED, UNRELIABLE = 5, (10, 11), range(60, 80)  # rows
SURVEY = load_survey("smoke")


def star_rows() -> Table:
    """Stars along a giant branch, all over the sky, at various distances."""
    rng = np.random.default_rng(4)
    logg = rng.uniform(0.5, 4.0, N_STARS)
    stars = catalogue_rows.stars(
        N_STARS,
        ra=rng.uniform(0, 360, N_STARS),
        dec=rng.uniform(-80, 80, N_STARS),
        logg=logg,
        teff=3600 + 400 * logg + rng.normal(0, 60, N_STARS),
        k_mag=rng.uniform(8, 12, N_STARS).astype("f4"),
        snr=rng.uniform(20, 500, N_STARS),
    )
    stars["ra_apogee"], stars["dec_apogee"] = stars["ra"], stars["dec"]
    stars["apogee_id"] = [f"2M{12000000 + 7 * i:08d}+{1000000 + 13 * i:07d}" for i in range(N_STARS)]
    stars["apogee_id"][REPEATED[1]] = stars["apogee_id"][REPEATED[0]]
    stars["status"][NO_SPECTRUM] = 1
    stars["reason"] = np.where(np.arange(N_STARS) == NO_SPECTRUM, "the file is missing", "")
    return stars


def write_catalogue(folder: Path, model: Path | None = None) -> Path:
    """``apogee_nn_dist.fits``."""
    stars = star_rows()
    fakemag = 10 ** (0.2 * np.asarray(stars["k_mag"], float)) * 10 ** (0.2 * np.asarray(stars["logg"], float) - 1.5)
    error = np.where(np.isin(np.arange(N_STARS), UNRELIABLE), 0.3, 0.03)
    prediction = catalogue_rows.prediction(fakemag, error, error)
    made = catalogue.build_catalogue(stars, prediction, -0.05, SURVEY.inference)
    some = folder / "some.model"
    some.write_bytes(b"a model")
    origin = catalogue.provenance(SURVEY, model or some, -0.05)
    some.unlink()
    path = folder / "apogee_nn_dist.fits"
    catalogue.write_catalogue(made, path, origin)
    return path


def write_parameters(folder: Path, n_stars: int = N_STARS) -> Path:
    """``apogee_nn_parameters.fits``."""
    stars = star_rows()[:n_stars]
    labels = np.random.default_rng(6).normal(-0.3, 0.3, (n_stars, len(LABELS)))
    labels[:, 0], labels[:, 1] = stars["teff"], stars["logg"]
    path = folder / "apogee_nn_parameters.fits"
    columns = {
        "APOGEE_ID": np.asarray(stars["apogee_id"]).astype(str),
        "astroNN": labels.astype("f4"),
        "astroNN_error": np.full(labels.shape, 0.1, "f4"),
    }
    write_table(path, columns)
    return path


def spectra() -> np.ndarray:
    """(n, 7514) normalised spectra, each with a line of its own."""
    flux = np.random.default_rng(5).normal(1, 0.01, (N_STARS, N_PIXELS)).astype("f4")
    flux[np.arange(N_STARS), 20 * np.arange(N_STARS)] = 0.4
    flux[NO_SPECTRUM] = np.nan
    return flux


def write_stars_h5(folder: Path, order: np.ndarray | None = None) -> Path:
    """``stars.h5`` of the same stars, perhaps in another order."""
    stars, flux = star_rows(), spectra()
    table = Table()
    for column in COLUMNS:
        kind = "U40" if column.kind == "U" else column.kind
        table[column.name] = np.full(N_STARS, column.unknown, kind)
        if column.name in stars.colnames:
            table[column.name] = np.asarray(stars[column.name]).astype(kind)
    rows = np.arange(N_STARS) if order is None else order
    path = folder / "stars.h5"
    write_stars(path, table[rows], [flux[rows]])
    return path


def write_model(folder: Path, name: str = "calibrated") -> Path:
    """A small network for spectra of 7514 pixels."""
    from small_networks import SMALL, model_of

    from apogaia.model.model_file import save_model

    path = folder / f"{name}.keras"
    folder.mkdir(exist_ok=True)
    settings = SURVEY.settings()
    save_model(
        model_of(SMALL, n_pixels=N_PIXELS), path, {"survey": "smoke", "offset": "constant", "settings": settings}
    )
    return path
