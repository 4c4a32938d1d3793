"""The tables of SDSS-V (Astra): mwmAllStar with a row for each spectrum, and AstroNN's stellar parameters.

Columns that nothing reads are left out, among them targeting, other surveys' magnitudes and other extinctions.
"""

from __future__ import annotations

import numpy as np

from apogaia.simulate.allstar import CATALOGUE_ELEMENTS, stellar_parameter_columns

__all__ = ["mwm_allstar_columns", "stellar_parameter_mwm_columns"]

NO_NUMBER = -1  # an unknown whole number
# Labels of Astra where the catalogue's name differs
ASTRA_NAMES = {"CI": "c_1", "TIII": "ti_2"}


def mwm_allstar_columns(stars: dict[str, np.ndarray], sources: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the columns of mwmAllStar's HDU for APOGEE, one row per spectrum; unknown numbers are NaN or -1.

    Parameters
    ----------
    stars, sources
        The designed survey, `design.Design`.
    """
    n = len(stars["apogee_id"])
    of_dr17 = stars["reduction"] == "dr17"
    south = stars["telescope"] == "lco25m"
    k_unknown = stars["k_is_nan"] | stars["k_is_missing"]
    ebv = stars["a_k_targ"] / 0.3517
    return {
        "sdss_id": stars["sdss_id"],
        "sdss4_apogee_id": np.where(of_dr17, stars["apogee_id"], ""),
        "gaia_dr3_source_id": np.where(stars["gaia_source_id"] == 0, NO_NUMBER, stars["gaia_source_id"]),
        "ra": stars["ra"],
        "dec": stars["dec"],
        "l": stars["glon"],
        "b": stars["glat"],
        **_gaia(stars, sources),
        **{f"{band}_mag": stars[f"{band}_mag"].astype(np.float32) for band in "jh"},
        "k_mag": np.where(k_unknown, np.nan, stars["k_mag"]).astype(np.float32),
        "e_k_mag": np.where(k_unknown, np.nan, stars["k_mag_error"]).astype(np.float32),
        "ebv": np.where(ebv > 0, ebv, np.nan).astype(np.float32),
        "spectrum_pk": stars["spectrum_pk"],
        "release": np.where(of_dr17, "dr17", "sdss5"),
        "filetype": np.full(n, "apStar"),
        "apred": stars["reduction"],
        "apstar": np.full(n, "stars"),
        "obj": stars["apogee_id"],
        "telescope": stars["telescope"],
        "healpix": np.where(of_dr17, NO_NUMBER, stars["healpix"]).astype(np.int32),
        "field": np.where(of_dr17, stars["field"], ""),
        "prefix": np.where(of_dr17, np.where(south, "as", "ap"), ""),
        "n_visits": stars["n_visits"].astype(np.int32),
        "snr": stars["snr"].astype(np.float32),
        "spectrum_flags": stars["starflag"].astype(np.int64),
        "v_rad": stars["v_helio"].astype(np.float32),
        "std_v_rad": np.where(stars["n_visits"] == 1, np.nan, stars["v_scatter"]).astype(np.float32),
    }


def _gaia(stars: dict[str, np.ndarray], sources: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return Gaia's measurements of each star; BP and RP of which Gaia gives the difference alone here."""
    row, known = stars["gaia_row"], stars["gaia_row"] >= 0

    def of_source(name: str) -> np.ndarray:
        return np.where(known, sources[name][row], np.nan)

    g_mag, bp_rp = of_source("phot_g_mean_mag"), of_source("bp_rp")
    rp_mag = g_mag - 0.1 - 0.5 * bp_rp  # about; only BP-RP is read
    return {
        "plx": of_source("parallax"),
        "e_plx": of_source("parallax_error"),
        "pmra": of_source("pmra"),
        "e_pmra": of_source("pmra_error"),
        "pmde": of_source("pmdec"),
        "e_pmde": of_source("pmdec_error"),
        "g_mag": g_mag,
        "bp_mag": rp_mag + bp_rp,
        "rp_mag": rp_mag,
    }


def stellar_parameter_mwm_columns(rng: np.random.Generator, stars: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return AstroNN's results, by spectrum_pk; spectra without a result have no row."""
    dr14 = stellar_parameter_columns(rng, stars)
    rows = np.flatnonzero(dr14["astroNN"][:, 0] > -9000)
    rows = rows[np.argsort(stars["spectrum_pk"][rows])]
    columns = {name: stars[name][rows] for name in ("sdss_id", "spectrum_pk")}
    for k, label in enumerate(("teff", "logg", *CATALOGUE_ELEMENTS)):
        name = label if label in ("teff", "logg") else f"{ASTRA_NAMES.get(label, label.lower())}_h"
        columns[name] = dr14["astroNN"][rows, k]
        columns[f"e_{name}"] = dr14["astroNN_error"][rows, k]
    return columns | {"result_flags": np.zeros(len(rows), np.int32)}
