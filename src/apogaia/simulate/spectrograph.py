"""From a synthetic spectrum to the content of apStar files: flux, error and bit mask of visits and combinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import median_filter

from apogaia.formats.pixel_grid import (
    LOG10_WAVELENGTH_START,
    LOG10_WAVELENGTH_STEP,
    N_PIXELS_APSTAR,
    wavelength_solution,
)

__all__ = ["ILLUMINATED", "PIXMASK_BITS", "Observation", "observe"]

WAVELENGTH = wavelength_solution()  # vacuum Angstrom
KM_S_PER_PIXEL = LOG10_WAVELENGTH_STEP * np.log(10) * 299_792.458
STEEPNESS = (WAVELENGTH / 16000.0) ** -5  # of Planck's law
ABSORPTION_LAW = (WAVELENGTH / 16600.0) ** -1.6  # relative to A_H
BAD_ERROR = 1e10
MARGIN = 300  # pixels; shifts stay below

# Illuminated pixels of the blue, green and red detectors in the observer's frame, as in real files. They reach farther
# than `pixel_grid.DETECTORS`, the part of each detector that the analysis keeps.
ILLUMINATED = ((212, 3302), (3553, 6105), (6307, 8362))

PIXMASK_BITS = {
    "BADPIX": 0,
    "CRPIX": 1,
    "BADDARK": 4,
    "BADFLAT": 5,
    "LITTROW_GHOST": 8,
    "PERSIST_HIGH": 9,
    "PERSIST_MED": 10,
    "PERSIST_LOW": 11,
    "SIG_SKYLINE": 12,
    "SIG_TELLURIC": 13,
    "NOT_ENOUGH_PSF": 14,
}

DR17_ERROR_FACTORS = {
    "PERSIST_HIGH": 5**0.5,
    "PERSIST_MED": 2.0,
    "PERSIST_LOW": 3**0.5,
    "SIG_SKYLINE": 10.0,
}  # a pixel has one degree of persistence

# OH lines of the night sky, vacuum Angstrom and relative strength (after Rousselot et al. 2000).
SKY_LINES = np.array(
    [
        (15187.14, 0.8), (15240.95, 1.0), (15287.78, 0.8), (15332.40, 0.9), (15395.33, 0.4), (15432.16, 0.8),
        (15500.00, 0.2), (15509.77, 0.2), (15540.00, 0.6), (15546.14, 0.4), (15570.16, 0.6), (15597.63, 0.4),
        (15631.44, 0.4), (15655.49, 0.5), (15702.54, 0.5), (15759.00, 0.15), (15833.10, 0.3), (15848.06, 0.3),
        (15869.28, 0.4), (15972.60, 0.8), (16030.83, 0.9), (16079.75, 0.8), (16128.61, 0.9), (16194.62, 0.5),
        (16235.38, 0.9), (16302.20, 0.4), (16317.16, 0.7), (16341.48, 0.4), (16350.65, 0.6), (16360.39, 0.5),
        (16388.49, 0.7), (16414.74, 0.4), (16442.16, 0.6), (16447.62, 0.3), (16477.85, 0.3), (16502.37, 0.6),
        (16586.43, 0.2), (16689.20, 0.4), (16692.38, 0.5), (16701.05, 0.4), (16708.86, 0.6), (16732.48, 0.4),
        (16840.48, 0.7), (16903.68, 0.6), (16955.08, 0.5),
    ]
)  # fmt: skip
SKY_PIXEL = (np.log10(SKY_LINES[:, 0]) - LOG10_WAVELENGTH_START) / LOG10_WAVELENGTH_STEP
# Bands of carbon dioxide, methane and water where the telluric correction leaves its mark, in pixels.
TELLURIC_BANDS = ((1720, 1790), (2560, 2640), (3650, 3710), (4890, 4960), (7920, 7990))


@dataclass(frozen=True)
class Observation:
    """Arrays of one apStar file.

    `flux` and `error` [1e-17 erg/s/cm2/A] and `mask` (APOGEE_PIXMASK bits, int16) have shape (2 + n_visits, 8575):
    the combination with pixel weights, that with global weights, then the visits. A star of one visit has (8575,) in
    DR14; (2, 8575) with a second row of zeros in DR17; (1, 8575) in DR19.
    """

    flux: np.ndarray
    error: np.ndarray
    mask: np.ndarray
    row: int  # that the analysis uses

    def combined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return flux, error and mask, (8575,) each, of the spectrum that the analysis uses."""
        row = (self.row,) if self.flux.ndim == 2 else ()
        return self.flux[row], self.error[row], self.mask[row]


def observe(rng: np.random.Generator, synthetic: np.ndarray, star: Mapping) -> Observation:
    """Observe one star.

    Parameters
    ----------
    synthetic
        (8575,) continuum-normalised flux in the star's frame, with interstellar bands.
    star
        Mapping with ``n_visits``, ``visit_snr``, ``visit_v_helio``, ``visit_bc``, ``visit_fibre``, ``h_true_mag``,
        ``teff``, ``a_k_true_mag`` and ``persistence``, and ``apstar_layout``, the release that it follows.
    """
    n_visits = int(star["n_visits"])
    continuum = _continuum(rng, star)
    spectrum = synthetic * continuum
    bad_columns = _bad_columns(int(star["visit_fibre"][0]))
    poisson = continuum * np.sqrt(np.clip(synthetic, 0.2, 1.0))
    visits = [_visit(rng, spectrum, continuum, poisson, star, visit, bad_columns) for visit in range(n_visits)]
    flux, error, mask = (np.stack(parts) for parts in zip(*visits, strict=True))
    if star["apstar_layout"] != "dr14":
        return _combine_dr17(flux, error, mask, continuum, blank_row=star["apstar_layout"] == "dr17")
    if n_visits == 1:
        return Observation(flux[0].astype(np.float32), error[0].astype(np.float32), mask[0].astype(np.int16), 0)
    return _combine(flux, error, mask, np.asarray(star["visit_snr"][:n_visits]) ** 2)


def _continuum(rng: np.random.Generator, star: Mapping) -> np.ndarray:
    """Return the star's continuum as observed and calibrated: a reddened Planck curve, made wavy."""
    h_flux = 1.133e-10 * 10 ** (-0.4 * star["h_true_mag"]) / 1e-17  # Cohen et al. (2003): flux of H = 0
    x = 1.4388e8 / (WAVELENGTH * star["teff"])
    planck = STEEPNESS / np.expm1(x)
    reddening = np.exp(-0.4 * np.log(10) * 1.55 * star["a_k_true_mag"] * ABSORPTION_LAW)
    smooth = planck * reddening
    smooth *= h_flux / np.median(smooth)
    wavy = np.ones(N_PIXELS_APSTAR)
    for first, last in ILLUMINATED:
        part = slice(max(first - 60, 0), min(last + 60, N_PIXELS_APSTAR))
        t = np.linspace(-1.0, 1.0, part.stop - part.start)
        slope, curve, step = rng.normal(0, [0.025, 0.012, 0.012])
        ripple = 0.003 * rng.normal() * np.sin(2 * np.pi * (t * rng.uniform(0.8, 1.6) + rng.random()))
        blaze = 1.0 - 0.02 * np.abs(t) ** 6
        wavy[part] = (1 + step + slope * t + curve * (2 * t**2 - 1) + ripple) * blaze
    return smooth * wavy


def _bad_columns(fibre: int) -> list[tuple[int, int, int]]:
    """Return first pixel, width and bit of a fibre's bad detector columns, the same in every exposure."""
    rng = np.random.default_rng([8575, fibre])  # a seed like any other, not the number of pixels
    columns = rng.integers(220, 8350, rng.poisson(14))
    widths = rng.integers(1, 5, len(columns))
    kinds = rng.choice([PIXMASK_BITS["BADDARK"], PIXMASK_BITS["BADFLAT"]], len(columns))
    return list(zip(columns, widths, kinds, strict=True))


@cache
def _detectors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return error profile, mask bits and unilluminated pixels of the detectors, with a margin for shifts."""
    pixel = np.arange(-MARGIN, N_PIXELS_APSTAR + MARGIN)
    relative = np.ones(len(pixel))
    mask = np.zeros(len(pixel), np.int32)
    outside = np.ones(len(pixel), bool)
    for k, (first, last) in enumerate(ILLUMINATED):
        on = (pixel >= first) & (pixel < last)
        outside[on] = False
        t = (pixel[on] - (first + last) / 2) / ((last - first) / 2)
        # Photons per pixel fall to the edges, and to the red end.
        relative[on] = 1 + 0.10 * t**2 + 0.15 * t**8 + (0.22 * (t + 1) if k == 2 else 0.0)
        edge = on & ((pixel < first + 14) | (pixel >= last - 14))
        mask[edge] |= 1 << PIXMASK_BITS["NOT_ENOUGH_PSF"]
        relative[edge] *= 2.5
    relative /= np.median(relative[~outside])
    for first, last in TELLURIC_BANDS:
        mask[MARGIN + first : MARGIN + last] |= 1 << PIXMASK_BITS["SIG_TELLURIC"]
    mask[outside] = 1 << PIXMASK_BITS["BADPIX"]
    return relative, mask, outside


def _visit(
    rng: np.random.Generator,
    spectrum: np.ndarray,
    continuum: np.ndarray,
    poisson: np.ndarray,
    star: Mapping,
    visit: int,
    bad_columns: Sequence[tuple[int, int, int]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one visit in the star's rest frame: what is fixed to the detector moves by the star's velocity."""
    velocity = star["visit_v_helio"][visit] - star["visit_bc"][visit]
    shift = round(float(np.clip(velocity, -900, 900)) / KM_S_PER_PIXEL)
    snr = star["visit_snr"][visit]
    relative, mask, outside = (part[MARGIN + shift : MARGIN + shift + N_PIXELS_APSTAR] for part in _detectors())
    mask = mask.copy()
    # SNR is the median of flux over error, so the lines' lower flux counts.
    error = (0.95 / snr) * relative * poisson
    residual = np.zeros(N_PIXELS_APSTAR)
    _sky(rng, shift, snr, continuum, error, residual, mask)
    for (first, last), depth in zip(TELLURIC_BANDS, 0.006 * rng.normal(size=len(TELLURIC_BANDS)), strict=True):
        band = slice(first - shift, last - shift)
        residual[band] += depth * continuum[band] * np.hanning(last - first)
        error[band] = np.hypot(error[band], 0.004 * continuum[band])
    bad_runs = [np.arange(column - shift, column - shift + width) for column, width, _ in bad_columns]
    for rows, (_, _, kind) in zip(bad_runs, bad_columns, strict=True):
        mask[rows[(rows >= 0) & (rows < N_PIXELS_APSTAR)]] |= (1 << int(kind)) | 1
    hits = rng.integers(220, 8350, rng.poisson(3))
    mask[hits] |= (1 << PIXMASK_BITS["CRPIX"]) | 1
    residual[hits] += continuum[hits] * rng.exponential(0.4, len(hits))
    bad = np.concatenate([*bad_runs, hits])
    bad = bad[(bad >= 0) & (bad < N_PIXELS_APSTAR)]
    ghost = 1040 - shift + rng.integers(-5, 6)
    mask[ghost : ghost + 50] |= 1 << PIXMASK_BITS["LITTROW_GHOST"]
    if star["persistence"]:
        _persistence(rng, int(star["persistence"]), shift, continuum, error, residual, mask)
    flux = rng.standard_normal(N_PIXELS_APSTAR, dtype=np.float32) * error
    flux += spectrum
    flux += residual
    # Interpolated over, and wrong: the mask knows, the error does not.
    flux[bad] += 0.2 * continuum[bad] * rng.normal(size=len(bad))
    flux[outside] = 0.0
    error[outside] = BAD_ERROR
    mask[outside] = 1 << PIXMASK_BITS["BADPIX"]
    return flux, error, mask


def _sky(rng, shift, snr, continuum, error, residual, mask):
    """Add residuals and large errors of sky lines; the fainter the star, the more of a line's width matters."""
    night = np.exp(0.4 * rng.normal())
    # Of the continuum's error, at the line's centre: more if faint.
    excess = np.minimum(SKY_LINES[:, 1] * night * 600.0 / snr**1.5, 3.0)
    half = np.clip(3 + 2 * np.log1p(40 * excess), 2, 10).astype(int)
    step = np.arange(-10, 11)
    pixel = np.round(SKY_PIXEL).astype(int)[:, None] - shift + step
    within = (np.abs(step) <= half[:, None]) & (pixel >= 0) & (pixel < N_PIXELS_APSTAR)
    line = np.nonzero(within)[0]
    pixel = pixel[within]
    strength = (excess[:, None] * np.exp(-0.5 * (step / 2.0) ** 2))[within]
    np.multiply.at(error, pixel, 1 + 8 * strength)
    np.add.at(residual, pixel, 3 * rng.normal(size=len(SKY_PIXEL))[line] * strength * continuum[pixel] / snr)
    mask[pixel] |= 1 << PIXMASK_BITS["SIG_SKYLINE"]


def _persistence(rng, degree, shift, continuum, error, residual, mask):
    """Add light left from earlier exposures in the blue detector's upper part."""
    bit = {1: "PERSIST_LOW", 2: "PERSIST_MED", 3: "PERSIST_HIGH"}[degree]
    a, b = max(ILLUMINATED[0][0] - shift, 0), max(ILLUMINATED[0][1] - shift, 0)
    mask[a:b] |= 1 << PIXMASK_BITS[bit]
    level = {1: 0.005, 2: 0.015, 3: 0.05}[degree] * rng.exponential()
    residual[a:b] += level * np.median(continuum) * np.linspace(0.3, 1.0, b - a)
    error[a:b] *= 1 + 0.06 * degree


def _is_bad(error: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return which pixels of visits are known to be wrong: by their mask, or because they saw no light."""
    return (error >= BAD_ERROR) | (mask & (1 << PIXMASK_BITS["BADPIX"]) != 0)


def _combine(flux: np.ndarray, error: np.ndarray, mask: np.ndarray, weights: np.ndarray) -> Observation:
    """Return the visits below the two combinations, with weights per pixel and per visit, as up to DR16."""
    usable = ~_is_bad(error, mask)
    any_usable = usable.any(axis=0)
    inside = (flux != 0).any(axis=0)
    inverse = np.where(usable, error, np.inf) ** -2.0
    total = inverse.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        pixel_flux = np.where(any_usable, (flux * inverse).sum(axis=0) / total, 0.0)
        pixel_error = np.where(any_usable, total**-0.5, BAD_ERROR)
        global_weight = np.where(flux != 0, weights[:, None], 0.0)
        summed = global_weight.sum(axis=0)
        global_flux = np.where(inside, (flux * global_weight).sum(axis=0) / summed, 0.0)
        # A pixel that is bad in one visit still counts there, with a generous error of its own.
        finite = np.where(usable, error, 0.3 * np.abs(flux))
        global_error = np.where(inside, np.sqrt(((finite * global_weight) ** 2).sum(axis=0)) / summed, BAD_ERROR)
    joined_or = np.bitwise_or.reduce(mask, axis=0)
    joined_and = np.bitwise_and.reduce(mask, axis=0)
    # The pipeline raises the errors of pixels on sky lines in the combinations a hundredfold; bad everywhere is bad.
    sky = 1 << PIXMASK_BITS["SIG_SKYLINE"]
    pixel_error = np.where((joined_or & sky != 0) & any_usable, 100 * pixel_error, pixel_error)
    global_error = np.where((joined_and & sky != 0) & inside, 100 * global_error, global_error)
    global_error = np.where(any_usable, global_error, BAD_ERROR)
    flux = np.concatenate([[pixel_flux, global_flux], flux])
    error = np.minimum(np.concatenate([[pixel_error, global_error], error]), BAD_ERROR)
    mask = np.concatenate([[joined_or, joined_and], mask])
    return Observation(flux.astype(np.float32), error.astype(np.float32), mask.astype(np.int16), 1)


def _combine_dr17(
    flux: np.ndarray, error: np.ndarray, mask: np.ndarray, continuum: np.ndarray, *, blank_row: bool
) -> Observation:
    """Return the visits below the two combinations as the pipeline writes them from DR17 on (sdss/apogee, rv.py).

    A bad pixel is replaced by the smoothed spectrum, with an error as large. Errors grow tenfold on sky lines, and by
    persistence. Where a visit has no light the combinations are NaN with an error of zero. Row 1 has smoothed errors
    and no mask.

    Parameters
    ----------
    flux, error, mask
        (n_visits, 8575) of the visits.
    continuum
        (8575,) smooth spectrum.
    blank_row
        Whether a star of one visit has a second row, of zeros.
    """
    lit = flux != 0
    bad = lit & _is_bad(error, mask)
    flux, error = np.where(bad, continuum, flux), np.where(bad, continuum, error)
    error, mask = np.where(lit, error, 0.0), np.where(lit, mask, 0)
    for bit, factor in DR17_ERROR_FACTORS.items():
        error = np.where(mask & (1 << PIXMASK_BITS[bit]) != 0, factor * error, error)
    first = _weighted_mean(flux, error)
    if len(flux) == 1:
        below = [np.zeros(N_PIXELS_APSTAR)] if blank_row else []
        combined = [np.stack([part, *below]) for part in (*first, mask[0])]
    else:
        smoothed = median_filter(error, (1, 100), mode="reflect")
        second = _weighted_mean(flux, smoothed)
        rows_of_mask = [np.bitwise_and.reduce(mask, axis=0), np.zeros(N_PIXELS_APSTAR, mask.dtype)]
        combined = [
            np.concatenate([[first[0], second[0]], flux]),
            np.concatenate([[first[1], second[1]], error]),
            np.concatenate([rows_of_mask, mask]),
        ]
    return Observation(combined[0].astype(np.float32), combined[1].astype(np.float32), combined[2].astype(np.int16), 0)


def _weighted_mean(flux: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the visits with weights 1 / error^2, and its error; NaN and 0 where an error is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = error**-2.0
        total = weight.sum(axis=0)
        return (flux * weight).sum(axis=0) / total, total**-0.5
