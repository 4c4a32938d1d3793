"""Continuum normalisation in batches of 1,000 spectra, against numpy.polynomial.chebyshev star by star.

One core: NumPy's matrix library runs with one thread, in a separate process. Time on the core is processor time, so
other work on the machine does not count.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from numpy.polynomial import chebyshev

from benchmarks.measuring import Quantity, in_new_process, medians, seconds

QUANTITIES = (
    Quantity("core_ms_per_spectrum", "`spectra.apogee_continuum`, time on the core", "ms per spectrum", at_most=0.05),
    Quantity("ms_per_spectrum", "the same by the clock", "ms per spectrum"),
    Quantity("per_star_ms_per_spectrum", "chebfit and chebval per star and detector", "ms per spectrum"),
    Quantity("per_star_over_apogaia", "per star / apogaia, by the clock"),
    Quantity("largest_difference", "largest difference of the continua", "of the flux"),
)


ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}


def measure(quick: bool = False) -> dict:
    return in_new_process("continuum", *(["--quick"] if quick else []), environment=ONE_THREAD)


def measure_here(quick: bool) -> dict:
    """The same in this process, with the threads it has."""
    from apogaia.reduction.continuum import apogee_continuum
    from apogaia.survey import load_survey

    batch, compared, runs = (20, 4, 2) if quick else (1000, 100, 7)
    settings = load_survey("dr14").spectra
    flux, error, mask = random_spectra(batch)
    normalised, _ = apogee_continuum(flux, error, mask, settings=settings)  # fills the caches
    expected = per_star(flux[:compared], error[:compared], settings)
    good = (normalised[:compared] > 0) & (normalised[:compared] != 1)  # masked and clipped pixels are left out
    ratio = normalised[:compared] / expected
    results = []
    for _ in range(runs):
        start = time.process_time()
        clock = seconds(lambda: apogee_continuum(flux, error, mask, settings=settings)) / batch
        core = (time.process_time() - start) / batch
        star = seconds(lambda: per_star(flux[:compared], error[:compared], settings)) / compared
        results.append(
            {
                "core_ms_per_spectrum": 1e3 * core,
                "ms_per_spectrum": 1e3 * clock,
                "per_star_ms_per_spectrum": 1e3 * star,
                "per_star_over_apogaia": star / clock,
                "largest_difference": float(np.abs(ratio[good] - 1).max()),
            }
        )
    return {"batch": batch} | medians(results)


def random_spectra(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flux, error and mask (n, 8575) with a curved continuum, absorption and 2% bad pixels."""
    from apogaia.formats.pixel_grid import N_PIXELS_APSTAR

    rng = np.random.default_rng(0)
    shape, x = (n, N_PIXELS_APSTAR), np.linspace(-1, 1, N_PIXELS_APSTAR, dtype=np.float32)
    flux = 300 * (1 + 0.2 * x - 0.1 * x**2) * (1 - 0.3 * rng.random(shape, np.float32) ** 8)
    error = 2 + rng.random(shape, np.float32)
    mask = np.where(rng.random(shape, np.float32) < 0.02, 4096, 0).astype(np.int32)
    return flux.astype(np.float32), error, mask


def per_star(flux: np.ndarray, error: np.ndarray, settings) -> np.ndarray:
    """Flux over continuum by NumPy's Chebyshev fit, (n, 7514), no pixel set to 1."""
    from apogaia.formats.pixel_grid import DETECTORS, continuum_pixels, detector_slices

    chosen = continuum_pixels(settings.continuum_pixels)
    normalised = np.empty((len(flux), len(chosen)), np.float32)
    for i in range(len(flux)):
        for name, trimmed in detector_slices().items():
            y, e, used = flux[i, DETECTORS[name]], error[i, DETECTORS[name]], chosen[trimmed]
            x = np.linspace(-1, 1, len(y))
            fit = chebyshev.chebfit(x[used], y[used], settings.continuum_degree, w=e[used].astype(float) ** -2)
            normalised[i, trimmed] = y / chebyshev.chebval(x, fit)
    return normalised


if __name__ == "__main__":
    print(json.dumps(measure_here("--quick" in sys.argv)))
