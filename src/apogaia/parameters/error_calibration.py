"""Calibration of the labels' errors on stars that the network has not seen.

A network's own errors are tuned to its training stars, all of high SNR. Stars that did not train it show how its labels
scatter about the survey's, whose own errors are known: the validation stars, and half of the stars below the SNR of the
training set. The survey's errors of some labels hide the network's. What the noise does is told without them: by bright
stars' labels that move when noise is added to their spectra. For each label ln of the true over the stated error is a
sum of smooth functions of SNR and Teff; those of all labels are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

__all__ = ["Degraded", "LabelErrorCalibration"]

SNR_COEFFICIENTS, TEFF_COEFFICIENTS = 6, 5  # of splines: errors change smoothly with either
SHARED_RIDGE = 10.0  # penalty on the splines' coefficients that all labels share: a prior of 0.3 about no growth
RIDGE = 30.0  # on a label's own: a prior of 0.2 about the shared ones
CONSTANT_RIDGE = 4.0  # and 0.5 for what all stars share: labels whose own errors hide it keep what the network states
LEAST_STARS = 200  # of a label; with fewer its errors stay as they are
OUTLIERS, OUTLIER_WIDTH = 0.01, 10.0  # first share of labels with gross errors, which is fitted; their errors in units
# of ordinary ones
ODDS = float(logit(1e-6)), float(logit(0.1))  # log odds of the least and the largest share


class Degraded(NamedTuple):
    """Predictions of (m,) bright stars that did not train the network, before and after noise was added."""

    before: LabelPrediction
    after: LabelPrediction
    snr_before: np.ndarray
    snr_after: np.ndarray

    def parts(self, calibration: LabelErrorCalibration, seed: int) -> tuple[np.ndarray, ...]:
        """What a fit needs of them, as of stars with labels whose errors are zero.

        A noisy spectrum's label misses the truth by what the noise moved it and by the bright spectrum's own error. The
        latter is drawn from the errors that a calibration on the survey's labels gives; bright stars' tell it well.
        """
        own = calibration.apply(self.before, self.snr_before).total_error
        drawn = own * np.random.default_rng(seed).standard_normal(own.shape)
        residual, stated = self.before.label + drawn - self.after.label, self.after.total_error
        known = np.isfinite(residual) & _is_error(stated)
        return known, residual, np.zeros_like(stated), stated, self.snr_after, self.after.label[:, 0]


@dataclass(frozen=True)
class LabelErrorCalibration:
    """Factors of the labels' errors, which change smoothly with SNR and Teff; 1 for a label without coefficients."""

    snr_knots: list[float]  # ln SNR
    teff_knots: list[float]  # [K]
    log_growth: list[list[float]]  # of each label: a constant, splines of ln SNR and of Teff; empty: too few stars
    stars: int

    @classmethod
    @takes(prediction=LABEL_PREDICTION, label=any_unit, error=any_unit, snr=u.dimensionless_unscaled)
    def fit(
        cls, prediction: LabelPrediction, label, error, snr, degraded: Degraded | None = None, *, seed: int = 0
    ) -> LabelErrorCalibration:
        """Fit on stars that did not train the network.

        Parameters
        ----------
        prediction
            Of (n,) stars.
        label, error
            (n, 22) labels of the survey and their errors [K, dex]; NaN where unknown.
        snr
            (n,) signal-to-noise ratios of the spectra.
        degraded
            Bright stars before and after noise was added to their spectra; None: the survey's labels alone are used.
        seed
            Of the errors drawn for the bright stars' labels.
        """
        label, error, snr = (np.asarray(values, float) for values in (label, error, snr))
        usable = np.isfinite(prediction.label).all(axis=1) & (snr > 0)
        known = usable[:, None] & np.isfinite(label) & (error > 0) & _is_error(prediction.total_error)
        rows, enough = known.any(axis=1), known.sum(axis=0) >= LEAST_STARS
        if rows.sum() < LEAST_STARS:
            return cls([], [], [[] for _ in LABELS], int(rows.sum()))
        teff = prediction.label[:, 0]
        knots = (
            quantile_knots(np.log(snr[rows]), SNR_COEFFICIENTS).tolist(),
            quantile_knots(teff[rows], TEFF_COEFFICIENTS).tolist(),
        )

        def fitted(*parts: np.ndarray) -> LabelErrorCalibration:
            growths = iter(_log_growths(_samples(*parts, knots=knots, enough=enough)))
            return cls(*knots, [next(growths).tolist() if some else [] for some in enough], int(rows.sum()))

        parts = (known, label - prediction.label, error, prediction.total_error, snr, teff)
        of_labels = fitted(*parts)
        if degraded is None:
            return of_labels
        return fitted(*map(np.concatenate, zip(parts, degraded.parts(of_labels, seed), strict=True)))

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


def _is_error(values: np.ndarray) -> np.ndarray:
    return (values > 0) & np.isfinite(values)


def _basis(log_snr: np.ndarray, teff: np.ndarray, snr_knots: list[float], teff_knots: list[float]) -> np.ndarray:
    one = np.ones((len(log_snr), 1))
    return np.column_stack([one, spline_basis(log_snr, snr_knots), spline_basis(teff, teff_knots)])


class _Sample(NamedTuple):
    """The stars that have one label: m of them."""

    basis: np.ndarray  # (m, coefficients)
    residual: np.ndarray  # (m,) the label minus the network's
    label_error: np.ndarray  # (m,) of the label
    stated: np.ndarray  # (m,) the network's error


def _samples(known, residual, error, stated, snr, teff, *, knots, enough) -> list[_Sample]:
    """One for each label of which there are enough stars."""
    rows = known.any(axis=1)
    basis, known = _basis(np.log(snr[rows]), teff[rows], *knots), known[rows]
    return [
        _Sample(basis[known[:, i]], *(part[rows, i][known[:, i]] for part in (residual, error, stated)))
        for i in np.flatnonzero(enough)
    ]


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
    curvature = np.diag(np.append(np.full(n_splines, SHARED_RIDGE), np.zeros(2 * len(samples))))
    for k, (sample, one) in enumerate(split_up(start)):
        constant = n_splines + 2 * k
        own = [constant, *range(n_splines), constant + 1]
        curvature[np.ix_(own, own)] += _curvature(sample, one)
        curvature[constant, constant] += CONSTANT_RIDGE
    are_odds = np.append(np.zeros(n_splines, bool), np.tile([False, True], len(samples)))
    found, growths = _minimum(shared, start, curvature, are_odds), []
    for sample, start in split_up(found):
        ridge = np.append(np.full(n_splines + 1, RIDGE), 0.0)
        ridge[0] = CONSTANT_RIDGE
        centre = np.concatenate([[0.0], start[1:-1], [0.0]])

        def own_loss(parameters, sample=sample, ridge=ridge, centre=centre):
            loss, slope = _loss(sample, parameters)
            return loss + 0.5 * (ridge * (parameters - centre) ** 2).sum(), slope + ridge * (parameters - centre)

        curvature = _curvature(sample, start) + np.diag(ridge)
        growths.append(_minimum(own_loss, start, curvature, np.arange(len(start)) == len(start) - 1)[:-1])
    return growths


def _minimum(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    curvature: np.ndarray,
    are_odds: np.ndarray,
) -> np.ndarray:
    """Where a function, which comes with its slope, is least.

    The search goes by steps in which the curvature is about one in all directions, which takes a third of the
    evaluations. The parameters that `are_odds` are log odds of outliers: they have bounds, and nothing in common with
    the others in `curvature`.
    """
    steps = np.linalg.inv(np.linalg.cholesky(curvature)).T

    def by_steps(z: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = function(start + steps @ z)
        return value, steps.T @ slope

    bounds = [
        tuple((limit - start[i]) / steps[i, i] for limit in ODDS) if bounded else (None, None)
        for i, bounded in enumerate(are_odds)
    ]
    return start + steps @ minimize(by_steps, np.zeros(len(start)), jac=True, method="L-BFGS-B", bounds=bounds).x


def _curvature(sample: _Sample, parameters: np.ndarray) -> np.ndarray:
    """Expected second derivatives of `_loss`, where all residuals are ordinary."""
    outliers = expit(parameters[-1])
    grown = (sample.stated * np.exp(sample.basis @ parameters[:-1])) ** 2
    weight = 2 * (grown / (grown + sample.label_error**2)) ** 2
    curvature = np.zeros((len(parameters), len(parameters)))
    curvature[:-1, :-1] = sample.basis.T @ (weight[:, None] * sample.basis)
    curvature[-1, -1] = len(weight) * outliers * (1 - outliers)
    return curvature


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
