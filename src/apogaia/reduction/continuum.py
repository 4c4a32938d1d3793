"""Continuum normalisation of APOGEE's combined spectra."""

from __future__ import annotations

import functools

import numpy as np
from numpy.polynomial import chebyshev

from apogaia.arguments.plain import any_unit, bit_mask
from apogaia.arguments.takes import takes
from apogaia.formats.apstar import ApStar, SpectrumError, Status, read_apstar
from apogaia.formats.pixel_grid import (
    DETECTORS,
    N_PIXELS,
    N_PIXELS_APSTAR,
    bitmask_boolean,
    continuum_pixels,
    detector_slices,
    element_window,
    gap_delete,
    wavelength_solution,
)
from apogaia.survey import SpectraSettings

__all__ = [
    "DETECTORS",
    "N_PIXELS",
    "N_PIXELS_APSTAR",
    "ApStar",
    "SpectrumError",
    "Status",
    "apogee_continuum",
    "bitmask_boolean",
    "continuum_pixels",
    "detector_slices",
    "element_window",
    "gap_delete",
    "read_apstar",
    "wavelength_solution",
]

_BLOCK = 32  # spectra normalised together: a detector's temporaries stay in the processor's cache


@functools.cache
def _detector_bases(name: str, degree: int) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]:
    """For each detector: its continuum pixels, the Chebyshev basis at these (c, k), and at all pixels (k, pixels)."""
    chosen = continuum_pixels(name)
    bases = []
    for detector in detector_slices().values():
        x = np.linspace(-1.0, 1.0, detector.stop - detector.start)
        pixels = np.flatnonzero(chosen[detector])
        bases.append((pixels, chebyshev.chebvander(x[pixels], degree), chebyshev.chebvander(x, degree).T))
    return tuple(bases)


def _fit(flux: np.ndarray, error: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Weighted least squares of each row of `flux` (n, c) on `basis` (c, k), with weights 1 / error^4: (n, k).

    Rows with fewer usable pixels than coefficients give NaN. The normal equations serve while they are well
    conditioned; the few rows whose weight rests on a handful of pixels go through a singular value decomposition.
    """
    k = basis.shape[1]
    usable = np.isfinite(flux) & (error > 0) & (error < np.inf)
    flux = np.where(usable, flux, 0.0)
    error = np.where(usable, error, np.inf)
    smallest = error.min(axis=1, keepdims=True, initial=np.inf)
    smallest[~np.isfinite(smallest)] = 1.0
    root_weight = np.square(smallest / error)  # only ratios of the weights count
    weight = np.square(root_weight)

    products = (basis[:, :, None] * basis[:, None, :]).reshape(-1, k * k)
    normal = (weight @ products).reshape(-1, k, k)
    right = (weight * flux) @ basis
    scale = np.sqrt(np.diagonal(normal, axis1=1, axis2=2))
    scale = np.where(scale > 0, scale, 1.0)
    normal /= scale[:, :, None] * scale[:, None, :]

    enough = np.count_nonzero(usable, axis=1) >= k
    well = enough & (np.linalg.det(normal) > 1e-6)
    coefficients = np.full((len(flux), k), np.nan)
    coefficients[well] = np.linalg.solve(normal[well], (right / scale)[well][..., None])[..., 0] / scale[well]
    for i in np.flatnonzero(enough & ~well):
        design = basis * root_weight[i][:, None]
        length = np.sqrt(np.square(design).sum(axis=0))
        length[length == 0] = 1.0
        rcond = len(design) * np.finfo(float).eps
        coefficients[i] = np.linalg.lstsq(design / length, flux[i] * root_weight[i], rcond=rcond)[0] / length
    return coefficients


@takes(flux=any_unit, error="flux", mask=bit_mask)
def apogee_continuum(
    flux: np.ndarray, error: np.ndarray, mask: np.ndarray, *, settings: SpectraSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Divide spectra by their pseudo-continuum and set bad pixels to it, whole batches at once.

    Per detector a Chebyshev polynomial goes through the continuum pixels, masked ones included, with weights
    1 / error^4 (what the paper's spectra were made with: a fit that squares its weights was given 1 / error^2). Then
    negative flux becomes 0; non-finite, masked, and clipped pixels become 1 (Leung & Bovy 2019b, section 3.1).

    Parameters
    ----------
    flux, error
        (n, 8575) or (8575,), or already trimmed to 7514 pixels; in any unit, the same for both.
    mask
        APOGEE_PIXMASK, integers of the same shape.
    settings
        The survey's section ``spectra``: set of continuum pixels, degree, masked bits, clipping.

    Returns
    -------
    flux, error
        Normalised, float32, (n, 7514) or (7514,). A spectrum whose continuum is not positive throughout, or cannot be
        fitted, is NaN in both.
    """
    single = np.ndim(flux) == 1
    flux, error = (np.atleast_2d(np.asarray(array, dtype=np.float32)) for array in (flux, error))
    mask = np.atleast_2d(mask)
    if not flux.shape == error.shape == mask.shape or flux.shape[-1] not in (N_PIXELS, N_PIXELS_APSTAR):
        raise ValueError(
            f"flux, error and mask must share a shape of {N_PIXELS_APSTAR} or {N_PIXELS} pixels, "
            f"not {flux.shape}, {error.shape}, {mask.shape}"
        )
    trimmed = detector_slices()
    sources = trimmed if flux.shape[-1] == N_PIXELS else DETECTORS
    limit = np.float32(min(settings.max_abs_flux, float(np.finfo(np.float32).max)))
    normalised, normalised_error = np.empty((2, len(flux), N_PIXELS), dtype=np.float32)
    positive = np.ones(len(flux), dtype=bool)

    bases = _detector_bases(settings.continuum_pixels, settings.continuum_degree)
    for name, (pixels, basis, basis_everywhere) in zip(DETECTORS, bases, strict=True):
        at = pixels + sources[name].start
        with np.errstate(invalid="ignore"):  # a file may hold signalling NaNs
            chosen = flux[:, at].astype(float), error[:, at].astype(float)
        coefficients = _fit(*chosen, basis)
        # a continuum beyond single precision would be infinite, hence positive; NaN, where there is none, fails, too
        held = np.abs(coefficients).sum(axis=1) < np.finfo(np.float32).max
        positive &= held
        coefficients = np.where(held[:, None], coefficients, np.nan).astype(np.float32)
        basis_everywhere = basis_everywhere.astype(np.float32)
        for start in range(0, len(flux), _BLOCK):
            rows = slice(start, start + _BLOCK)
            continuum = coefficients[rows] @ basis_everywhere
            positive[rows] &= continuum.min(axis=1) > 0
            out = normalised[rows, trimmed[name]]
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                np.divide(flux[rows, sources[name]], continuum, out=out)
                np.divide(error[rows, sources[name]], continuum, out=normalised_error[rows, trimmed[name]])
            np.maximum(out, 0, out=out)
            bad = ~(out <= limit)  # true for NaN, too
            bad |= bitmask_boolean(mask[rows, sources[name]], settings.masked_bits)
            np.copyto(out, np.float32(1), where=bad)
    normalised[~positive] = np.nan
    normalised_error[~positive] = np.nan
    return (normalised[0], normalised_error[0]) if single else (normalised, normalised_error)
