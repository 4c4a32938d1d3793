"""Agreement of distances with the zero point, and in a simulated survey with the truth."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from astropy import units as u
from astropy.table import Table

from apogaia.arguments.plain import Columns, any_unit
from apogaia.arguments.takes import takes
from apogaia.physics.luminosity import corrected_parallax, robust_scatter
from apogaia.survey import CutsSettings

__all__ = ["against_truth", "median_differences"]

BINS = 6  # even: half of those in SNR lie above the split
LEAST_STARS = 5  # a bin with fewer is left out
MEDIAN_ERROR = np.sqrt(np.pi / 2)  # of a Gaussian sample's median, in units of its mean's
QUANTITIES = {"snr": "snr", "g_mag": "phot_g_mean_mag", "logg": "logg"}  # quantity: column of the catalogue

_MAS = dict.fromkeys(("parallax", "zero_point", "nn_parallax"), u.mas)


@takes(catalogue=Columns({**_MAS, "snr": u.dimensionless_unscaled, "phot_g_mean_mag": u.mag, "logg": any_unit}))
def median_differences(catalogue: Table, cuts: CutsSettings) -> dict[str, list[dict]]:
    """Medians of Gaia's parallax minus zero point minus the network's parallax, in bins of SNR, G and log g.

    Where luminosities and zero point belong together, all are 0 within their errors, and there is no step at the split.

    Parameters
    ----------
    catalogue
        Rows of a catalogue (`apogaia.distances.catalogue`); those that did not calibrate the luminosities tell more.
    cuts
        For the SNR between test and training stars, which is an edge: half of the bins in SNR lie on either side.

    Returns
    -------
    dict
        For "snr", "g_mag" and "logg" a list of bins with as many stars each: low, high, middle (the median), stars,
        median_uas and its error_uas, from the scatter within the bin.
    """
    gaia = corrected_parallax(catalogue["parallax"], catalogue["zero_point"])
    difference = 1e3 * (gaia - np.asarray(catalogue["nn_parallax"], float))
    result = {}
    for quantity, column in QUANTITIES.items():
        values = np.asarray(catalogue[column], float)
        known = np.isfinite(values) & np.isfinite(difference)
        edges = _edges(values[known], cuts.snr_split if quantity == "snr" else None)
        result[quantity] = list(_bins(values[known], difference[known], edges))
    return result


@takes(
    catalogue=Columns(dict.fromkeys(("dist", "dist_error", "weighted_dist", "weighted_dist_error"), u.pc)), dist=u.pc
)
def against_truth(catalogue: Table, dist) -> dict[str, float]:
    """Compare rows of a catalogue with their true distances (n,) [pc].

    Returns
    -------
    dict
        Number of stars, robust scatter (Eq. 10) and median of the relative differences in per cent, share of stars
        within one error of the truth (0.683 if the errors are right), and median error in per cent; the same for
        weighted_dist.
    """
    result: dict[str, float] = {}
    for prefix, name in (("", "dist"), ("weighted_", "weighted_dist")):
        found, error = (np.asarray(catalogue[column], float) for column in (name, f"{name}_error"))
        off = found - dist
        known = np.isfinite(off) & np.isfinite(error)
        relative = 100 * off[known] / dist[known]
        result |= {
            f"{prefix}stars": int(known.sum()),
            f"{prefix}robust_scatter_percent": robust_scatter(relative),
            f"{prefix}median_offset_percent": _median(relative),
            f"{prefix}coverage_68": float(np.mean(np.abs(off[known]) < error[known])) if known.any() else np.nan,
            f"{prefix}median_error_percent": _median(100 * error[known] / found[known]),
        }
    return result


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else np.nan


def _edges(values: np.ndarray, split: float | None) -> np.ndarray:
    """Edges of bins with as many stars each, on both sides of a split that lies among them."""
    if not len(values):
        return np.empty(0)
    if split is None or not values.min() < split < values.max():
        return np.percentile(values, np.linspace(0, 100, BINS + 1))
    shares = np.linspace(0, 100, BINS // 2 + 1)
    below, above = (np.percentile(side, shares) for side in (values[values < split], values[values >= split]))
    return np.concatenate([below[:-1], [split], above[1:]])


def _bins(values: np.ndarray, difference: np.ndarray, edges: np.ndarray) -> Iterator[dict]:
    for low, high in itertools.pairwise(edges):
        inside = (values >= low) & ((values < high) | (high == edges[-1]))
        stars = int(inside.sum())
        if stars >= LEAST_STARS:
            yield {
                "low": float(low),
                "high": float(high),
                "middle": float(np.median(values[inside])),
                "stars": stars,
                "median_uas": float(np.median(difference[inside])),
                "error_uas": float(MEDIAN_ERROR * robust_scatter(difference[inside]) / np.sqrt(stars)),
            }
