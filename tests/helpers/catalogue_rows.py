"""Rows of stars.h5 with everything known, and predictions for them, for tests of the catalogue."""

from collections import namedtuple

import numpy as np
from astropy.table import Table

TABLE_1 = (
    "apogee_id location_id ra_apogee dec_apogee ra dec pmra pmdec pmra_error pmdec_error phot_g_mean_mag bp_rp"
    " fakemag fakemag_error nn_parallax nn_parallax_model_error nn_parallax_error dist dist_model_error dist_error"
    " weighted_dist weighted_dist_error"
).split()

Prediction = namedtuple("Prediction", "fakemag model_error predictive_error total_error")


def prediction(fakemag, model=0.03, predictive=0.04):
    fakemag = np.array(fakemag, dtype=float)
    model, predictive = model * fakemag, predictive * fakemag
    return Prediction(fakemag, model, predictive, np.hypot(model, predictive))


def stars(n=1, **columns):
    """Rows with everything known and the same; fakemag = 20 agrees with the parallax."""
    row = {
        "location_id": 4405, "ra_apogee": 286.5, "dec_apogee": 47.3, "ra": 286.50001, "dec": 47.29999,
        "pmra": 1.5, "pmdec": -2.5, "pmra_error": 0.04, "pmdec_error": 0.05, "g_mag": 12.5, "bp_rp": 1.4,
        "status": 0, "reason": "", "k_mag": np.float32(10.1), "a_k_mag": np.float32(0.1), "gaia_source_id": 2**53 + 1,
        "parallax": 0.15, "parallax_error": 0.02, "snr": 120.0, "v_helio": -30.0, "teff": 4700.0, "logg": 2.4,
        "telescope": "apo25m", "field": "K06_078+16", "sdss_id": 0, "spectrum_pk": 2**40 + 1,
        "starflag": 0, "n_gaia_matches": 1,
        "parallax_zero_point": 0.0,
    }  # fmt: skip
    table = Table({name: np.full(n, value) for name, value in row.items()})
    table["apogee_id"] = [f"2M{i:08d}+0000000" for i in range(n)]
    for name, values in columns.items():
        table[name] = values
    return table
