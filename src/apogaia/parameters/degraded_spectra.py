"""Bright stars' spectra made as noisy as faint ones: they tell how a network's errors grow as the SNR falls.

The labels that a survey gives to faint stars have errors of their own, often larger than the network's. A bright star's
spectrum with noise added needs no labels: its labels move by what the noise does.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from astropy import units as u
from astropy.stats import mad_std

from apogaia.arguments.takes import takes
from apogaia.refit.principal_components import principal_components

__all__ = ["degrade", "noise_profile", "target_snr"]

COMPONENTS, OVERSAMPLING = 30, 10  # of the spectra; lines too weak for them do not count beside the noise
MAX_SPECTRA = 4000  # of a half, evenly from all: more change little
MOST_TAKEN = 0.9  # of a pixel's noise: components of few spectra may take all of it


@takes(spectra=u.dimensionless_unscaled, snr=u.dimensionless_unscaled)
def noise_profile(spectra, snr, *, seed: int = 0) -> np.ndarray:
    """Standard deviation of each pixel's noise in units of 1 / SNR, from the fainter half of some stars.

    What the principal components of the brighter half leave of a faint spectrum is its noise. Sky lines and the
    detectors' edges are noisier than the SNR of a whole spectrum says. Not in a paper.

    Parameters
    ----------
    spectra
        (n, pixels) normalised spectra of two or more stars of many kinds.
    snr
        (n,) their signal-to-noise ratios; spectra without a positive one are left out.
    seed
        Of the randomised search for the spectra's components.

    Returns
    -------
    ndarray
        (pixels,); 0 for a pixel that is the same in all spectra.
    """
    snr = np.asarray(snr, float)
    known = np.flatnonzero(snr > 0)
    ordered = known[np.argsort(snr[known], kind="stable")]
    faint, bright = (np.sort(half) for half in np.array_split(ordered, 2))
    mean, components = _lines(spectra, bright, seed)
    rows = faint[:: ceil(len(faint) / MAX_SPECTRA)]
    left = np.asarray(spectra[rows], np.float32) - mean
    left = (left - left @ components @ components.T) * snr[rows, None].astype(np.float32)
    taken = np.minimum((components**2).sum(axis=1), MOST_TAKEN)  # of a pixel's noise, by the components themselves
    return mad_std(left, axis=0) / np.sqrt(1.0 - taken)


def _lines(spectra, bright: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (pixels,) and components (pixels, k) of the bright spectra, in which lines stand out of the noise."""
    chosen = np.asarray(spectra[bright[:: ceil(len(bright) / MAX_SPECTRA)]], np.float32)
    mean = chosen.mean(axis=0, dtype=np.float64).astype(np.float32)
    wanted = min(COMPONENTS, len(chosen) // 4)  # more of a few spectra would be noise
    rng = np.random.default_rng(seed)
    return mean, principal_components(chosen, mean, wanted, rng, oversampling=OVERSAMPLING)[0]


@takes(snr=u.dimensionless_unscaled, lowest=u.dimensionless_unscaled, highest=u.dimensionless_unscaled)
def target_snr(snr, lowest: float, highest: float, *, seed: int) -> np.ndarray:
    """SNRs (n,), drawn evenly in ln SNR between `lowest` and `highest`, none above the star's own `snr` (n,)."""
    drawn = np.exp(np.random.default_rng(seed).uniform(np.log(lowest), np.log(highest), len(snr)))
    return np.minimum(drawn, snr)


@takes(spectra=u.dimensionless_unscaled, snr=u.dimensionless_unscaled, target=u.dimensionless_unscaled)
def degrade(spectra, snr, target, profile: np.ndarray, *, seed: int) -> np.ndarray:
    """The same spectra with Gaussian noise added, which brings each from its own SNR down to another.

    Parameters
    ----------
    spectra
        (n, pixels) normalised spectra.
    snr, target
        (n,) their signal-to-noise ratios, and those wanted, none above.
    profile
        (pixels,) of `noise_profile`.
    seed
        Of the noise.

    Returns
    -------
    ndarray
        (n, pixels) float32.

    Raises
    ------
    ValueError
        If a wanted SNR is above the spectrum's own.
    """
    snr, target = np.asarray(snr, float), np.asarray(target, float)
    if (target > snr).any():
        raise ValueError("noise can be added to a spectrum, not taken away: the SNR wanted must not be above its own")
    added = np.sqrt(target**-2.0 - snr**-2.0)
    noise = np.random.default_rng(seed).standard_normal(np.shape(spectra), dtype=np.float32)
    return np.asarray(spectra, np.float32) + noise * profile.astype(np.float32) * added[:, None].astype(np.float32)
