"""The zero point from a refit of the spectra (docs/closure.md); the catalogue rests on it by default.

In the paper's recipe luminosity and zero point are trained together. They converge slowly, and the network learns what
a spectrum hints about distance. Here luminosities that are linear in a few hundred features of the spectra are fitted
with the zero point until the fit converges (`apogaia.refit.least_squares`), corrected for the shift that the survey's
density causes (`apogaia.refit.stellar_density`). A network is then trained on parallaxes corrected for that zero point
(`apogaia.zero_point.calibrated_training`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Table

from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import OFFSET_INPUTS, star_columns
from apogaia.physics.luminosity import has_extinction
from apogaia.refit import least_squares
from apogaia.refit.least_squares import Refit, density_shift, log_fakemag_to_abs_mag, luminosity_spline
from apogaia.refit.spectral_features import SpectralFeatures
from apogaia.refit.stellar_density import DensityModel
from apogaia.survey import Survey

__all__ = [
    "Calibration",
    "FixedZeroPoint",
    "ZeroPointPlane",
    "calibrate",
    "has_corrected_k0",
    "spectral_features",
    "usable",
]

SPLINE_COEFFICIENTS = 10  # at most, of the correction by the luminosity of the iteration before
STARS_PER_SPLINE_COEFFICIENT = 100  # fewer coefficients in small samples, but at least four: one cubic
WEAK_RIDGE = 1e-3  # penalty on the constant and the spline, against singular matrices: without effect on the fit
MIN_PARALLAX_MAS = 0.05  # smaller and negative ones count as this in the first guess of the luminosity
MAX_PLANE_SIGMA = 3.0  # the plane stays constant beyond so many standard deviations of G, BP-RP or Teff
MIN_SHARE_WITH_COLOURS = 0.5  # of the stars must have G, BP-RP and Teff, or there is no plane


@dataclass(frozen=True)
class ZeroPointPlane:
    """A zero point linear in G, BP-RP and Teff, held near a constant by a prior."""

    mean: np.ndarray  # (3,) of G, BP-RP, Teff in the sample
    sd: np.ndarray  # (3,)
    weights_uas: np.ndarray  # (4,) constant, and per standard deviation
    covariance_uas2: np.ndarray  # (4, 4)

    @classmethod
    def from_dict(cls, values: Mapping) -> ZeroPointPlane:
        """Restore the plane from "plane" of `Calibration.in_uas`, as stored in JSON."""
        names = ("mean", "sd", "weights_uas", "covariance_uas2")
        return cls(*(np.asarray(values[name], float) for name in names))

    @takes(g_mag=u.mag, bp_rp=u.mag, teff=u.K)
    def at_uas(self, g_mag, bp_rp, teff) -> tuple[np.ndarray, np.ndarray]:
        """Zero point and its error [uas] at G, BP-RP [mag] and Teff [K], each (n,); NaN where an input is unknown."""
        basis = _plane_basis(np.column_stack([g_mag, bp_rp, teff]), self.mean, self.sd)
        return basis @ self.weights_uas, np.sqrt(np.einsum("ij,jk,ik->i", basis, self.covariance_uas2, basis))


@dataclass(frozen=True)
class FixedZeroPoint:
    """A zero point that the survey file states: nothing is fitted."""

    zero_point_uas: float  # Gaia minus true parallax
    error_uas: float

    def in_uas(self) -> dict:
        """As written to the results."""
        return {"value_uas": self.zero_point_uas, "error_uas": self.error_uas, "fixed": True, "plane": None}


@dataclass(frozen=True)
class Calibration:
    """A constant zero point with the parts of its error, a plane, and the fit that they come from."""

    zero_point_uas: float  # Gaia minus true parallax
    error_uas: float  # statistical and systematic in quadrature
    statistical_error_uas: float  # from the stars' own residuals
    without_density_uas: float  # the same fit if the spectrum said nothing about distance
    without_chemistry_uas: float  # with one density for stars of all compositions
    plane: ZeroPointPlane | None  # None where G, BP-RP or Teff are missing for most stars
    fit: Refit
    density: DensityModel

    def in_uas(self) -> dict:
        """As written to the results."""
        plane = self.plane and {
            "mean": self.plane.mean,
            "sd": self.plane.sd,
            "weights_uas": self.plane.weights_uas,
            "covariance_uas2": self.plane.covariance_uas2,
        }
        return {
            "value_uas": self.zero_point_uas,
            "error_uas": self.error_uas,
            "fixed": False,
            "statistical_error_uas": self.statistical_error_uas,
            "without_density_uas": self.without_density_uas,
            "without_chemistry_uas": self.without_chemistry_uas,
            "contaminant_fraction": self.fit.contaminant_fraction,
            "median_scatter": float(np.median(self.fit.scatter)),
            "stars": len(self.fit.scatter),
            "plane": plane,
        }


@takes(table=star_columns())
def usable(survey: Survey, table: Table) -> np.ndarray:
    """Stars of a stars.h5 table that calibrate the zero point: K0 is corrected, and they are not towards the bar.

    Stars of the bar have other ages at a given spectrum than the rest, and the density model is axisymmetric. Stars
    without Galactic coordinates have no place in it.
    """
    glon, glat = (np.asarray(table[name], float) for name in ("glon", "glat"))
    away = np.minimum(glon % 360, -glon % 360) >= survey.calibration.min_abs_glon
    return away & np.isfinite(glat) & has_corrected_k0(table)


@takes(table=star_columns())
def has_corrected_k0(table: Table) -> np.ndarray:
    """Stars with a Ks magnitude that is corrected for a known extinction; without one, K0 would be too faint."""
    return has_extinction(np.asarray(table["a_k_mag"], float)) & np.isfinite(np.asarray(table["k0_mag"], float))


@takes(table=star_columns(), spectra=u.dimensionless_unscaled)
def calibrate(survey: Survey, table: Table, spectra: np.ndarray, *, robust: bool = True) -> Calibration:
    """Fit the zero point.

    Parameters
    ----------
    survey
        Its section [calibration] is used.
    table
        (n,) rows of stars.h5, all `usable`.
    spectra
        (n, pixels) normalised spectra of the same stars.
    robust
        Whether there may be contaminants; False for comparison only.

    Returns
    -------
    Calibration
        Zero points and errors in uas; Gaia minus true parallax.

    Raises
    ------
    ValueError
        If a parallax or K0 is not finite, or a fit does not converge.

    Notes
    -----
    Not in the paper; docs/closure.md section 3 has the method, sections 1 and 4 what it recovers.
    """
    settings = survey.calibration
    parallax, error, k0_mag = (np.asarray(table[name], float) for name in ("parallax", "parallax_error", "k0_mag"))
    glon, glat = (np.asarray(table[name], float) for name in ("glon", "glat"))
    fe_h = np.asarray(table["fe_h"], float)
    chemistry = (fe_h, np.asarray(table["mg_h"], float) - fe_h)
    spectral = spectral_features(survey, spectra)

    # the first fit starts from one luminosity for all stars
    same = np.full(len(table), np.median(np.log(np.maximum(parallax, MIN_PARALLAX_MAS)) + 0.2 * np.log(10.0) * k0_mag))
    features = np.column_stack([np.ones(len(table)), spectral])
    ridge = np.concatenate([[WEAK_RIDGE], np.full(spectral.shape[1], settings.ridge)])
    one = np.ones((len(table), 1))

    def fit(start, features, ridge, **options) -> Refit:
        options |= {"ridge": ridge, "robust": robust, "contaminant_width": settings.contaminant_width}
        return least_squares.fit(parallax, error, k0_mag, start, features, **options)

    log_fakemag = fit(same, features, ridge, scatter_basis=one).log_fakemag
    coefficients = int(np.clip(len(table) // STARS_PER_SPLINE_COEFFICIENT, 4, SPLINE_COEFFICIENTS))
    ridge = np.concatenate([np.full(coefficients, WEAK_RIDGE), np.full(spectral.shape[1], settings.ridge)])
    for _ in range(settings.iterations):
        # the spline bends the luminosities of the iteration before, which no linear feature can do
        features = np.column_stack([luminosity_spline(log_fakemag, coefficients), spectral])
        plain = fit(log_fakemag, features, ridge)
        last, log_fakemag = log_fakemag, plain.log_fakemag
    abs_mag = log_fakemag_to_abs_mag(plain.log_fakemag)

    def shifted(model: DensityModel, *composition) -> tuple[np.ndarray, Refit]:
        shift = density_shift(plain.scatter, model.slope(abs_mag, k0_mag, glon, glat, *composition))
        return shift, fit(last, features, ridge, shift=shift)

    _, simple = shifted(DensityModel.fit(abs_mag, k0_mag, glon, glat))
    model = DensityModel.fit(abs_mag, k0_mag, glon, glat, *chemistry)
    shift, best = shifted(model, *chemistry)
    value, without_density = float(best.zero_point_uas[0]), float(plain.zero_point_uas[0])
    statistical = float(best.error_uas[0])
    systematic = settings.systematic_share * (value - without_density)
    return Calibration(
        zero_point_uas=value,
        error_uas=float(np.hypot(statistical, systematic)),
        statistical_error_uas=statistical,
        without_density_uas=without_density,
        without_chemistry_uas=float(simple.zero_point_uas[0]),
        plane=_plane(survey, table, best, shift, features, ridge, k0_mag - abs_mag),
        fit=best,
        density=model,
    )


@takes(spectra=u.dimensionless_unscaled)
def spectral_features(survey: Survey, spectra: np.ndarray) -> np.ndarray:
    """Features (n, features) of spectra (n, pixels): components and products, fewer of them in a small sample."""
    settings = survey.calibration
    most = max(2, int(len(spectra) / settings.stars_per_feature))
    components = max(1, min(settings.components, most // 2))
    products = settings.products
    while products and products * (products + 1) // 2 > most - components:
        products -= 1
    return SpectralFeatures.fit(spectra, components=components, products=products, seed=settings.seed).of(spectra)


def _plane_basis(inputs: np.ndarray, mean, sd) -> np.ndarray:
    return np.column_stack([np.ones(len(inputs)), np.clip((inputs - mean) / sd, -MAX_PLANE_SIGMA, MAX_PLANE_SIGMA)])


def _plane(survey, table, best: Refit, shift, features, ridge, modulus) -> ZeroPointPlane | None:
    """One linear step from the constant zero point to a plane, with the weights of the stars as they are.

    A free surface would diverge: at a given spectrum G follows distance, and a drift of the luminosities by half a per
    cent per magnitude looks like a trend of the zero point. So such a drift is fitted too, and both have a prior.
    """
    settings = survey.calibration
    inputs = np.column_stack([np.asarray(table[name], float) for name in OFFSET_INPUTS])
    known = np.flatnonzero(np.isfinite(inputs).all(axis=1))
    if len(known) < MIN_SHARE_WITH_COLOURS * len(inputs):
        return None
    mean, sd = inputs[known].mean(axis=0), inputs[known].std(axis=0)
    basis = _plane_basis(inputs[known], mean, sd)
    parallax, error, k0_mag = (
        np.asarray(table[name], float)[known] for name in ("parallax", "parallax_error", "k0_mag")
    )
    true = np.exp(best.log_fakemag[known] + shift[known] - 0.2 * np.log(10.0) * k0_mag)
    weight = best.weight(parallax, error, true, best.scatter[known])
    drift = (modulus - modulus.mean())[known]
    jacobian = np.column_stack([true[:, None] * np.column_stack([features[known], drift]), 1e-3 * basis])
    prior = np.concatenate([ridge, [settings.drift_prior**-2.0], [0.0], np.full(3, settings.plane_prior**-2.0)])
    matrix = jacobian.T @ (jacobian * weight[:, None]) + np.diag(prior)
    solution = np.linalg.solve(matrix, jacobian.T @ (weight * (parallax - true)))
    return ZeroPointPlane(mean, sd, solution[-4:], np.linalg.inv(matrix)[-4:, -4:])
