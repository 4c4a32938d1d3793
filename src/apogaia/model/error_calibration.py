"""Predicted luminosities, and the calibration of their errors on stars that the network has not seen.

A network's own errors are tuned to its training stars. Stars of any SNR that did not train it show how the luminosities
scatter about Gaia's parallaxes: the validation stars of the training set, and half of the test set, whose spectra are
noisier. The other half is kept for testing. ln of the scatter over the stated error is a sum of smooth functions of
luminosity, stated error and SNR, and a correction of ln fakemag one of luminosity and SNR.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.table import Table

from apogaia.arguments.plain import Columns
from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import star_columns
from apogaia.refit import least_squares
from apogaia.refit.splines import quantile_knots, spline_basis

__all__ = ["PREDICTION", "ErrorCalibration", "Prediction", "calibration_rows", "unseen_rows"]

# Spline coefficients: the correction bends most with luminosity; stated error and SNR act smoothly
LUMINOSITY, ERROR, SNR = 8, 5, 5
RIDGE = 1.0  # penalty on the correction's coefficients
# On those of ln growth, but for the growth that all stars have in common: a prior of 0.3 about what the network states.
# It decides where Gaia's parallaxes say little of the luminosities' scatter: of distant, luminous giants.
SCATTER_RIDGE = 10.0
LEAST_STARS = 300  # with fewer the calibration is skipped

PREDICTION = Columns(dict.fromkeys(("fakemag", "model_error", "predictive_error", "total_error"), u.mas))


class Prediction(NamedTuple):
    """Pseudo-luminosities, each (n,), in fakemag's unit; NaN where the spectrum has a NaN."""

    fakemag: np.ndarray  # mean over the dropout passes
    model_error: np.ndarray  # standard deviation over the passes
    predictive_error: np.ndarray  # root of the mean variance that the network states
    total_error: np.ndarray  # the two in quadrature


@takes(table=star_columns())
def calibration_rows(table: Table, test: np.ndarray) -> np.ndarray:
    """The half of the test rows used for calibration; the other half is held out. Split by name: no star is in both."""
    names = np.asarray(table["apogee_id"])[test].tolist()
    chosen = np.array([hashlib.sha256(name.encode()).digest()[0] % 2 == 0 for name in names], dtype=bool)
    return np.asarray(test)[chosen]


@takes(table=star_columns())
def unseen_rows(table: Table, validation: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The validation rows used for calibration: those of stars with no other row in the gradient."""
    names = np.asarray(table["apogee_id"])
    return np.asarray(validation)[~np.isin(names[validation], names[gradient])]


@dataclass(frozen=True)
class ErrorCalibration:
    """Smooth corrections of ln fakemag and of its error; none if there were too few stars (no knots)."""

    luminosity_knots: list[float]  # ln fakemag
    error_knots: list[float]  # ln of the stated relative error
    snr_knots: list[float]  # ln SNR
    correction: list[float]  # of ln fakemag
    log_growth: list[float]  # ln of the true over the stated error
    stars: int

    @classmethod
    @takes(prediction=PREDICTION, table=star_columns(), zero_point_uas=u.uas, shared_error_uas=u.uas)
    def fit(
        cls, prediction: Prediction, table: Table, zero_point_uas: float, shared_error_uas: float = 0.0
    ) -> ErrorCalibration:
        """Fit on stars that did not train the network.

        Parameters
        ----------
        prediction
            Of (n,) stars.
        table
            Their rows of stars.h5.
        zero_point_uas
            Gaia minus true parallax [uas], held fixed.
        shared_error_uas
            Standard deviation [uas] of what parallaxes of neighbours on the sky share and Gaia's errors do not hold. It
            would pass for scatter of the luminosities.
        """
        columns = [
            np.asarray(table[name], float) for name in ("parallax", "parallax_error", "k0_mag", "snr", "a_k_mag")
        ]
        known = np.isfinite(np.column_stack([*columns, *prediction[:1], prediction.total_error])).all(axis=1)
        known &= (prediction.fakemag > 0) & (columns[3] > 0)
        rows = np.flatnonzero(known)
        if len(rows) < LEAST_STARS:
            return replace(cls.none(), stars=len(rows))
        parallax, error, k0_mag, snr, _ = (column[rows] for column in columns)
        variables = _variables(prediction.fakemag[rows], prediction.total_error[rows], snr)
        knots = [
            quantile_knots(values, n).tolist() for values, n in zip(variables, (LUMINOSITY, ERROR, SNR), strict=True)
        ]
        correction, growth = _bases(variables, knots)
        fitted = least_squares.fit(
            parallax - 1e-3 * zero_point_uas,
            np.hypot(error, 1e-3 * shared_error_uas),
            k0_mag,
            variables[0],
            correction,
            ridge=RIDGE,
            scatter_basis=growth,
            expected_scatter=np.exp(variables[1]),
            scatter_ridge=np.concatenate([[0.0], np.full(growth.shape[1] - 1, SCATTER_RIDGE)]),
            offset_prior_uas=[1e-3],  # the zero point is known
        )
        luminosity, error_knots, snr_knots = knots
        growths = fitted.scatter_weights.tolist()
        return cls(luminosity, error_knots, snr_knots, fitted.weights.tolist(), growths, len(rows))

    @takes(prediction=PREDICTION, snr=u.dimensionless_unscaled)
    def apply(self, prediction: Prediction, snr) -> Prediction:
        """Calibrate luminosities and their errors, both parts of which change by the same factor.

        Parameters
        ----------
        prediction
            Of (n,) stars, in fakemag's unit.
        snr
            (n,) signal-to-noise ratios of their spectra; unknown counts as the lowest that calibrated the errors.
        """
        if not self.correction:
            return prediction
        fakemag = np.asarray(prediction.fakemag, float)
        good = np.isfinite(fakemag) & (fakemag > 0) & (np.asarray(prediction.total_error) > 0)
        safe_fakemag, safe_error = (np.where(good, values, 1.0) for values in (fakemag, prediction.total_error))
        snr = np.asarray(snr, float)
        snr = np.where(np.isfinite(snr) & (snr > 0), snr, np.exp(self.snr_knots[0]))
        variables = _variables(safe_fakemag, safe_error, snr)
        correction, growth = _bases(variables, [self.luminosity_knots, self.error_knots, self.snr_knots])
        factor = np.exp(correction @ np.array(self.correction))  # relative errors stay as they are
        grown = np.where(good, factor * np.exp(growth @ np.array(self.log_growth)), 1.0)
        return Prediction(
            np.where(good, factor * safe_fakemag, prediction.fakemag),
            *(np.asarray(part) * grown for part in prediction[1:]),
        )

    @classmethod
    def none(cls) -> ErrorCalibration:
        """A calibration that changes nothing."""
        return cls([], [], [], [], [], 0)

    def to_dict(self) -> dict:
        """As it travels in a model file."""
        return asdict(self)


def _variables(fakemag, total_error, snr) -> list[np.ndarray]:
    return [np.log(fakemag), np.log(total_error / fakemag), np.log(snr)]


def _bases(variables, knots) -> tuple[np.ndarray, np.ndarray]:
    """Bases of the correction (luminosity, SNR) and of ln growth (a constant; luminosity, stated error, SNR)."""
    luminosity, error, snr = (spline_basis(v, k) for v, k in zip(variables, knots, strict=True))
    # every spline sums to 1: without a penalty on a constant, leave one coefficient of the later ones out
    one = np.ones((len(luminosity), 1))
    return np.column_stack([luminosity, snr[:, 1:]]), np.column_stack([one, luminosity, error, snr])
