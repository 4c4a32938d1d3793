"""Abundances of the elements behind the 20 labels: set at birth, then changed in C and N by the first dredge-up."""

from __future__ import annotations

import numpy as np

__all__ = ["CARBON_TO_NITROGEN_SUN", "ELEMENTS", "abundances", "dredged_up", "mean_metallicity"]

ELEMENTS = ("C", "N", "O", "Na", "Mg", "Al", "Si", "P", "S", "K", "Ca", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni")
CARBON_TO_NITROGEN_SUN = 10 ** (8.43 - 7.83)  # number ratio, Asplund et al. (2009)

BAR_HALF_LENGTH_KPC, BAR_AXIS_RATIO, BAR_ANGLE_DEG = 5.0, 0.5, 25.0
PEAK_RADIUS_KPC, PEAK_FE_H, CENTRE_FE_H = 5.0, 0.22, -0.30

# [X/Fe] = a [alpha/Fe] + b [Fe/H] + c max([Fe/H], 0): the sense of the known trends, with round coefficients.
TRENDS = {
    "C": (0.35, 0.00, 0.10),
    "N": (0.00, 0.15, 0.10),
    "O": (1.15, -0.05, 0.00),
    "Na": (0.00, 0.05, 0.30),
    "Mg": (1.00, 0.00, 0.05),
    "Al": (0.70, 0.05, 0.15),
    "Si": (0.80, 0.00, 0.00),
    "P": (0.50, 0.10, 0.10),
    "S": (0.85, -0.05, 0.00),
    "K": (0.55, 0.00, -0.05),
    "Ca": (0.55, -0.02, -0.05),
    "Ti": (0.70, 0.00, 0.00),
    "V": (0.30, 0.10, 0.05),
    "Cr": (0.00, 0.00, -0.03),
    "Mn": (-0.15, 0.25, 0.10),
    "Co": (0.35, 0.08, 0.10),
    "Ni": (0.15, 0.03, 0.06),
}


def bar_radius(x_kpc: float | np.ndarray, y_kpc: float | np.ndarray) -> np.ndarray:
    """Return the elliptical radius [kpc] along the bar's major axis, whose near end lies at positive longitude."""
    angle = np.deg2rad(BAR_ANGLE_DEG)
    along = -x_kpc * np.cos(angle) + y_kpc * np.sin(angle)
    across = x_kpc * np.sin(angle) + y_kpc * np.cos(angle)
    return np.hypot(along, across / BAR_AXIS_RATIO)


def mean_metallicity(x_kpc: float | np.ndarray, y_kpc: float | np.ndarray) -> np.ndarray:
    """Return the mean [Fe/H] of the disc and the bar at a Galactocentric position (Sun at negative x).

    It peaks at 5 kpc, falls by 0.07 dex per kpc outside, and inside the bar falls towards -0.3 in the centre.
    """
    outer = PEAK_FE_H - 0.07 * (np.hypot(x_kpc, y_kpc) - PEAK_RADIUS_KPC)
    along = np.minimum(bar_radius(x_kpc, y_kpc) / BAR_HALF_LENGTH_KPC, 1.0)
    return np.where(outer < PEAK_FE_H, outer, CENTRE_FE_H + (PEAK_FE_H - CENTRE_FE_H) * along)


def abundances(
    rng: np.random.Generator,
    component: np.ndarray,
    age_gyr: np.ndarray,
    x_kpc: np.ndarray,
    y_kpc: np.ndarray,
    z_kpc: np.ndarray,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draw birth abundances.

    Parameters
    ----------
    component
        (n,) index into `population.COMPONENTS`: thin disc, thick disc, bar, halo.
    age_gyr, x_kpc, y_kpc, z_kpc
        (n,) ages and Galactocentric positions.

    Returns
    -------
    x_h : dict of arrays
        [X/H] at birth, by element.
    alpha_fe : array
        [alpha/Fe]: two sequences, of the thin disc and of the old populations.
    """
    n = len(component)
    here = mean_metallicity(x_kpc, y_kpc)
    thin = here - 0.15 * np.abs(z_kpc) + rng.normal(size=n) * (0.07 + 0.012 * age_gyr)
    thick = -0.45 + rng.normal(size=n) * 0.22
    bar = here - 0.20 * np.abs(z_kpc) + rng.normal(size=n) * 0.20
    halo = -1.4 + rng.normal(size=n) * 0.35
    fe_h = np.clip(np.choose(component, [thin, thick, bar, halo]), -2.2, 0.5)
    low = 0.03 - 0.10 * fe_h + 0.08 * np.maximum(fe_h, 0)
    high = np.clip(0.27 - 0.32 * (fe_h + 0.55), 0.05, 0.28)
    old = (component != 0) & ~((component == 2) & (rng.random(n) < 0.35))
    alpha_fe = np.where(old, high, low) + rng.normal(size=n) * 0.022
    x_h = {"Fe": fe_h}
    for element in ELEMENTS:
        if element != "Fe":
            a, b, c = TRENDS[element]
            x_fe = a * alpha_fe + b * fe_h + c * np.maximum(fe_h, 0) + rng.normal(size=n) * 0.025
            x_h[element] = fe_h + x_fe
    return {element: x_h[element] for element in ELEMENTS}, alpha_fe


def dredged_up(
    c_h: float | np.ndarray,
    n_h: float | np.ndarray,
    mass_msun: float | np.ndarray,
    logg: float | np.ndarray,
    giant: bool | np.ndarray,
    scatter_dex: float | np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return [C/H] and [N/H] at the surface after the first dredge-up, which conserves the number of C and N nuclei.

    On the giant branch [C/N] = -0.10 - 1.5 log10 M plus birth [C/N]: a star's spectrum shows its mass (after
    Masseron & Gilmore 2015 and Martig et al. 2016), blurred by `scatter_dex`. Mixing sets in from log g 3.9 to 3.4.
    """
    birth = c_h - n_h
    mixed = birth - np.clip(0.10 + 1.5 * np.log10(mass_msun), 0.0, 0.9) + scatter_dex
    share = np.where(giant, np.clip((3.9 - logg) / 0.5, 0, 1), 0.0)
    c_n = birth + share * (mixed - birth)
    total = CARBON_TO_NITROGEN_SUN * 10**c_h + 10**n_h
    surface_c = np.log10(total / (CARBON_TO_NITROGEN_SUN + 10**-c_n))
    return surface_c, surface_c - c_n
