"""A survey of twenty stars in the real file formats, with one of each fault; built for the tests of the reduction."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from apogaia.files import write_json
from apogaia.formats.pixel_grid import DETECTORS, N_PIXELS_APSTAR
from apogaia.survey import Survey, load_survey
from apogaia.workspace import Workspace

N_STARS = 20
# rows with a fault, by what is wrong with the spectrum
MISSING, CUT, BLANK, NAN_ERRORS, OTHER_STAR, OUTSIDE, DEAD_DETECTOR = 3, 4, 5, 6, 7, 8, 9
REPEATED = (1, 15)  # the same star, in two fields, once above and once below the SNR split
NO_GAIA, NEGATIVE_PARALLAX, NO_K, NO_EXTINCTION, NO_MOTION = 10, 11, 12, 13, 14


def tiny_survey() -> Survey:
    survey = load_survey("smoke")
    return replace(
        survey,
        name="tiny",
        simulation=replace(survey.simulation, n_stars=N_STARS),
        labels=replace(survey.labels, source="external"),
    )


def image(data: np.ndarray) -> fits.ImageHDU:
    hdu = fits.ImageHDU(data)
    hdu.header["CRVAL1"], hdu.header["CDELT1"], hdu.header["CRPIX1"] = 4.179, 6e-6, 1
    return hdu


def write_apstar(
    path: Path, apogee_id: str, flux, error, mask, visits: int = 1, unread_rows: int = 100, layout: str = "dr14"
) -> None:
    """`flux`, `error`, `mask` (8575,): the combined spectrum where `layout` has it, decoys in the other rows."""
    primary = fits.PrimaryHDU()
    primary.header["OBJID"], primary.header["NVISITS"] = apogee_id, visits
    primary.header["K"], primary.header["SNR"] = 10.0, 100.0
    arrays = [np.asarray(flux, ">f4"), np.asarray(error, ">f4"), np.asarray(mask, ">i2")]
    if layout == "dr14":
        if visits > 1:
            arrays = [np.stack([array[::-1], array, *[array * 0] * visits]) for array in arrays]
    elif visits > 1:  # row 1 has neither mask nor errors that mark bad pixels
        second = arrays[0][::-1], np.full(N_PIXELS_APSTAR, np.median(arrays[1])), arrays[2] * 0
        arrays = [np.stack([array, row, *[array] * visits]) for array, row in zip(arrays, second, strict=True)]
    else:
        arrays = [np.stack([array, *([array * 0] if layout == "dr17" else [])]) for array in arrays]
    if layout != "dr14":  # as Python's arrays come by default
        arrays = [array.astype(">i8" if array.dtype.kind == "i" else ">f8") for array in arrays]
    path.parent.mkdir(parents=True, exist_ok=True)
    filler = [image(np.zeros((unread_rows, N_PIXELS_APSTAR), ">f4"))]  # the HDUs that nobody reads
    fits.HDUList([primary, *map(image, arrays), *filler]).writeto(path, overwrite=True)


def spectrum(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = np.linspace(-1, 1, N_PIXELS_APSTAR)
    inside = np.zeros(N_PIXELS_APSTAR, bool)
    for detector in DETECTORS.values():
        inside[detector] = True
    flux = 300 * (1 + 0.2 * x - 0.1 * x**2) * (1 - 0.3 * rng.random(N_PIXELS_APSTAR) ** 8) * inside
    error = np.where(inside, 2 + rng.random(N_PIXELS_APSTAR), 1e10)
    mask = np.where(rng.random(N_PIXELS_APSTAR) < 0.02, 4096, 0) | ~inside
    return flux, error, mask


def spectra(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flux, error and mask of `n` spectra, each (n, 8575)."""
    rng = np.random.default_rng(seed)
    return tuple(np.stack(arrays) for arrays in zip(*(spectrum(rng) for _ in range(n)), strict=True))


def columns(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """allStar of the real DR14: its names, types and placeholders."""
    n = N_STARS
    ids = np.array([f"2M{i:08d}+{i:07d}" for i in range(n)])
    ids[REPEATED[1]] = ids[REPEATED[0]]
    allstar = {
        "APOGEE_ID": ids,
        "TELESCOPE": np.full(n, "apo25m"),
        "LOCATION_ID": np.full(n, 4400, ">i2"),
        "FIELD": np.full(n, "060+00"),
        "J": rng.uniform(9, 12, n).astype(">f4"),
        "H": rng.uniform(8, 11, n).astype(">f4"),
        "K": rng.uniform(8, 11, n).astype(">f4"),
        "K_ERR": np.full(n, 0.02, ">f4"),
        "RA": np.linspace(1, 359, n),
        "DEC": np.linspace(-80, 80, n),
        "GLON": np.linspace(0, 350, n),
        "GLAT": np.linspace(-10, 10, n),
        "NVISITS": np.where(np.arange(n) % 2, 3, 1).astype(">i4"),
        "SNR": np.where(np.arange(n) < 12, 300, 100).astype(">f4"),
        "STARFLAG": np.zeros(n, ">i4"),
        "VHELIO_AVG": rng.normal(0, 50, n).astype(">f4"),
        "VSCATTER": np.full(n, 0.1, ">f4"),
        "AK_TARG": np.full(n, 0.1, ">f4"),
        "TEFF": np.full(n, -9999.0, ">f4"),
        "LOGG": np.full(n, 2.5, ">f4"),
    }
    allstar["RA"][REPEATED[1]], allstar["DEC"][REPEATED[1]] = (allstar[c][REPEATED[0]] for c in ("RA", "DEC"))
    allstar["LOCATION_ID"][OUTSIDE] = 1
    allstar["LOCATION_ID"][REPEATED[1]] = 4401
    allstar["K"][NO_K] = -9999.99
    allstar["J"][NO_K] = 99.999
    allstar["AK_TARG"][NO_EXTINCTION] = -9999.99
    return allstar


def gaia_columns(allstar: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One source for each star but one, at epoch 2015.5, in another order, and a second one nearby for star 0."""
    kept = np.array([i for i in range(N_STARS) if i not in (NO_GAIA, REPEATED[1])])[::-1]
    n = len(kept)
    pmra, pmdec = rng.normal(0, 300, (2, n))  # several arcsec in 15.5 years: without motion there is no match
    pmra[kept == NO_MOTION] = pmdec[kept == NO_MOTION] = np.nan
    moved = np.nan_to_num(np.stack([pmra, pmdec])) * 15.5 / 3.6e6
    ra, dec = allstar["RA"][kept], allstar["DEC"][kept]
    parallax = rng.uniform(0.3, 1, n)
    parallax[kept == NEGATIVE_PARALLAX] = -0.2
    table = {
        "source_id": 10**17 + kept,
        "ra": ra + moved[0] / np.cos(np.radians(dec)),
        "dec": dec + moved[1],
        "pmra": pmra,
        "pmdec": pmdec,
        "pmra_error": np.where(np.isnan(pmra), np.nan, 0.1),
        "pmdec_error": np.where(np.isnan(pmra), np.nan, 0.1),
        "parallax": parallax,
        "parallax_error": np.full(n, 0.03),
        "phot_g_mean_mag": np.full(n, 12.0),
        "bp_rp": np.full(n, 1.3),
        "visibility_periods_used": np.full(n, 14, np.int32),
        "astrometric_chi2_al": np.full(n, 200.0),
        "astrometric_n_good_obs_al": np.full(n, 180, np.int32),
    }
    neighbour = {name: values[kept == 0] for name, values in table.items()}
    neighbour["source_id"], neighbour["dec"] = neighbour["source_id"] + 10**6, neighbour["dec"] + 1.5 / 3600
    return {name: np.concatenate([neighbour[name], values]) for name, values in table.items()}


def write_tiny_survey(root: Path) -> tuple[Survey, Workspace]:
    survey = tiny_survey()
    workspace = Workspace(survey, root)
    rng = np.random.default_rng(14)
    allstar = columns(rng)
    write_raw_tables(workspace, allstar, gaia_columns(allstar, rng))
    for i in range(N_STARS):
        path = workspace.apstar(str(allstar["APOGEE_ID"][i]), int(allstar["LOCATION_ID"][i]))
        flux, error, mask = spectrum(rng)
        if i in (MISSING, OUTSIDE):
            continue
        if i == BLANK:
            flux = flux * 0
        if i == NAN_ERRORS:
            error = error * np.nan
        if i == DEAD_DETECTOR:
            error[DETECTORS["red"]], flux[DETECTORS["red"]] = 1e10, 0
        name = "2M99999999+9999999" if i == OTHER_STAR else str(allstar["APOGEE_ID"][i])
        write_apstar(path, name, flux, error, mask, int(allstar["NVISITS"][i]))
        if i == CUT:
            path.write_bytes(path.read_bytes()[:40_000])
    write_json(workspace.raw_manifest, {"stars": N_STARS})
    return survey, workspace


def write_raw_tables(workspace: Workspace, allstar: dict, gaia: dict) -> None:
    workspace.raw.mkdir(parents=True, exist_ok=True)
    Table(allstar).write(workspace.allstar, overwrite=True)
    Table(gaia).write(workspace.gaia, overwrite=True)
    n = len(allstar["APOGEE_ID"])
    labels = np.tile(np.arange(22.0), (n, 1)) + 100 * np.arange(n)[:, None]
    labels[:, 4] = -9999.0
    Table(
        {"APOGEE_ID": allstar["APOGEE_ID"], "astroNN": labels, "astroNN_error": np.full((n, 22), 0.05)},
    ).write(workspace.stellar_parameters, overwrite=True)


def die(*_) -> None:
    """What the system does to a process that takes too much memory."""
    os._exit(9)
