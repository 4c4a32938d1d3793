"""Unresolved binaries: one companion gives light, a velocity that varies, and a photocentre that moves."""

from __future__ import annotations

import numpy as np

__all__ = ["draw_binaries", "orbital_velocity", "parallax_excess"]

# Of solar-type stars (Raghavan et al. 2010): share with a companion, mean and sd of log10 period [days].
SHARE, LOG_PERIOD, LOG_PERIOD_SD = 0.44, 5.03, 2.28
TWIN_RATIO = 0.98  # a giant's companion of nearly its mass is a giant too
RESOLVED_ARCSEC = 2.0  # by 2MASS
SUN_ABSMAG_KS, MASS_LUMINOSITY_SLOPE = 3.27, 2.7  # of the main sequence in Ks: M_Ks = 3.27 - 2.5 x 2.7 log10 M
SOLAR_RADII_PER_AU = 215.0
CIRCULAR_KM_S = 29.785  # at 1 au from the Sun
DAYS_PER_YEAR = 365.25


def draw_binaries(
    rng: np.random.Generator,
    mass_msun: np.ndarray,
    radius_rsun: np.ndarray,
    giant: np.ndarray,
    k_abs_mag: np.ndarray,
    distance_kpc: np.ndarray,
) -> dict[str, np.ndarray]:
    """Draw companions of stars, but none within three radii, which has merged with its star, and none seen apart.

    Parameters
    ----------
    mass_msun, radius_rsun, k_abs_mag, distance_kpc
        (n,) mass [Msun], radius [Rsun], absolute Ks and distance [kpc] of the primaries.
    giant
        (n,) which have left the main sequence.

    Returns
    -------
    dict of (n,) arrays
        ``binary``; ``companion_mag``, by which the pair is brighter than its primary; ``orbit_days``, the period;
        ``orbit_km_s``, the amplitude of the primary's radial velocity; ``orbit_au``, the photocentre's semi-major axis.
        All but the period are 0 for single stars.
    """
    n = len(mass_msun)
    days = 10 ** (LOG_PERIOD + LOG_PERIOD_SD * rng.normal(size=n))
    ratio = rng.uniform(0.1, 1.0, n)
    axis_au = ((1 + ratio) * mass_msun) ** (1 / 3) * (days / DAYS_PER_YEAR) ** (2 / 3)
    binary = (rng.random(n) < SHARE) & (axis_au * SOLAR_RADII_PER_AU > 3 * radius_rsun)
    binary &= axis_au / distance_kpc < 1000 * RESOLVED_ARCSEC
    companion_k = SUN_ABSMAG_KS - 2.5 * MASS_LUMINOSITY_SLOPE * np.log10(ratio * mass_msun)
    light = np.minimum(10 ** (-0.4 * (companion_k - k_abs_mag)), ratio)
    light = np.where(giant & (ratio > TWIN_RATIO), rng.uniform(0.05, 1.0, n), light)
    speed = CIRCULAR_KM_S * np.sqrt((1 + ratio) * mass_msun / axis_au) * ratio / (1 + ratio)
    return {
        "binary": binary,
        "companion_mag": np.where(binary, 2.5 * np.log10(1 + light), 0.0),
        "orbit_days": days,
        "orbit_km_s": np.where(binary, speed * np.sqrt(1 - rng.random(n) ** 2), 0.0),
        "orbit_au": np.where(binary, axis_au * np.abs(ratio / (1 + ratio) - light / (1 + light)), 0.0),
    }


def orbital_velocity(rng: np.random.Generator, stars: dict[str, np.ndarray], mjd: np.ndarray) -> np.ndarray:
    """Return the radial velocity [km/s] of circular orbits at dates (n, visits) [days]."""
    phase = 2 * np.pi * (mjd / stars["orbit_days"][:, None] + rng.random(len(mjd))[:, None])
    return stars["orbit_km_s"][:, None] * np.sin(phase)


def parallax_excess(stars: dict[str, np.ndarray], mission_days: float) -> np.ndarray:
    """Return by how much [mas] orbits disturb a parallax that is fitted as that of a single star.

    A fifth of the photocentre's orbit where the mission covers it; of longer orbits only the curvature is left, since
    the proper motion takes up the rest.
    """
    seen = np.minimum(1.0, mission_days / stars["orbit_days"]) ** 2
    return 0.2 * stars["orbit_au"] / stars["distance_kpc"] * seen
