"""Calibration of the labels' errors on stars that the network has not seen.

A network's own errors are tuned to its training stars, all of high SNR. Stars that did not train it show how its labels
scatter about the survey's, whose own errors are known: the validation stars, and half of the stars below the SNR of the
training set. The survey's errors of some labels hide the network's. What the noise does is told without them: by bright
stars' labels that move when noise is added to their spectra. For each label ln of the true over the stated error is a
line in ln of the stated error, because errors differ less from star to star than the network states, plus smooth
functions of Teff and SNR, which are alike for all labels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from astropy import units as u
from scipy.optimize import minimize
from scipy.special import expit, logit

from apogaia.arguments.plain import any_unit
from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.predictions import LABEL_PREDICTION, LabelPrediction, is_positive, known_labels
from apogaia.parameters.star_splines import StarSplines

__all__ = ["Degraded", "LabelErrorCalibration"]

COEFFICIENTS, SNR_COEFFICIENTS = {"teff": 5}, 8  # of the splines
SHARED_RIDGE = 10.0  # penalty on the splines' coefficients that all labels share: a prior of 0.3 about no growth
RIDGE = 5.0  # on a label's own: a prior of 0.4 about the shared ones
LINE_RIDGE = 4.0  # and 0.5 for the line: labels whose own errors hide it keep what the network states
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
        known = np.isfinite(residual) & is_positive(stated)
        return known, residual, np.zeros_like(stated), stated, self.snr_after, self.after.label


@dataclass(frozen=True)
class LabelErrorCalibration:
    """Factors of the labels' errors; 1 for a label without coefficients."""

    splines: StarSplines | None  # None: too few stars
    log_growth: list[list[float]]  # of each label: a line in ln stated error, and splines, or none
    log_stated: list[list[float]]  # of each label: percentiles 0.5, 50 and 99.5 of ln stated error [K, dex]
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
        known = known_labels(prediction, label, error, snr)
        rows, enough = known.any(axis=1), known.sum(axis=0) >= LEAST_STARS
        if rows.sum() < LEAST_STARS:
            return dataclasses.replace(cls.none(), stars=int(rows.sum()))
        splines = StarSplines.of_stars(
            prediction.label[rows], snr[rows], coefficients=COEFFICIENTS, snr_coefficients=SNR_COEFFICIENTS
        )

        log_stated = [
            np.percentile(np.log(prediction.total_error[known[:, i], i]), [0.5, 50.0, 99.5]).tolist() if some else []
            for i, some in enumerate(enough)
        ]

        def fitted(*parts: np.ndarray) -> LabelErrorCalibration:
            growths = iter(_log_growths(_samples(*parts, splines=splines, log_stated=log_stated)))
            growth = [next(growths).tolist() if some else [] for some in enough]
            return cls(splines, growth, log_stated, int(rows.sum()))

        parts = (known, label - prediction.label, error, prediction.total_error, snr, prediction.label)
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
        if self.splines is None:
            return prediction
        splines = self.splines.columns(prediction.label, np.asarray(snr, float))
        factor = np.ones((len(snr), len(LABELS)))
        for i, growth in enumerate(self.log_growth):
            if growth:
                line = _line(prediction.total_error[:, i], self.log_stated[i])
                factor[:, i] = np.exp(np.column_stack([line, splines]) @ growth)
        return LabelPrediction(prediction.label, *(part * factor for part in prediction[1:]))

    @classmethod
    def none(cls) -> LabelErrorCalibration:
        """A calibration that changes nothing."""
        return cls(None, [[] for _ in LABELS], [[] for _ in LABELS], 0)

    def to_dict(self) -> dict:
        """As it travels in a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping) -> LabelErrorCalibration:
        """From `to_dict`; a KeyError or TypeError if another version wrote it."""
        splines = given["splines"]
        return cls(**{**given, "splines": splines and StarSplines(**splines)})


def _line(stated: np.ndarray, log_stated: Sequence[float]) -> np.ndarray:
    """Columns (n, 2) of a line in ln stated error: 0 at the median, and constant beyond the outer percentiles."""
    lowest, middle, highest = log_stated
    known = is_positive(stated)
    column = np.log(stated, out=np.full(np.shape(stated), middle), where=known)
    return np.column_stack([np.ones(len(column)), np.clip(column, lowest, highest) - middle])


class _Sample(NamedTuple):
    """The stars that have one label: m of them."""

    basis: np.ndarray  # (m, coefficients): a line, and splines
    residual: np.ndarray  # (m,) the label minus the network's
    label_error: np.ndarray  # (m,) of the label
    stated: np.ndarray  # (m,) the network's error


def _samples(known, residual, error, stated, snr, label, *, splines, log_stated) -> list[_Sample]:
    """One for each label of which there are enough stars."""
    rows = known.any(axis=1)
    columns, known = splines.columns(label[rows], snr[rows]), known[rows]
    samples = []
    for i, percentiles in enumerate(log_stated):
        if percentiles:
            parts = [part[rows, i][known[:, i]] for part in (residual, error, stated)]
            basis = np.column_stack([_line(parts[-1], percentiles), columns[known[:, i]]])
            samples.append(_Sample(basis, *parts))
    return samples


def _log_growths(samples: Sequence[_Sample]) -> list[np.ndarray]:
    """Coefficients of ln growth of each label: first splines that all labels share, then each label's own."""
    if not samples:
        return []
    n_splines = samples[0].basis.shape[1] - 2
    own = [n_splines + 3 * k + np.arange(3) for k in range(len(samples))]  # a line, and log odds of a gross error

    def places(k: int) -> np.ndarray:
        """Of one label's parameters among those of all."""
        return np.concatenate([own[k][:2], np.arange(n_splines), own[k][2:]])

    def shared(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        total, slopes = 0.5 * (ridge * parameters**2).sum(), ridge * parameters
        for k, sample in enumerate(samples):
            loss, slope = _loss(sample, parameters[places(k)])
            total += loss
            slopes[places(k)] += slope
        return total, slopes

    start = np.concatenate([np.zeros(n_splines), np.tile([0.0, 0.0, logit(OUTLIERS)], len(samples))])
    ridge = np.concatenate([np.full(n_splines, SHARED_RIDGE), np.tile([LINE_RIDGE, LINE_RIDGE, 0.0], len(samples))])
    curvature = np.diag(ridge)
    for k, sample in enumerate(samples):
        curvature[np.ix_(places(k), places(k))] += _curvature(sample, start[places(k)])
    are_odds = np.append(np.zeros(n_splines, bool), np.tile([False, False, True], len(samples)))
    found, growths = _minimum(shared, start, curvature, are_odds), []
    for k, sample in enumerate(samples):
        start = found[places(k)]
        ridge_of_one = np.concatenate([[LINE_RIDGE] * 2, np.full(n_splines, RIDGE), [0.0]])
        centre = np.concatenate([[0.0, 0.0], start[2:-1], [0.0]])

        def own_loss(parameters, sample=sample, ridge=ridge_of_one, centre=centre):
            loss, slope = _loss(sample, parameters)
            return loss + 0.5 * (ridge * (parameters - centre) ** 2).sum(), slope + ridge * (parameters - centre)

        curvature = _curvature(sample, start) + np.diag(ridge_of_one)
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
