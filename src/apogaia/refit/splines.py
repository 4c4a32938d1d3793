"""Cubic B-splines as columns of a linear model, constant beyond their outer knots."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import BSpline

__all__ = ["quantile_knots", "spline_basis"]


def quantile_knots(values, coefficients: int) -> np.ndarray:
    """(coefficients - 2,) knots with as many of the values between any two, from percentile 0.5 to 99.5."""
    return np.percentile(values, np.linspace(0.5, 99.5, coefficients - 2))


def spline_basis(values, knots) -> np.ndarray:
    """(...) values -> (..., len(knots) + 2) cubic B-splines, which sum to 1; beyond the knots, those of the nearest."""
    values, knots = np.asarray(values, float), np.asarray(knots, float)
    full = np.concatenate([[knots[0]] * 3, knots, [knots[-1]] * 3])
    inside = np.clip(values, knots[0], knots[-1])
    return BSpline.design_matrix(inside.ravel(), full, 3).toarray().reshape(*inside.shape, -1)
