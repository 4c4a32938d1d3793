"""Calibration of the labels' errors on stars that the network has not seen.

A network's own errors are tuned to its training stars, all of high SNR. Stars that did not train it show how its labels
scatter about the survey's, whose own errors are known: the validation stars, and half of the stars below the SNR of the
training set. For each label ln of the true over the stated error is a sum of smooth functions of SNR and Teff, and
those of all labels are alike: the survey's errors of some labels are too large to tell more of them than a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

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
SHARED_RIDGE = 10.0  # penalty on the splines' coefficients that all labels share: a prior of 0.3 about no growth
RIDGE = 30.0  # on a label's own: a prior of 0.2 about the shared ones
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
        known = known[rows]
        enough = known.sum(axis=0) >= LEAST_STARS
        samples = [
            _Sample(
                basis[known[:, i]],
                *(part[rows, i][known[:, i]] for part in (label - prediction.label, error, prediction.total_error)),
            )
            for i in np.flatnonzero(enough)
        ]
        fits: list[list[float]] = [[] for _ in LABELS]
        for i, growth in zip(np.flatnonzero(enough), _log_growths(samples), strict=True):
            fits[i] = growth.tolist()
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


class _Sample(NamedTuple):
    """The stars that have one label: m of them."""

    basis: np.ndarray  # (m, coefficients)
    residual: np.ndarray  # (m,) the survey's label minus the network's
    label_error: np.ndarray  # (m,) of the survey's label
    stated: np.ndarray  # (m,) the network's error


def _log_growths(samples: Sequence[_Sample]) -> list[np.ndarray]:
    """Coefficients of ln growth of each label: first functions that all labels share, then each label's own."""
    if not samples:
        return []
    n_splines = samples[0].basis.shape[1] - 1

    def split_up(parameters: np.ndarray) -> Iterator[tuple[_Sample, np.ndarray]]:
        own = parameters[n_splines:].reshape(len(samples), 2)  # a constant and the log odds of a gross error
        for sample, (constant, log_odds) in zip(samples, own, strict=True):
            yield sample, np.concatenate([[constant], parameters[:n_splines], [log_odds]])

    def shared(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        total, slopes = 0.0, np.zeros_like(parameters)
        for k, (sample, one) in enumerate(split_up(parameters)):
            loss, slope = _loss(sample, one)
            constant = parameters[n_splines + 2 * k]
            total += loss + 0.5 * CONSTANT_RIDGE * constant**2
            slopes[:n_splines] += slope[1:-1]
            slopes[n_splines + 2 * k : n_splines + 2 * k + 2] = slope[0] + CONSTANT_RIDGE * constant, slope[-1]
        splines = parameters[:n_splines]
        slopes[:n_splines] += SHARED_RIDGE * splines
        return total + 0.5 * SHARED_RIDGE * (splines**2).sum(), slopes

    start = np.concatenate([np.zeros(n_splines), np.tile([0.0, logit(OUTLIERS)], len(samples))])
    odds = (logit(1e-6), logit(MOST_OUTLIERS))
    bounds = [(None, None)] * n_splines + [(None, None), odds] * len(samples)
    found = minimize(shared, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    growths = []
    for sample, start in split_up(found):
        ridge = np.append(np.full(n_splines + 1, RIDGE), 0.0)
        ridge[0] = CONSTANT_RIDGE
        centre = np.concatenate([[0.0], start[1:-1], [0.0]])

        def own(parameters, sample=sample, ridge=ridge, centre=centre):
            loss, slope = _loss(sample, parameters)
            return loss + 0.5 * (ridge * (parameters - centre) ** 2).sum(), slope + ridge * (parameters - centre)

        bounds = [(None, None)] * (n_splines + 1) + [odds]
        growths.append(minimize(own, start, jac=True, method="L-BFGS-B", bounds=bounds).x[:-1])
    return growths


def _loss(sample: _Sample, parameters: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus ln likelihood of one label's residuals, a few of them gross, and its slope."""
    weights, outliers = parameters[:-1], expit(parameters[-1])
    grown = (sample.stated * np.exp(sample.basis @ weights)) ** 2
    variance = grown + sample.label_error**2
    squared = sample.residual**2
    ordinary = np.log1p(-outliers) - 0.5 * (np.log(variance) + squared / variance)
    wide = variance * OUTLIER_WIDTH**2
    gross = np.log(outliers) - 0.5 * (np.log(wide) + squared / wide)
    total = np.logaddexp(ordinary, gross)
    share = np.exp(ordinary - total)
    scaled = share * squared / variance + (1 - share) * squared / wide
    slope = sample.basis.T @ ((1 - scaled) * grown / variance)
    return -total.sum(), np.append(slope, np.sum(outliers - (1 - share)))
