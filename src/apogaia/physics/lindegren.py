"""The parallax zero point of Gaia EDR3 after Lindegren et al. (2021, A&A 649, A4), by the package gaiadr3-zeropoint.

Sign: zero point = Gaia parallax minus true parallax, so it is subtracted.
"""

from __future__ import annotations

import warnings

import numpy as np
from astropy import units as u
from astropy.table import Table
from zero_point import zpt

from apogaia.arguments.plain import numbers
from apogaia.arguments.takes import takes

__all__ = ["ONLY_EDR3", "correct_parallaxes", "zero_point"]

FIVE_PARAMETERS, SIX_PARAMETERS = 31, 95  # values of astrometric_params_solved that come with a parallax
# Columns of EDR3 that the zero point needs beside G, in the order of the arguments of `zero_point`
ONLY_EDR3 = ("nu_eff_used_in_astrometry", "pseudocolour", "ecl_lat", "astrometric_params_solved")

zpt.load_tables()


@takes(g_mag=u.mag, nu_eff=u.um**-1, pseudocolour=u.um**-1, ecl_lat=u.deg, params_solved=u.dimensionless_unscaled)
def zero_point(g_mag, nu_eff, pseudocolour, ecl_lat, params_solved, *, extrapolate: bool = False) -> np.ndarray:
    """Compute the zero point of each source [mas].

    Parameters
    ----------
    g_mag : (n,) G [mag]
    nu_eff, pseudocolour : (n,) effective wavenumber [1/um]: as used in the astrometry (5-parameter solutions), or as
        found by it (6-parameter solutions); the other one is NaN
    ecl_lat : (n,) ecliptic latitude [deg]
    params_solved : (n,) 31 (5 parameters), 95 (6 parameters), 3 (2 parameters) or 0 (no source)
    extrapolate
        Also give a number where the function is not valid, by extending the package's basis functions.

    Returns
    -------
    (n,) array
        NaN where there is none: 2-parameter solutions, unknown inputs, and, unless `extrapolate`, outside
        6 < G < 21, 1.1 < nu_eff < 1.9 and 1.24 < pseudocolour < 1.72.
    """
    inputs = [np.asarray(values, dtype=float) for values in (g_mag, nu_eff, pseudocolour, ecl_lat, params_solved)]
    found = np.full(inputs[0].shape, np.nan)
    solved = np.isin(inputs[4], (FIVE_PARAMETERS, SIX_PARAMETERS))
    if solved.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of the validity: handled by `extrapolate`
            found[solved] = zpt.get_zpt(*(values[solved] for values in inputs), _warnings=extrapolate)
    return found


def correct_parallaxes(table: Table) -> None:
    """Subtract the zero point from ``parallax`` in place, and keep it as ``parallax_zero_point`` [mas].

    A parallax whose zero point is unknown stays as Gaia gives it, and its ``parallax_zero_point`` is NaN. It is biased
    by some tens of uas, so cuts and catalogue need to know; removing it would lose a parallax that is perfectly good
    for a near star.

    Parameters
    ----------
    table
        Columns of stars.h5: ``parallax`` [mas], ``g_mag`` [mag] and `ONLY_EDR3`.
    """
    subtracted = zero_point(*(table[name] for name in ("g_mag", *ONLY_EDR3)))
    parallax = np.asarray(numbers(table["parallax"], u.mas, "correct_parallaxes: table['parallax']"), dtype=float)
    subtracted[~np.isfinite(parallax)] = np.nan
    table["parallax"] = np.where(np.isfinite(subtracted), parallax - subtracted, parallax)
    table["parallax_zero_point"] = subtracted
