"""Cubic interpolation of two tables on one three-dimensional regular grid, compiled: millions of points a second."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["MIN_NODES", "interpolate_cubic"]

MIN_NODES = 4  # a cubic passes through four nodes


def interpolate_cubic(axes, first, second, points) -> tuple[np.ndarray, np.ndarray]:
    """Both tables at some points: the product of the cubics through the four nearest nodes of each axis.

    The result is continuous, is exact for cubic functions, and errs by the fourth power of the distance of the nodes.

    Parameters
    ----------
    axes
        Three arrays of equally spaced, ascending nodes, at least `MIN_NODES` each.
    first, second
        The tables, (n1, n2, n3) each.
    points
        Three arrays of coordinates, (n,) each.

    Returns
    -------
    first, second
        (n,) each; NaN where a coordinate is NaN or outside the axes.
    """
    low = np.array([axis[0] for axis in axes], float)
    high = np.array([axis[-1] for axis in axes], float)
    step = (high - low) / (np.array(first.shape) - 1)
    columns = [np.ascontiguousarray(column, float) for column in points]
    tables = [np.ascontiguousarray(table, float) for table in (first, second)]
    out = np.empty((2, len(columns[0])))
    _interpolate(*columns, low, high, step, *tables, *out)
    return out[0], out[1]


@numba.njit(nogil=True, cache=True)
def _interpolate(x, y, z, low, high, step, first, second, first_out, second_out):  # pragma: no cover (compiled)
    weight_x, weight_y, weight_z = np.empty(4), np.empty(4), np.empty(4)
    for row in range(len(x)):
        inside = low[0] <= x[row] <= high[0] and low[1] <= y[row] <= high[1] and low[2] <= z[row] <= high[2]
        if not inside:  # NaN compares false
            first_out[row] = second_out[row] = np.nan
            continue
        i = _stencil((x[row] - low[0]) / step[0], first.shape[0], weight_x)
        j = _stencil((y[row] - low[1]) / step[1], first.shape[1], weight_y)
        k = _stencil((z[row] - low[2]) / step[2], first.shape[2], weight_z)
        first_sum = second_sum = 0.0
        for a in range(4):
            for b in range(4):
                weight = weight_x[a] * weight_y[b]
                first_line = second_line = 0.0
                for c in range(4):
                    first_line += weight_z[c] * first[i + a, j + b, k + c]
                    second_line += weight_z[c] * second[i + a, j + b, k + c]
                first_sum += weight * first_line
                second_sum += weight * second_line
        first_out[row], second_out[row] = first_sum, second_sum


@numba.njit(nogil=True, cache=True)
def _stencil(position, nodes, weight):  # pragma: no cover (compiled)
    """First of the four nodes around a position [nodes from the first]; fills Lagrange's four weights."""
    start = min(max(int(position) - 1, 0), nodes - 4)
    u = position - start
    weight[0] = -(u - 1) * (u - 2) * (u - 3) / 6
    weight[1] = u * (u - 2) * (u - 3) / 2
    weight[2] = -u * (u - 1) * (u - 3) / 2
    weight[3] = u * (u - 1) * (u - 2) / 6
    return start
