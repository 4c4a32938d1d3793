"""Gaia's parallax errors shared by neighbours on the sky."""

from __future__ import annotations

import numpy as np

__all__ = ["sky_error"]

# Gaia DR2's quasars (Lindegren et al. 2018, section 5.4): covariance of 285 uas^2 exp(-angle / 14 deg), and more, as
# much again at least, within a degree or so. Each with half of the variance, whatever the rms asked for.
LARGE_SCALE_DEG, SMALL_SCALE_DEG = 14.0, 1.0
LARGE_SHARE = 0.5
WAVES = 250  # of each; their sum is nearly Gaussian
BLOCK = 5000  # stars at a time, for memory


def sky_error(seed: int, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return a random field of zero mean and unit variance over the sky at positions [deg].

    It is a sum of plane waves in space, read on the unit sphere, whose wave vectors follow the spectra of an
    exponential and of a Gaussian covariance. A star's value depends on `seed` and its position alone.
    """
    rng = np.random.default_rng([seed, 6])
    direction = rng.normal(size=(2 * WAVES, 3))
    # Spectrum of exp(-r / s) in three dimensions: Student's t of one degree of freedom; of exp(-r^2 / 2 s^2): Gaussian.
    tail = np.concatenate([np.abs(rng.normal(size=WAVES)), np.ones(WAVES)])
    scale = np.deg2rad(np.repeat([LARGE_SCALE_DEG, SMALL_SCALE_DEG], WAVES))
    waves = direction / (scale * tail)[:, None]
    phase = rng.uniform(0, 2 * np.pi, 2 * WAVES)
    amplitude = np.sqrt(2 / WAVES * np.repeat([LARGE_SHARE, 1 - LARGE_SHARE], WAVES))
    ra, dec = np.deg2rad(np.asarray(ra, float)), np.deg2rad(np.asarray(dec, float))
    place = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    blocks = [place[k : k + BLOCK] for k in range(0, len(place), BLOCK)]
    return np.concatenate([np.cos(block @ waves.T + phase) @ amplitude for block in blocks])
