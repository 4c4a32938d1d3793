"""The zero point's posterior on a regular grid of G, BP-RP and Teff: millions of stars a second.

The grid is interpolated by cubics in compiled code. SciPy's interpolators take at least four times as long,
which would make them the slowest step from table to table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np
from astropy import units as u

from apogaia.arguments.plain import any_unit, each
from apogaia.arguments.takes import takes
from apogaia.zero_point.offset_posterior import OffsetPosterior

__all__ = ["ZeroPointSurface", "interpolate_cubic", "tabulate", "zero_point_surface"]


@dataclass(frozen=True)
class ZeroPointSurface:
    """The zero point and its uncertainty on a regular grid of G, BP-RP and Teff: for tables of any length."""

    axes: tuple[np.ndarray, np.ndarray, np.ndarray]  # G [mag], BP-RP [mag], Teff [K]; equally spaced, 4 nodes at least
    value: np.ndarray  # mas, at every node
    error: np.ndarray  # mas
    interpolation_error: float = np.nan  # mas: largest difference of value or error from the network, as measured

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Lowest and highest G, BP-RP and Teff."""
        return tuple((float(axis[0]), float(axis[-1])) for axis in self.axes)

    @takes(g_mag=u.mag, bp_rp=u.mag, teff=u.K)
    def at(self, g_mag, bp_rp, teff):
        """Value and error [mas] by cubic interpolation; NaN where an input is unknown or outside the grid."""
        points = np.broadcast_arrays(*(np.asarray(column, float) for column in (g_mag, bp_rp, teff)))
        value, error = interpolate_cubic(self.axes, self.value, self.error, [column.ravel() for column in points])
        return value.reshape(points[0].shape), error.reshape(points[0].shape)


@takes(g_mag=u.mag, bp_rp=u.mag, teff=u.K)
def zero_point_surface(model, g_mag, bp_rp, teff, *, draws: int, seed: int, nodes: int = 33) -> ZeroPointSurface:
    """Tabulate the zero point's posterior: the values of `zero_point`, some hundred times faster for a large table.

    For the 139,847,389 stars of section 4, call ``surface.at`` on one piece of the table after another;
    `apogaia.zero_point.gaia_tables` does that for files.

    Parameters
    ----------
    model
        Joint model with the offset "multivariate".
    g_mag, bp_rp, teff
        Lowest and highest value of each axis: the range of the training set, beyond which nothing is calibrated.
    draws, seed
        As for `zero_point`.
    nodes
        Number of nodes along each axis, at least 4.
    """
    ranges = (g_mag, bp_rp, teff)
    return tabulate(OffsetPosterior.from_model(model, draws=draws, seed=seed, ranges=ranges), nodes)


def tabulate(posterior: OffsetPosterior, nodes: int) -> ZeroPointSurface:
    """Evaluate the posterior on a grid over its ranges, and measure the interpolation's error all over the grid."""
    g_mag, bp_rp, teff = (np.linspace(low, high, nodes) for low, high in posterior.ranges)
    axes = g_mag, bp_rp, teff
    grids = np.meshgrid(*axes, indexing="ij")
    value, error = (table.reshape(grids[0].shape) for table in posterior.at(*(grid.ravel() for grid in grids)))
    low, high = np.transpose(posterior.ranges)
    surface = ZeroPointSurface(axes, value, error)
    points = np.random.default_rng(0).uniform(low, high, (4096, 3)).T
    difference = np.abs(np.subtract(surface.at(*points), posterior.at(*points))).max()
    return replace(surface, interpolation_error=float(difference))


@takes(axes=each(any_unit), first=any_unit, second="first", points=each(any_unit))
def interpolate_cubic(axes, first, second, points) -> tuple[np.ndarray, np.ndarray]:
    """Both tables at some points: the product of the cubics through the four nearest nodes of each axis.

    The result is continuous, is exact for cubic functions, and errs by the fourth power of the distance of the nodes.

    Parameters
    ----------
    axes
        Three arrays of equally spaced, ascending nodes, at least four each.
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
    x, y, z = (np.ascontiguousarray(column, float) for column in points)
    tables = np.ascontiguousarray(first, float), np.ascontiguousarray(second, float)
    results = np.empty(len(x)), np.empty(len(x))
    _interpolate((x, y, z), (low, high, step), tables, results)
    return results


@numba.njit(nogil=True, cache=True)
def _interpolate(points, grid, tables, results):  # pragma: no cover (compiled)
    """Fill both results (n,) with the tables' values at the points; the grid is (low, high, step), (3,) each."""
    x, y, z = points
    low, high, step = grid
    first, second = tables
    first_result, second_result = results
    weight_x, weight_y, weight_z = np.empty(4), np.empty(4), np.empty(4)
    for row in range(len(x)):
        inside = low[0] <= x[row] <= high[0] and low[1] <= y[row] <= high[1] and low[2] <= z[row] <= high[2]
        if not inside:  # NaN compares false
            first_result[row] = second_result[row] = np.nan
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
        first_result[row], second_result[row] = first_sum, second_sum


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
