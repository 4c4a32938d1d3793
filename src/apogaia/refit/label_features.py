"""Features of the labels - Teff, log g, [Fe/H], [Mg/Fe] - beside those of the spectra.

Luminosities that are linear in principal components miss what is narrow: around the red clump they are wrong by some
per cent (docs/closure.md). Labels come from the same spectra, by a network or a pipeline that is not linear.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np

from apogaia.refit.splines import quantile_knots, spline_basis

__all__ = ["label_features"]

LARGEST_SIGMA = 4.0  # robust standard deviations; a label farther out counts as one there
# Highest order of the products of labels and coefficients of a spline of log g, the richest first
RICHNESS = ((3, 16), (2, 8), (1, 4))


def label_features(teff, log_g, fe_h, mg_fe, most: int) -> np.ndarray:
    """Products of the labels and a spline of log g, each with zero mean and unit variance.

    Stars without all four labels share one feature of their own, and have zero for all others before these are centred:
    their spectra alone tell their luminosities.

    Parameters
    ----------
    teff, log_g, fe_h, mg_fe
        (n,) Teff [K], log g, [Fe/H] and [Mg/Fe] [dex]; NaN where unknown.
    most
        Number of features at most: fewer products are made if need be.

    Returns
    -------
    ndarray
        (n, k), k at most `most`; none if no star has all labels.
    """
    labels = np.column_stack([np.asarray(values, float) for values in (teff, log_g, fe_h, mg_fe)])
    known = np.isfinite(labels).all(axis=1)
    found = np.zeros((len(labels), 0))
    if not known.any():
        return found
    for order, coefficients in RICHNESS:
        of_known = _of_known(labels[known], order, coefficients)
        if of_known.shape[1] < most:
            found = np.zeros((len(labels), of_known.shape[1] + 1))
            found[known, 1:], found[~known, 0] = of_known, 1.0
            break
    sd = found.std(axis=0)
    return (found - found.mean(axis=0))[:, sd > 0] / sd[sd > 0]


def _of_known(labels: np.ndarray, order: int, coefficients: int) -> np.ndarray:
    """The features of stars with all labels (m, 4)."""
    middle = np.median(labels, axis=0)
    spread = 1.4826 * np.median(np.abs(labels - middle), axis=0)
    scaled = np.clip((labels - middle) / np.where(spread > 0, spread, 1.0), -LARGEST_SIGMA, LARGEST_SIGMA)
    products = [
        scaled[:, chosen].prod(axis=1)
        for degree in range(1, order + 1)
        for chosen in map(list, combinations_with_replacement(range(labels.shape[1]), degree))
    ]
    log_g = scaled[:, 1]
    return np.column_stack([*products, spline_basis(log_g, quantile_knots(log_g, coefficients))])
