"""Calibration of the labels' errors on stars that the network has not seen.

A network's own errors are tuned to its training stars, all of high SNR. Stars that did not train it show how its labels
scatter about the survey's, whose own errors are known: the validation stars, and half of the stars below the SNR of the
training set. For each label ln of the true over the stated error is a sum of smooth functions of SNR and Teff.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from astropy import units as u
from scipy.optimize import minimize
from scipy.special import expit, logit

from apogaia.arguments.plain import any_unit
from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.predictions import LABEL_PREDICTION, LabelPrediction
from apogaia.refit.splines import quantile_knots, spline_basis

__all__ = ["LabelErrorCalibration"]

SNR_COEFFICIENTS, TEFF_COEFFICIENTS = 6, 5  # of splines: errors change smoothly with either
RIDGE = 10.0  # penalty on the splines' coefficients: a prior of 0.3 about what the network states
CONSTANT_RIDGE = 4.0  # and 0.5 for what all stars share: labels whose own errors hide it keep what the network states
MOST_OUTLIERS = 0.1
LEAST_STARS = 200  # of a label; with fewer its errors stay as they are
OUTLIERS, OUTLIER_WIDTH = 0.01, 10.0  # first share of labels with gross errors, which is fitted; their errors in units
# of ordinary ones


@dataclass(frozen=True)
class LabelErrorCalibration:
    """Factors of the labels' errors, which change smoothly with SNR and Teff; 1 for a label without coefficients."""

    snr_knots: list[float]  # ln SNR
    teff_knots: list[float]  # [K]
    log_growth: list[list[float]]  # of each label: a constant, splines of ln SNR and of Teff; empty: too few stars
    stars: int

    @classmethod
    @takes(prediction=LABEL_PREDICTION, label=any_unit, error=any_unit, snr=u.dimensionless_unscaled)
    def fit(cls, prediction: LabelPrediction, label, error, snr) -> LabelErrorCalibration:
        """Fit on stars that did not train the network.

        Parameters
        ----------
        prediction
            Of (n,) stars.
        label, error
            (n, 22) labels of the survey and their errors [K, dex]; NaN where unknown.
        snr
            (n,) signal-to-noise ratios of the spectra.
        """
        label, error, snr = (np.asarray(values, float) for values in (label, error, snr))
        usable = np.isfinite(prediction.label).all(axis=1) & (snr > 0)
        known = usable[:, None] & np.isfinite(label) & (error > 0)
        rows = known.any(axis=1)
        if rows.sum() < LEAST_STARS:
            return cls([], [], [[] for _ in LABELS], int(rows.sum()))
        log_snr, teff = np.log(snr[rows]), prediction.label[rows, 0]
        snr_knots = quantile_knots(log_snr, SNR_COEFFICIENTS).tolist()
        teff_knots = quantile_knots(teff, TEFF_COEFFICIENTS).tolist()
        basis = _basis(log_snr, teff, snr_knots, teff_knots)
        fits: list[list[float]] = []
        for i in range(len(LABELS)):
            mine = known[rows, i]
            if mine.sum() < LEAST_STARS:
                fits.append([])
                continue
            of_label = (values[rows, i][mine] for values in (label - prediction.label, error, prediction.total_error))
            fits.append(_log_growth(basis[mine], *of_label).tolist())
        return cls(snr_knots, teff_knots, fits, int(rows.sum()))

    @takes(prediction=LABEL_PREDICTION, snr=u.dimensionless_unscaled)
    def apply(self, prediction: LabelPrediction, snr) -> LabelPrediction:
        """Calibrate the errors, both parts of which change by the same factor; the labels stay.

        Parameters
        ----------
        prediction
            Of (n,) stars.
        snr
            (n,) signal-to-noise ratios of their spectra; unknown counts as the lowest that calibrated the errors.
        """
        if not self.snr_knots:
            return prediction
        snr = np.asarray(snr, float)
        lowest, middle = np.exp(self.snr_knots[0]), np.median(self.teff_knots)
        log_snr = np.log(np.where(np.isfinite(snr) & (snr > 0), snr, lowest))
        teff = np.where(np.isfinite(prediction.label[:, 0]), prediction.label[:, 0], middle)
        basis = _basis(log_snr, teff, self.snr_knots, self.teff_knots)
        factor = np.column_stack(
            [np.exp(basis @ growth) if growth else np.ones(len(snr)) for growth in self.log_growth]
        )
        return LabelPrediction(prediction.label, *(part * factor for part in prediction[1:]))

    @classmethod
    def none(cls) -> LabelErrorCalibration:
        """A calibration that changes nothing."""
        return cls([], [], [[] for _ in LABELS], 0)

    def to_dict(self) -> dict:
        """As it travels in a model file."""
        return asdict(self)


def _basis(log_snr: np.ndarray, teff: np.ndarray, snr_knots: list[float], teff_knots: list[float]) -> np.ndarray:
    one = np.ones((len(log_snr), 1))
    return np.column_stack([one, spline_basis(log_snr, snr_knots), spline_basis(teff, teff_knots)])


def _log_growth(basis: np.ndarray, residual: np.ndarray, label_error: np.ndarray, stated: np.ndarray) -> np.ndarray:
    """Coefficients of ln growth of one label that maximise the likelihood of its residuals, a few of them gross."""
    ridge = np.full(basis.shape[1], RIDGE)
    ridge[0] = CONSTANT_RIDGE

    def loss_and_slope(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, outliers = parameters[:-1], expit(parameters[-1])
        grown = (stated * np.exp(basis @ weights)) ** 2
        variance = grown + label_error**2
        ordinary = np.log1p(-outliers) - 0.5 * (np.log(variance) + residual**2 / variance)
        wide = variance * OUTLIER_WIDTH**2
        gross = np.log(outliers) - 0.5 * (np.log(wide) + residual**2 / wide)
        total = np.logaddexp(ordinary, gross)
        share = np.exp(ordinary - total)
        scaled = share * residual**2 / variance + (1 - share) * residual**2 / wide
        slope = basis.T @ ((1 - scaled) * grown / variance) + ridge * weights
        loss = -total.sum() + 0.5 * (ridge * weights**2).sum()
        return loss, np.append(slope, np.sum(outliers - (1 - share)))

    start = np.append(np.zeros(basis.shape[1]), logit(OUTLIERS))
    bounds = [(None, None)] * basis.shape[1] + [(logit(1e-6), logit(MOST_OUTLIERS))]
    return minimize(loss_and_slope, start, jac=True, method="L-BFGS-B", bounds=bounds).x[:-1]
