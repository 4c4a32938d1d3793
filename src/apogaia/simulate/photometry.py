"""Magnitudes from stellar parameters, interstellar dust, and what 2MASS and WISE measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from apogaia.physics.radii import M_BOL_SUN, ks_bolometric_correction
from apogaia.physics.sun import SUN_DISTANCE_KPC

__all__ = ["ABSORPTION", "absolute_magnitudes", "dust_density", "measured_magnitude"]

# theta = 5040 K / Teff as a polynomial of colour and [Fe/H]: b0 + b1 X + b2 X^2 + b3 X F + b4 F + b5 F^2.
# J - Ks: Gonzalez Hernandez & Bonifacio (2009). BP - RP: Mucciarelli, Bellazzini & Massari (2021).
J_K = {
    "giant": (0.6517, 0.6312, 0.0168, -0.0381, 0.0256, 0.0013),
    "dwarf": (0.6524, 0.5813, 0.1225, -0.0646, 0.0370, 0.0016),
}
BP_RP = {
    "giant": (0.5323, 0.4775, -0.0344, -0.0110, -0.0020, -0.0009),
    "dwarf": (0.4929, 0.5092, -0.0353, 0.0192, -0.0020, -0.0395),
}

# Extinction in units of A_Ks: near infrared after Indebetouw et al. (2005), 4.5 um such that RJCE is exact
# (A_Ks = 0.918 (H - [4.5] - 0.08)), optical with A_V = 3.1 E(B-V) and A_Ks = 0.3517 E(B-V).
ABSORPTION = {"j": 2.50, "h": 1.55, "k": 1.0, "w2": 1.55 - 1 / 0.918, "g": 6.3, "bp_rp": 3.5}

DUST_LOCAL_MAG_PER_KPC = 0.085  # A_Ks near the Sun in the plane
DUST_LENGTH_KPC, DUST_HEIGHT_KPC, DUST_HOLE_KPC = 3.3, 0.11, 3.0


def colour(
    relation: Mapping[str, Sequence[float]],
    teff: float | np.ndarray,
    logg: float | np.ndarray,
    fe_h: float | np.ndarray,
) -> np.ndarray:
    """Invert a colour-temperature relation; dwarfs and giants blend over log g 3.5 to 4."""
    theta = 5040.0 / np.asarray(teff)
    fe_h = np.clip(fe_h, -1.5, 0.4)
    colours = []
    for b0, b1, b2, b3, b4, b5 in (relation["giant"], relation["dwarf"]):
        linear = b1 + b3 * fe_h
        rest = b0 + b4 * fe_h + b5 * fe_h**2 - theta
        colours.append((-linear + np.sqrt(np.maximum(linear**2 - 4 * b2 * rest, 1e-6))) / (2 * b2))
    dwarf = np.clip((np.asarray(logg) - 3.5) / 0.5, 0, 1)
    return (1 - dwarf) * colours[0] + dwarf * colours[1]


def absolute_magnitudes(
    teff: float | np.ndarray,
    logg: float | np.ndarray,
    fe_h: float | np.ndarray,
    luminosity_lsun: float | np.ndarray,
    hidden_mag: float | np.ndarray = 0.0,
) -> dict[str, np.ndarray]:
    """Return absolute magnitudes j, h, k, w2, g and the colour bp_rp without extinction.

    Parameters
    ----------
    teff, logg, fe_h, luminosity_lsun
        Teff [K], log g, [Fe/H] [dex] and bolometric luminosity [Lsun].
    hidden_mag
        Luminosity scatter at given spectrum: what no spectrum shows (helium, spots, a faint companion).
    """
    k = M_BOL_SUN - 2.5 * np.log10(luminosity_lsun) - ks_bolometric_correction(teff) + hidden_mag
    j_k = colour(J_K, teff, logg, fe_h)
    j_k = np.where(np.asarray(logg) > 3.75, np.minimum(j_k, 0.82 + 0.1 * (j_k - 0.82)), j_k)  # M dwarfs turn blue
    h_k = 0.20 * j_k - 0.02
    bp_rp = colour(BP_RP, teff, logg, fe_h)
    # RJCE's (H - [4.5])_0 = 0.08 holds on average; cool stars depart from it.
    h_w2 = 0.08 + 0.06 * (5040.0 / np.asarray(teff) - 1.07) + np.where(np.asarray(logg) > 3.9, 0.05, 0.0)
    h = k + h_k
    return {"j": k + j_k, "h": h, "k": k, "w2": h - h_w2, "g": k + 0.05 + 1.64 * bp_rp, "bp_rp": bp_rp}


def dust_density(x_kpc: float | np.ndarray, y_kpc: float | np.ndarray, z_kpc: float | np.ndarray) -> np.ndarray:
    """Return A_Ks per kpc at a Galactocentric position: an exponential disc with a hole in its middle."""
    big_r = np.hypot(x_kpc, y_kpc)
    outside_hole = np.maximum(big_r, DUST_HOLE_KPC)
    disc = np.exp((SUN_DISTANCE_KPC - outside_hole) / DUST_LENGTH_KPC) * np.minimum(big_r / DUST_HOLE_KPC, 1)
    return DUST_LOCAL_MAG_PER_KPC * disc * np.exp(-np.abs(z_kpc) / DUST_HEIGHT_KPC)


def measured_magnitude(
    rng: np.random.Generator, true_mag: np.ndarray, floor_mag: float, faint_mag: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the measured magnitude, rounded to 1 mmag, and its error: a floor, and 0.1 mag at `faint_mag`."""
    error = np.hypot(
        floor_mag * np.exp(0.12 * rng.normal(size=len(true_mag))), 0.1 * 10 ** (0.4 * (true_mag - faint_mag))
    )
    error = np.maximum(np.round(error, 3), 0.011)
    return np.round(true_mag + error * rng.normal(size=len(true_mag)), 3), error
