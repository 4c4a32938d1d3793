"""Cubic B-splines and pieces of lines as columns of a linear model, constant beyond their outer knots."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import BSpline

__all__ = ["hat_basis", "quantile_knots", "spline_basis"]


def quantile_knots(values, coefficients: int) -> np.ndarray:
    """Knots (coefficients - 2,) with equal numbers of values between them, from percentile 0.5 to 99.5."""
    return np.percentile(values, np.linspace(0.5, 99.5, coefficients - 2))


def spline_basis(values, knots) -> np.ndarray:
    """Cubic B-splines (..., len(knots) + 2) of values (...): they sum to 1 and are constant beyond the outer knots."""
    values, knots = np.asarray(values, float), np.asarray(knots, float)
    full = np.concatenate([[knots[0]] * 3, knots, [knots[-1]] * 3])
    inside = np.clip(values, knots[0], knots[-1])
    return BSpline.design_matrix(inside.ravel(), full, 3).toarray().reshape(*inside.shape, -1)


def hat_basis(values, knots) -> np.ndarray:
    """Pieces of lines (n, knots) of values (n,): 1 at a knot, 0 at its neighbours; they sum to 1."""
    return np.column_stack([np.interp(values, knots, one) for one in np.eye(len(knots))])
