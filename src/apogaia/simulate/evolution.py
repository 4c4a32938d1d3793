"""Stars of one mass, age and composition: evolutionary stages, Teff, log g, radius and luminosity.

The sequences are smooth curves through well-known points (the Sun, the red clump at M_Ks = -1.61, the giant branch
as APOGEE sees it, the tip near log L = 3.4); nothing here is a stellar-evolution code. What holds exactly is
R^2 = G M / g and L = 4 pi R^2 sigma Teff^4.
"""

from __future__ import annotations

import numpy as np

__all__ = ["STAGES", "luminosity", "main_sequence_mass", "radius", "track", "turnoff_mass"]

STAGES = ("main sequence", "subgiant", "giant branch", "red clump", "asymptotic giant branch")
TEFF_SUN = 5772.0  # K, IAU 2015
LOGG_SUN = 4.438  # dex, IAU 2015

# Dwarfs of solar composition: mass [Msun], Teff [K] and radius [Rsun] (round numbers, after Pecaut & Mamajek 2013).
DWARF_MASS = np.array([0.20, 0.30, 0.40, 0.50, 0.60, 0.70, 0.80, 0.90, 1.00, 1.10, 1.20, 1.40, 1.60, 1.90])
DWARF_TEFF = np.array([3200, 3400, 3520, 3700, 4060, 4500, 4950, 5350, 5720, 6000, 6220, 6650, 7150, 8000.0])
DWARF_RADIUS = np.array([0.23, 0.32, 0.40, 0.49, 0.58, 0.67, 0.76, 0.86, 0.97, 1.09, 1.21, 1.42, 1.58, 1.80])

# The giant branch of 1.2 Msun and solar composition.
GIANT_LOGG = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0])
GIANT_TEFF = np.array([3450, 3670, 3910, 4160, 4400, 4630, 4830, 4990, 5110.0])


def turnoff_mass(age_gyr: float | np.ndarray) -> np.ndarray:
    """Return the mass [Msun] that leaves the main sequence at this age (lifetime 10 Gyr M^-3.1)."""
    return (10.0 / np.asarray(age_gyr)) ** (1 / 3.1)


def main_sequence_mass(uniform: float | np.ndarray, upper_mass: float | np.ndarray) -> np.ndarray:
    """Return masses [Msun] from 0.2 to `upper_mass` of Kroupa's (2001) initial mass function, by its inverse CDF."""
    upper = np.maximum(upper_mass, 0.55)
    low = (0.2**-0.3 - 0.5**-0.3) / 0.3
    high = 0.5 * (0.5**-1.3 - upper**-1.3) / 1.3
    draw = uniform * (low + high)
    below = np.maximum(0.2**-0.3 - 0.3 * np.minimum(draw, low), 1e-9) ** (-1 / 0.3)
    above = np.maximum(0.5**-1.3 - 1.3 * np.maximum(draw - low, 0) / 0.5, 1e-9) ** (-1 / 1.3)
    return np.where(draw < low, below, above)


def radius(mass_msun: float | np.ndarray, logg: float | np.ndarray) -> np.ndarray:
    """Return the radius [Rsun] from R^2 = G M / g."""
    return np.sqrt(mass_msun * 10 ** (LOGG_SUN - logg))


def luminosity(radius_rsun: float | np.ndarray, teff: float | np.ndarray) -> np.ndarray:
    """Return the bolometric luminosity [Lsun] from L = 4 pi R^2 sigma Teff^4."""
    return radius_rsun**2 * (np.asarray(teff) / TEFF_SUN) ** 4


def giant_teff(logg: float | np.ndarray, mass_msun: float | np.ndarray, m_h: float | np.ndarray) -> np.ndarray:
    """Return the giant-branch Teff [K]: cooler for larger, for metal-richer and for less massive stars."""
    return np.interp(logg, GIANT_LOGG, GIANT_TEFF) + 100 * (mass_msun - 1.2) - 330 * m_h - 60 * m_h * np.abs(m_h)


def track(
    stage: int | np.ndarray,
    phase: float | np.ndarray,
    mass_msun: float | np.ndarray,
    age_gyr: float | np.ndarray,
    m_h: float | np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return Teff [K] and log g [dex] of stars at a point of their evolution.

    Parameters
    ----------
    stage
        Index into `STAGES`.
    phase
        Progress through the stage, 0 to 1: along the subgiants and up the giant branches; spread within the clump.
    mass_msun, age_gyr, m_h
        Mass [Msun], age [Gyr] and overall metallicity [dex].
    """
    stage, phase, mass, age, m_h = np.broadcast_arrays(stage, phase, mass_msun, age_gyr, m_h)
    m_h = np.clip(m_h, -2.2, 0.5)

    evolved = np.clip(mass / turnoff_mass(age), 0, 1)
    dwarf_teff = np.interp(mass, DWARF_MASS, DWARF_TEFF) - 330 * m_h - 80 * evolved**6
    dwarf_radius = np.interp(mass, DWARF_MASS, DWARF_RADIUS) * (1 + 0.35 * evolved**6) * 10 ** (0.03 * m_h)
    dwarf_logg = LOGG_SUN + np.log10(mass) - 2 * np.log10(dwarf_radius)

    subgiant_logg = dwarf_logg + phase * (3.5 - dwarf_logg)
    foot = giant_teff(3.5, mass, m_h)
    subgiant_teff = foot + np.maximum(dwarf_teff - foot, 0) * 0.5 * (1 + np.cos(np.pi * phase))

    # Stars per unit log g fall towards the tip as the evolution quickens: dN/dM_bol ~ 10^(0.32 M_bol).
    giant_logg = _rising(phase, 3.5, 0.3 + 0.08 * (mass - 1.0) - 0.25 * np.minimum(m_h, 0), 0.66)
    agb_logg = _rising(phase, 2.1, 0.3 + 0.08 * (mass - 1.0) - 0.25 * np.minimum(m_h, 0), 0.66)

    # The clump's own width is the hidden part of its luminosity; the dip is the secondary clump of massive stars.
    clump_teff = 4780 + 60 * (mass - 1.2) - 270 * m_h - 40 * m_h * np.abs(m_h)
    clump_log_l = 1.735 - 0.18 * np.exp(-(((mass - 2.15) / 0.25) ** 2)) + 0.16 * (phase - 0.5)
    clump_logg = LOGG_SUN + np.log10(mass) + 4 * np.log10(clump_teff / TEFF_SUN) - clump_log_l

    teff = np.choose(
        stage,
        [
            dwarf_teff,
            subgiant_teff,
            giant_teff(giant_logg, mass, m_h),
            clump_teff,
            giant_teff(agb_logg, mass, m_h) + 90,
        ],
    )
    logg = np.choose(stage, [dwarf_logg, subgiant_logg, giant_logg, clump_logg, agb_logg])
    return np.maximum(teff, 3000.0), logg


def _rising(phase, start, end, slope):
    """Return log g at `phase` of a branch from `start` up to `end`, with dN/dlogg ~ 10^(slope log g)."""
    first, last = 10 ** (slope * start), 10 ** (slope * end)
    return np.log10(first + phase * (last - first)) / slope
