"""Dependence of the zero point on G, BP-RP and Teff, and on the part of the sky."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Table

from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import OFFSET_INPUTS
from apogaia.refit.least_squares import Refit
from apogaia.refit.splines import hat_basis
from apogaia.survey import CalibrationSettings

__all__ = ["Dependence", "ZeroPointPlane", "log_evidence", "plane_basis", "sky_cells", "told_by"]

G, COLOUR, TEFF = 1, 2, 3  # columns of the plane's basis
MAX_PLANE_SIGMA = 3.0  # the plane stays constant beyond so many standard deviations of G, BP-RP or Teff
MIN_SHARE_WITH_COLOURS = 0.5  # of the stars must have G, BP-RP and Teff, or there is no plane
# Stars of one cell share an error of their parallaxes: as Gaia's quasars do, within about a degree and within some 14
SMALL_CELL_DEG, LARGE_CELL_DEG = 2.0, 15.0
# Bends of the zero point: pieces of lines in G, and fewer that grow with BP-RP
BEND_KNOTS, COLOUR_KNOTS = 9, 5
COLOUR_SHARE = 0.5  # of the prior of G's bends, for those with BP-RP
TINY = 1e-9  # of the prior's variance: no fit knows a bend better


@dataclass(frozen=True)
class ZeroPointPlane:
    """A zero point linear in G, BP-RP and Teff, with priors about the mean and the slopes of the refit."""

    mean: np.ndarray  # (3,) of G, BP-RP, Teff in the sample
    sd: np.ndarray  # (3,)
    weights_uas: np.ndarray  # (4,) mean over the stars, and per standard deviation
    covariance_uas2: np.ndarray  # (4, 4)
    centre: np.ndarray  # (3,) mean of the basis over the stars, so that the first weight is the mean

    @classmethod
    def from_dict(cls, values: Mapping) -> ZeroPointPlane:
        """Restore the plane from "plane" of `Calibration.in_uas`, as stored in JSON."""
        names = ("mean", "sd", "weights_uas", "covariance_uas2", "centre")
        return cls(*(np.asarray(values[name], float) for name in names))

    @takes(g_mag=u.mag, bp_rp=u.mag, teff=u.K)
    def at_uas(self, g_mag, bp_rp, teff) -> tuple[np.ndarray, np.ndarray]:
        """Zero point and its error [uas] at G, BP-RP [mag] and Teff [K], each (n,); NaN where an input is unknown."""
        basis = plane_basis(np.column_stack([g_mag, bp_rp, teff]), self.mean, self.sd)
        basis[:, 1:] -= self.centre
        return basis @ self.weights_uas, np.sqrt(np.einsum("ij,jk,ik->i", basis, self.covariance_uas2, basis))


@dataclass(frozen=True)
class Dependence:
    """Basis of the zero point of n stars: one, G, BP-RP and Teff, each about its mean and in units of its sd.

    All as K0 and the spectrum tell them. Gaia's own G has no part in the errors of K0: beside K0 it tells how large
    they are, and a slope in it takes them for a zero point. So does BP-RP, which tells the extinction
    (docs/closure.md).
    """

    basis: np.ndarray  # (n, 4)
    mean: np.ndarray  # (3,)
    sd: np.ndarray
    centre: np.ndarray
    enough: np.ndarray  # (3,) whether most stars have it
    cells: np.ndarray  # (n, c) large parts of the sky, each about its mean
    bends: np.ndarray  # (n, k) of G and BP-RP, about their means and without what is linear in G and Teff
    bend_shares: np.ndarray  # (k,) of their prior

    @classmethod
    def of(cls, table: Table, k0_mag: np.ndarray, spectral: np.ndarray) -> Dependence:
        """That of stars.h5 rows (n,) with K0 [mag] and features (n, k) of their spectra."""
        by_both = np.column_stack([k0_mag, k0_mag**2, spectral])
        tells = {"g_mag": by_both, "bp_rp": by_both, "teff": spectral}
        values = {name: np.asarray(table[name], float) for name in OFFSET_INPUTS}
        enough = np.array([np.isfinite(values[name]).mean() >= MIN_SHARE_WITH_COLOURS for name in OFFSET_INPUTS])
        inputs = np.zeros((len(table), 3))
        for i in np.flatnonzero(enough):
            inputs[:, i] = told_by(tells[OFFSET_INPUTS[i]], values[OFFSET_INPUTS[i]])
        mean, sd = inputs.mean(axis=0), inputs.std(axis=0)
        sd[sd == 0] = 1.0
        basis = plane_basis(inputs, mean, sd)
        centre = basis[:, 1:].mean(axis=0)
        basis[:, 1:] -= centre
        cell = sky_cells(table, LARGE_CELL_DEG)
        cells = (cell[:, None] == np.arange(cell.max() + 1)).astype(float)
        bends, shares = _bends(basis, _columns(enough), enough)
        return cls(basis, mean, sd, centre, enough, cells - cells.mean(axis=0), bends, shares)

    @property
    def columns(self) -> list[int]:
        """Of the basis, that the mean is fitted with: one, G and Teff, where they are known."""
        return _columns(self.enough)

    def options(self, settings: CalibrationSettings, *, bends: bool = False) -> dict:
        """Of `least_squares.fit`, for the mean and the slopes in G and Teff: their basis and priors [uas].

        With `bends` also for what no line in G follows. It costs precision, so it is for zero points that bend
        (`log_evidence`, docs/closure.md).
        """
        prior = np.array([np.inf, settings.slope_prior * self.sd[0], 0.0, 1e-3 * settings.teff_prior * self.sd[2]])
        basis, prior = self.basis[:, self.columns], prior[self.columns]
        if bends:
            basis = np.column_stack([basis, self.bends])
            prior = np.append(prior, settings.bend_prior * self.bend_shares)
        return self.with_cells(basis, prior, settings)

    def with_cells(self, basis: np.ndarray, prior_uas: np.ndarray, settings: CalibrationSettings) -> dict:
        """The same for another basis (n, q) with priors (q,), and for errors that the large cells share."""
        if not settings.sky_prior:
            return {"offset_basis": basis, "offset_prior_uas": prior_uas}
        return {
            "offset_basis": np.column_stack([basis, self.cells]),
            "offset_prior_uas": np.append(prior_uas, np.full(self.cells.shape[1], settings.sky_prior)),
        }

    def of_fit(self, fit: Refit, column: int) -> tuple[float, float]:
        """What a fit found for a column of the basis, and its error [uas]; 0 and NaN if it had none."""
        if column not in self.columns:
            return 0.0, float("nan")
        place = self.columns.index(column)
        return float(fit.zero_point_uas[place]), float(fit.error_uas[place])

    def slope(self, fit: Refit, column: int) -> tuple[float, float]:
        """Slope of the zero point and its error [uas] per unit of G or Teff; NaN where it is missing."""
        if column not in self.columns:
            return float("nan"), float("nan")
        value, error = self.of_fit(fit, column)
        return value / self.sd[column - 1], error / self.sd[column - 1]


def log_evidence(weights_uas: np.ndarray, covariance_uas2: np.ndarray, prior_uas: np.ndarray) -> float:
    """Return ln of how much more probable the parallaxes are with some terms of the zero point than without them.

    The Savage-Dickey ratio (Dickey 1971): the prior's density of "all are zero" over that after the fit.

    Parameters
    ----------
    weights_uas, covariance_uas2
        (k,) and (k, k) of the terms, after a fit with them; exact if the covariance is that of the model. A fit's own
        comes from its residuals (sandwich), which is the same where its weights are right.
    prior_uas
        (k,) standard deviations about zero.
    """
    scaled = weights_uas / prior_uas
    squares, axes = np.linalg.eigh(covariance_uas2 / np.outer(prior_uas, prior_uas))
    squares = np.maximum(squares, TINY)
    return 0.5 * float(np.sum((axes.T @ scaled) ** 2 / squares + np.log(squares)))


def told_by(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Linear prediction of `values` (n,) from `known` (n, k), in their unit, even where the values are unknown.

    Taken for average ones instead, the few stars without a Teff would weaken its slope and move the mean zero point
    (docs/closure.md). NaN if no value is known.
    """
    good = np.isfinite(values)
    if not good.any():
        return values
    mean = values[good].mean()
    centred = known - known[good].mean(axis=0)
    matrix = centred[good].T @ centred[good]
    matrix[np.diag_indices(len(matrix))] *= 1.0 + 1e-9  # features without variance do not make it singular
    weights = np.linalg.lstsq(matrix, centred[good].T @ (values[good] - mean), rcond=None)[0]
    return mean + centred @ weights


def sky_cells(table: Table, size_deg: float) -> np.ndarray:
    """Which part of the sky each star is in: (n,) whole numbers from 0, without gaps.

    Cells of `size_deg` in Galactic latitude and of about as much along it, so that they have about equal areas.
    """
    glon, glat = (np.asarray(table[name], float) for name in ("glon", "glat"))
    band = np.floor((glat + 90.0) / size_deg).astype(int)
    middle = np.deg2rad((band + 0.5) * size_deg - 90.0)
    place = np.floor((glon % 360.0) * np.cos(middle) / size_deg).astype(int)
    return np.unique(band * 1000 + place, return_inverse=True)[1]


def plane_basis(inputs: np.ndarray, mean, sd) -> np.ndarray:
    """One, and `inputs` (n, 3) of G, BP-RP, Teff about their mean in units of their sd: (n, 4)."""
    return np.column_stack([np.ones(len(inputs)), np.clip((inputs - mean) / sd, -MAX_PLANE_SIGMA, MAX_PLANE_SIGMA)])


def _columns(enough: np.ndarray) -> list[int]:
    return [0, *(column for column in (G, TEFF) if enough[column - 1])]


def _bends(basis: np.ndarray, columns: list[int], enough: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) and (k,) of `Dependence`; no column where most stars have no G."""
    g, colour = basis[:, G], basis[:, COLOUR]
    if not enough[G - 1] or not np.ptp(g):
        return np.zeros((len(basis), 0)), np.zeros(0)
    found = [hat_basis(g, np.percentile(g, np.linspace(1, 99, BEND_KNOTS)))]
    if enough[COLOUR - 1]:
        coarse = hat_basis(g, np.percentile(g, np.linspace(1, 99, COLOUR_KNOTS)))
        found.append(coarse * colour[:, None])
    shares = np.repeat([1.0, COLOUR_SHARE], [BEND_KNOTS, COLOUR_KNOTS])[: sum(part.shape[1] for part in found)]
    bends, linear = np.column_stack(found), basis[:, columns]
    return bends - linear @ np.linalg.lstsq(linear, bends, rcond=None)[0], shares
