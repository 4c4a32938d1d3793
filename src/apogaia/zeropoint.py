"""The Gaia parallax zero point: its posterior from the offset network, summaries, and what others found.

Sign: zero point = Gaia parallax minus true parallax, which is negative; corrected parallax = parallax - zero point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import RegularGridInterpolator

__all__ = [
    "LITERATURE",
    "PAPER_SUMMARIES",
    "LiteratureZeroPoint",
    "QuadraticSummary",
    "ZeroPoint",
    "ZeroPointSurface",
    "constant_zero_point",
    "inverse_variance_mean",
    "quadratic_summary",
    "zero_point",
    "zero_point_surface",
]


@dataclass(frozen=True)
class ZeroPoint:
    """A constant zero point and its standard error [mas]."""

    value: float
    error: float

    def in_uas(self) -> dict:
        """As written to the results: micro-arcseconds."""
        return {"value_uas": 1000 * self.value, "error_uas": 1000 * self.error}


def constant_zero_point(model, *, draws: int, seed: int) -> ZeroPoint:
    """Mean and standard deviation over dropout draws of the constant offset (section 4).

    Parameters
    ----------
    model
        Joint model with the offset "constant".
    draws, seed
        Number of dropout draws and the seed of the dropout.
    """
    offsets = _offset_draws(model, None, draws=draws, seed=seed)
    # every star has the same offset, so that any further rows of a draw are the same value
    per_draw = np.asarray(offsets, dtype=float).reshape(draws, -1)[:, 0]
    return ZeroPoint(float(per_draw.mean()), float(per_draw.std()))


def zero_point(model, g_mag, bp_rp, teff, *, draws: int, seed: int, chunk: int = 10_000):
    """Zero point and its uncertainty for any Gaia sources: mean and sd over dropout draws of the offset (section 4).

    Parameters
    ----------
    model
        Joint model with the offset "multivariate".
    g_mag, bp_rp, teff
        Gaia's G [mag] and BP-RP [mag], effective temperature [K]; each (n,).
    draws, seed
        Number of dropout draws and the seed of the dropout.
    chunk
        Sources at a time: memory grows with ``draws * chunk``. Chunks have seeds of their own, so that for one seed
        the result depends, within the draws' noise, on this number.

    Returns
    -------
    value, error
        Each (n,), in mas; NaN where an input is unknown.

    Raises
    ------
    ValueError
        If the inputs are not of one length.
    """
    inputs = [np.atleast_1d(np.asarray(column, dtype=float)) for column in (g_mag, bp_rp, teff)]
    if len({column.shape for column in inputs}) > 1 or inputs[0].ndim != 1:
        raise ValueError(f"g_mag, bp_rp and teff differ in shape: {[column.shape for column in inputs]}")
    value, error = np.full((2, len(inputs[0])), np.nan)
    known = np.flatnonzero(np.all(np.isfinite(inputs), axis=0))
    seeds = np.random.SeedSequence(seed).generate_state(max(1, -(-len(known) // chunk)))
    for chunk_seed, start in zip(seeds, range(0, len(known), chunk), strict=False):
        rows = known[start : start + chunk]
        named = dict(zip(("g_mag", "bp_rp", "teff"), (column[rows] for column in inputs), strict=True))
        offsets = np.asarray(_offset_draws(model, named, draws=draws, seed=int(chunk_seed)), dtype=float)
        value[rows], error[rows] = offsets.mean(axis=0), offsets.std(axis=0)
    return value, error


@dataclass(frozen=True)
class ZeroPointSurface:
    """The zero point and its uncertainty on a regular grid of G, BP-RP and Teff: for tables of any length."""

    axes: tuple[np.ndarray, np.ndarray, np.ndarray]  # G [mag], BP-RP [mag], Teff [K]
    value: np.ndarray  # mas, at every node
    error: np.ndarray  # mas

    def at(self, g_mag, bp_rp, teff):
        """Value and error [mas] by linear interpolation; NaN where an input is unknown or outside the grid."""
        points = np.stack(np.broadcast_arrays(g_mag, bp_rp, teff), axis=-1).astype(float)
        known = np.all(np.isfinite(points), axis=-1)
        result = np.full((*known.shape, 2), np.nan)
        posterior = np.stack([self.value, self.error], axis=-1)
        result[known] = RegularGridInterpolator(self.axes, posterior, bounds_error=False)(points[known])
        return result[..., 0], result[..., 1]


def zero_point_surface(model, g_mag, bp_rp, teff, *, draws: int, seed: int, nodes: int = 33) -> ZeroPointSurface:
    """The zero point's posterior on a grid: what `zero_point` gives, about 1000 times as fast for a large table.

    The surface is smooth, so that a grid loses nothing next to the noise of the draws. For the 139,847,389 stars of
    section 4, call ``surface.at`` on one piece of the table after the other.

    Parameters
    ----------
    model
        Joint model with the offset "multivariate".
    g_mag, bp_rp, teff
        Lowest and highest value of each axis: the range of the training set, beyond which nothing is calibrated.
    draws, seed
        As for `zero_point`.
    nodes
        Number of nodes along each axis.
    """
    axes = tuple(np.linspace(low, high, nodes) for low, high in (g_mag, bp_rp, teff))
    grids = np.meshgrid(*axes, indexing="ij")
    value, error = zero_point(model, *(grid.ravel() for grid in grids), draws=draws, seed=seed)
    return ZeroPointSurface(axes, value.reshape(grids[0].shape), error.reshape(grids[0].shape))


def _offset_draws(model, inputs, *, draws, seed):
    from apogaia.inference import offset_draws  # here, so that the summaries below do not load Keras

    return offset_draws(model, inputs, draws=draws, seed=seed)


def inverse_variance_mean(value, error) -> tuple[float, float]:
    """Inverse-variance weighted mean and its error, of the entries with a finite value and a positive error."""
    value, error = np.broadcast_arrays(np.asarray(value, dtype=float), np.asarray(error, dtype=float))
    known = np.isfinite(value) & np.isfinite(error) & (error > 0)
    if not known.any():
        return np.nan, np.nan
    weight = error[known] ** -2
    return float(np.average(value[known], weights=weight)), float(weight.sum() ** -0.5)


def quadratic_summary(x, zero_point_uas, x0: float = 0.0) -> tuple[float, float, float]:
    """Least-squares quadratic in ``x - x0``, as Eqs. 7-9.

    Parameters
    ----------
    x
        G [mag], BP-RP [mag] or Teff [K] of each star; the paper takes x0 = 16, 0 and 4500.
    zero_point_uas
        Zero point of each star [uas]. Stars where either is unknown are left out.

    Returns
    -------
    a2, a1, a0
        ``a2 (x - x0)^2 + a1 (x - x0) + a0``.

    Raises
    ------
    ValueError
        If fewer than three different values of x are known.
    """
    x, zero_point_uas = np.asarray(x, dtype=float), np.asarray(zero_point_uas, dtype=float)
    known = np.isfinite(x) & np.isfinite(zero_point_uas)
    if len(np.unique(x[known])) < 3:
        raise ValueError("a quadratic needs at least three different values of x")
    # Polynomial.fit maps x to [-1, 1] first: squares of Teff are ill-conditioned otherwise
    a0, a1, a2 = np.polynomial.Polynomial.fit(x[known] - x0, zero_point_uas[known], 2).convert().coef
    return float(a2), float(a1), float(a0)


@dataclass(frozen=True)
class QuadraticSummary:
    """``a2 (x - x0)^2 + a1 (x - x0) + a0`` [uas], valid over `x_range`."""

    label: str
    x0: float
    coefficients: tuple[float, float, float]  # a2, a1, a0
    x_range: tuple[float, float]
    source: str

    def zero_point_uas(self, x):
        """The zero point at x [uas], whether or not x is in the range."""
        return np.polyval(self.coefficients, np.asarray(x, dtype=float) - self.x0)


# Eq. 7's printed slope gives +434 uas at G = 11, an order of magnitude beyond Figure 4: a decimal point is missing.
PAPER_SUMMARIES = {
    "g_mag": QuadraticSummary("G [mag]", 16, (1.18, -9.2, -55.49), (11, 17), "Eq. 7, slope -9.2 as in Figure 4"),
    "g_mag_printed": QuadraticSummary("G [mag]", 16, (1.18, -92, -55.49), (11, 17), "Eq. 7 as printed"),
    "bp_rp": QuadraticSummary("BP-RP [mag]", 0, (6.90, -34.63, -11.67), (0.8, 3), "Eq. 8"),
    "teff": QuadraticSummary("Teff [K]", 4500, (6e-6, 0.0348, -53.17), (4000, 5750), "Eq. 9"),
}


@dataclass(frozen=True)
class LiteratureZeroPoint:
    """A zero point of Gaia DR2 found by others [uas], and roughly which sources it rests on.

    The regions in G, BP-RP [mag] and Teff [K] are read off the works' samples to place an ellipse beside ours in
    Figure 4, and mean no more than that. NaN: not given.
    """

    name: str
    value_uas: float
    error_uas: float  # statistical
    systematic_uas: float
    reference: str
    g_mag: tuple[float, float]
    bp_rp: tuple[float, float]
    teff: tuple[float, float]


_UNKNOWN = float("nan")

# Values: the paper's section 7.1 (and section 4 for the red clump).
LITERATURE = (
    LiteratureZeroPoint(
        "quasars", -29, _UNKNOWN, _UNKNOWN, "Lindegren et al. (2018)", (17, 21), (0.0, 1.2), (6000, 10000)
    ),
    LiteratureZeroPoint("Cepheids", -46, 13, _UNKNOWN, "Riess et al. (2018)", (6, 11), (1.0, 2.6), (4800, 6300)),
    LiteratureZeroPoint(
        "eclipsing binaries", -31, 11, _UNKNOWN, "Graczyk et al. (2019)", (5, 12), (-0.1, 1.3), (4900, 10000)
    ),
    LiteratureZeroPoint("RGB", -52.8, 2.4, 1, "Zinn et al. (2018)", (9, 13), (1.1, 1.8), (4200, 5100)),
    LiteratureZeroPoint("RC", -50.2, 2.5, 1, "Zinn et al. (2018)", (9, 13), (1.1, 1.4), (4600, 5100)),
    LiteratureZeroPoint(
        "luminous red giants", -48, _UNKNOWN, _UNKNOWN, "Hogg, Eilers & Rix (2018)", (8, 16), (1.3, 3.0), (3700, 4900)
    ),
)
