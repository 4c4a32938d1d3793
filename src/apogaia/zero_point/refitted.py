"""The zero point from a refit of the spectra, and the network that is trained with it (docs/closure.md).

Beside the paper's recipe, and the default for the catalogue. Trained together, luminosity and zero point converge
slowly, and the network learns what a spectrum hints of distance. Here luminosities that are linear in a few hundred
features of the spectra are fitted with the zero point, to the end (`apogaia.refit`), with the shift that the survey's
density makes (`apogaia.refit.stellar_density`); then the network is trained on parallaxes corrected for that zero
point, and the
errors that it states are calibrated on stars it has not seen (`apogaia.model.error_calibration`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from apogaia.formats.star_columns import OFFSET_INPUTS
from apogaia.refit import least_squares
from apogaia.refit.least_squares import (
    Refit,
    SpectralFeatures,
    density_shift,
    log_fakemag_to_abs_mag,
    luminosity_spline,
)
from apogaia.refit.stellar_density import DensityModel
from apogaia.survey import Survey

__all__ = ["Calibration", "ZeroPointPlane", "calibrate", "has_extinction", "spectral_features", "usable"]

SPLINE_COEFFICIENTS = 10  # at most, of the correction by the luminosity of the iteration before


@dataclass(frozen=True)
class ZeroPointPlane:
    """A zero point linear in G, BP-RP and Teff, held near a constant by a prior."""

    mean: np.ndarray  # (3,) of G, BP-RP, Teff in the sample
    sd: np.ndarray  # (3,)
    weights: np.ndarray  # (4,) uas: constant, and per standard deviation
    covariance: np.ndarray  # (4, 4) uas^2

    @classmethod
    def from_dict(cls, values: Mapping) -> ZeroPointPlane:
        """From "plane" of `Calibration.in_uas`, as it travels in JSON."""
        names = ("mean", "sd", "weights_uas", "covariance_uas2")
        return cls(*(np.asarray(values[name], float) for name in names))

    def at(self, g_mag, bp_rp, teff) -> tuple[np.ndarray, np.ndarray]:
        """Zero point and its error [uas], each (n,); NaN where an input is unknown."""
        basis = _plane_basis(np.column_stack([g_mag, bp_rp, teff]), self.mean, self.sd)
        return basis @ self.weights, np.sqrt(np.einsum("ij,jk,ik->i", basis, self.covariance, basis))


@dataclass(frozen=True)
class Calibration:
    """A constant zero point [uas] with the parts of its error, a plane, and what they rest on."""

    zero_point: float
    error: float  # statistical and systematic in quadrature
    statistical_error: float  # from the stars' own residuals
    without_density: float  # the same fit if the spectrum told nothing about distance
    without_chemistry: float  # with one density for stars of all compositions
    plane: ZeroPointPlane | None  # None where G, BP-RP or Teff are missing for most stars
    fit: Refit
    density: DensityModel

    def in_uas(self) -> dict:
        """As written to the results."""
        plane = self.plane and {
            "mean": self.plane.mean,
            "sd": self.plane.sd,
            "weights_uas": self.plane.weights,
            "covariance_uas2": self.plane.covariance,
        }
        return {
            "value_uas": self.zero_point,
            "error_uas": self.error,
            "statistical_error_uas": self.statistical_error,
            "without_density_uas": self.without_density,
            "without_chemistry_uas": self.without_chemistry,
            "contaminant_fraction": self.fit.contaminant_fraction,
            "median_scatter": float(np.median(self.fit.scatter)),
            "stars": len(self.fit.scatter),
            "plane": plane,
        }


def usable(survey: Survey, table: Table) -> np.ndarray:
    """Stars that calibrate the zero point: extinction known, and not towards the bar.

    Without extinction K0 is too faint by as much as there is. The bar's stars have ages of their own at given spectrum,
    and the density model is axisymmetric.
    """
    glon = np.asarray(table["glon"], float)
    away = np.minimum(glon % 360, -glon % 360) >= survey.calibration.min_abs_glon
    return away & has_extinction(table)


def has_extinction(table: Table) -> np.ndarray:
    """Stars whose K0 is not biased by a missing extinction."""
    return np.isfinite(np.asarray(table["a_k_mag"], float)) & np.isfinite(np.asarray(table["k0_mag"], float))


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
        If a parallax or K0 is not finite, or a fit does not come to rest.

    Notes
    -----
    Not in the paper; docs/closure.md section 3 has the method, sections 1 and 4 what it recovers.
    """
    settings = survey.calibration
    parallax, error, k0_mag = (np.asarray(table[name], float) for name in ("parallax", "parallax_error", "k0_mag"))
    place = [np.asarray(table[name], float) for name in ("glon", "glat")]
    fe_h = np.asarray(table["fe_h"], float)
    chemistry = (fe_h, np.asarray(table["mg_h"], float) - fe_h)
    spectral = spectral_features(survey, spectra)

    # a start without any luminosity: one for all stars, and what is linear in the features
    same = np.full(len(table), np.median(np.log(np.maximum(parallax, 0.05)) + 0.2 * np.log(10.0) * k0_mag))
    features = np.column_stack([np.ones(len(table)), spectral])
    ridge = np.concatenate([[1e-3], np.full(spectral.shape[1], settings.ridge)])
    one = np.ones((len(table), 1))
    log_fakemag = least_squares.fit(
        parallax, error, k0_mag, same, features, ridge=ridge, scatter_basis=one, robust=robust
    ).log_fakemag
    coefficients = int(np.clip(len(table) // 100, 4, SPLINE_COEFFICIENTS))
    ridge = np.concatenate([np.full(coefficients, 1e-3), np.full(spectral.shape[1], settings.ridge)])
    for _ in range(settings.iterations):
        # the spline bends the luminosity that the iteration before has found, which no linear feature can
        features = np.column_stack([luminosity_spline(log_fakemag, coefficients), spectral])
        plain = least_squares.fit(parallax, error, k0_mag, log_fakemag, features, ridge=ridge, robust=robust)
        last, log_fakemag = log_fakemag, plain.log_fakemag
    abs_mag = log_fakemag_to_abs_mag(plain.log_fakemag)

    def shifted(model: DensityModel, *composition) -> tuple[np.ndarray, Refit]:
        shift = density_shift(plain.scatter, model.slope(abs_mag, k0_mag, *place, *composition))
        return shift, least_squares.fit(
            parallax, error, k0_mag, last, features, ridge=ridge, shift=shift, robust=robust
        )

    _, simple = shifted(DensityModel.fit(abs_mag, k0_mag, *place))
    model = DensityModel.fit(abs_mag, k0_mag, *place, *chemistry)
    shift, best = shifted(model, *chemistry)
    value, without_density = float(best.zero_point[0]), float(plain.zero_point[0])
    statistical = float(best.error[0])
    systematic = settings.systematic_share * (value - without_density)
    return Calibration(
        value,
        float(np.hypot(statistical, systematic)),
        statistical,
        without_density,
        float(simple.zero_point[0]),
        _plane(survey, table, best, shift, features, ridge, k0_mag - abs_mag),
        best,
        model,
    )


def spectral_features(survey: Survey, spectra: np.ndarray) -> np.ndarray:
    """(n, features) principal components of the spectra and products of the first ones, fewer for a small sample."""
    settings = survey.calibration
    most = max(2, int(len(spectra) / settings.stars_per_feature))
    components = max(1, min(settings.components, most // 2))
    products = settings.products
    while products and products * (products + 1) // 2 > most - components:
        products -= 1
    made = SpectralFeatures.fit(spectra, components=components, products=products, seed=settings.seed)
    return made.of(spectra)


def _plane_basis(inputs: np.ndarray, mean, sd) -> np.ndarray:
    return np.column_stack([np.ones(len(inputs)), np.clip((inputs - mean) / sd, -3.0, 3.0)])


def _plane(survey, table, best: Refit, shift, features, ridge, modulus) -> ZeroPointPlane | None:
    """One linear step from the constant zero point to a plane, with the weights of the stars as they are.

    The fit of a free surface runs away: at given spectrum G follows distance, and a drift of the luminosities by half a
    per cent per magnitude looks like a trend of the zero point. So such a drift is fitted too, and both have a prior.
    """
    settings = survey.calibration
    inputs = np.column_stack([np.asarray(table[name], float) for name in OFFSET_INPUTS])
    known = np.flatnonzero(np.isfinite(inputs).all(axis=1))
    if len(known) < 0.5 * len(inputs):
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
