"""Luminosities in Ks from stellar radii, as asteroseismology gives them."""

from __future__ import annotations

import numpy as np
from astropy import units as u

from apogaia.arguments.takes import takes

__all__ = ["M_BOL_SUN", "ks_bolometric_correction", "radius_to_absmag"]

M_BOL_SUN = 4.74
TEFF_SUN = 5772.0  # [K], IAU 2015 resolution B3

# Ks bolometric correction against Teff: the Sun (M_bol 4.74, M_Ks 3.27), the red clump (M_Ks = -1.61), and dwarfs
# after Pecaut & Mamajek (2013).
BC_TEFF = np.array([2800, 3200, 3500, 3850, 4200, 4450, 4780, 5270, 5772, 6200, 6550, 7200, 8080, 9700.0])
BC_KS = np.array([2.98, 2.86, 2.72, 2.54, 2.34, 2.20, 2.02, 1.74, 1.47, 1.24, 1.06, 0.74, 0.40, -0.20])


@takes(teff=u.K)
def ks_bolometric_correction(teff):
    """M_bol minus M_Ks [mag] at an effective temperature [K]; outside 2800 to 9700 K that of the nearer end."""
    return np.interp(teff, BC_TEFF, BC_KS)


@takes(stellar_radius=u.R_sun, teff=u.K)
def radius_to_absmag(stellar_radius, teff):
    """Absolute Ks magnitude [mag] of a star with this radius [Rsun] and Teff [K]; NaN where one is not positive.

    ``M_bol = 4.74 - 2.5 log10(R^2 (Teff / 5772 K)^4)``, less the bolometric correction. At a given Ks and Teff a
    distance is proportional to the radius.
    """
    radius, teff = (np.asarray(values, dtype=float)[()] for values in (stellar_radius, teff))
    known = (radius > 0) & (teff > 0)
    radius, teff = np.where(known, radius, np.nan), np.where(known, teff, np.nan)
    return M_BOL_SUN - 5 * np.log10(radius) - 10 * np.log10(teff / TEFF_SUN) - ks_bolometric_correction(teff)
