"""How often a model's error intervals contain the truth of a simulated survey."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from astropy.table import Table

from apogaia.model.error_calibration import Prediction
from apogaia.physics.luminosity import robust_scatter

__all__ = ["LEVELS", "coverage"]

BINS = 10  # of Ks, SNR, log g, Teff and distance, with as many stars each
LEVELS = {50: 0.6745, 68: 0.9945, 95: 1.96}  # per cent: half-width of a Gaussian's interval in standard deviations


def coverage(prediction: Prediction, table: Table, truth: Table) -> dict:
    """How often intervals of a stated level contain the truth, against Ks, SNR, log g, Teff and distance.

    Parameters
    ----------
    prediction
        Luminosities and errors of (n,) stars.
    table, truth
        Their rows of stars.h5 and of the truth.

    Returns
    -------
    dict
        For "fakemag", "parallax" and "distance": "all" and, per variable, a list of bins with low, high, stars, level:
        share of stars in per cent, median pull; and the histogram of the pulls. Also the robust scatter of distances
        of giants (log g < 3.6) per cent, in all and in bins of log g and SNR.
    """
    k0 = np.asarray(table["k0_mag"], float)
    factor = 10 ** (-0.2 * k0)
    parallax, relative = prediction.fakemag * factor, prediction.total_error / prediction.fakemag
    true_parallax = np.asarray(truth["parallax_true"], float)
    distance, true_distance = 1.0 / parallax, np.asarray(truth["distance_kpc"], float)
    pulls = {
        "fakemag": (prediction.fakemag - np.asarray(truth["fakemag_true"], float)) / prediction.total_error,
        "parallax": (parallax - true_parallax) / (relative * parallax),
        "distance": (distance - true_distance) / (relative * distance),
    }
    variables = {
        "k_mag": np.asarray(table["k_mag"], float),
        "snr": np.asarray(table["snr"], float),
        "logg": np.asarray(truth["logg"], float),
        "teff": np.asarray(truth["teff"], float),
        "distance_kpc": true_distance,
    }
    known = np.isfinite(pulls["distance"]) & np.isfinite(variables["k_mag"])
    result: dict = {"stars": int(known.sum())}
    edges = np.linspace(-5.0, 5.0, 41)
    for name, pull in pulls.items():
        result[name] = {"all": _covered(pull[known])} | {
            variable: [
                {"low": low, "high": high, **_covered(pull[inside])} for low, high, inside in _bins(values, known)
            ]
            for variable, values in variables.items()
        }
        counts, _ = np.histogram(np.clip(pull[known], -4.99, 4.99), edges)
        result[name]["pull_histogram"] = {"edges": edges, "counts": counts}
    giants = known & (variables["logg"] < 3.6)
    off = 100 * (distance / true_distance - 1)
    result["scatter_percent"] = {"giants": 100 * robust_scatter(distance[giants] / true_distance[giants])} | {
        variable: [
            {"low": low, "high": high, "scatter": robust_scatter(off[inside]), "median": float(np.median(off[inside]))}
            for low, high, inside in _bins(variables[variable], giants)
        ]
        for variable in ("logg", "snr", "k_mag")
    }
    result["median_offset_percent"] = float(np.median(off[known]))
    return result


def _bins(values, known) -> Iterator[tuple[float, float, np.ndarray]]:
    edges = np.percentile(values[known], np.linspace(0, 100, BINS + 1))
    for k, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = known & (values >= low) & ((values < high) | (k == BINS - 1))
        yield float(low), float(high), inside


def _covered(pull) -> dict:
    shares = {f"within_{level}": float(100 * np.mean(np.abs(pull) < z)) for level, z in LEVELS.items()}
    return {"stars": len(pull), **shares, "median_pull": float(np.median(pull))}
