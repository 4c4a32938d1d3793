"""Which kinds of stars have a label in the survey, and the error of a label that a kind of star does not have.

ASPCAP has some labels of some kinds of stars only: DR14's log g is of giants. A network that never saw the log g of a
dwarf gives it one all the same, off by a third of a dex in a simulated DR14, and states an error of a few hundredths.
How probable it is that a star has a label follows from its predicted Teff, log g and [Fe/H], of stars that did not
train the network. Where the label is rarer by half than in the whole sample, similar stars say little of it, and its
error grows to the spread of the label in the survey.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from astropy import units as u
from scipy.optimize import minimize
from scipy.special import expit

from apogaia.arguments.plain import any_unit
from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.predictions import LABEL_PREDICTION, LabelPrediction, known_labels
from apogaia.parameters.star_splines import StarSplines, with_constant

__all__ = ["LabelPresence"]

COEFFICIENTS = {"teff": 8, "logg": 8, "fe_h": 8}  # of the splines
RIDGE = 1.0  # penalty on the coefficients: a prior of 1 in log odds
LEAST_STARS = 400  # with a label, and LEAST_WITHOUT without it; else its errors stay as they are
LEAST_WITHOUT = 20
RARE = 0.5  # of the share in the whole sample: labels that flags remove at random, however many, are not rare anywhere


@dataclass(frozen=True)
class LabelPresence:
    """Probability that a star has each label; a label without coefficients is known of all kinds of stars."""

    splines: StarSplines | None  # None: too few stars
    coefficients: list[list[float]]  # of each label: a constant, and splines, of log odds; or none
    share: list[float]  # of the sample that has the label
    spread: list[float]  # standard deviation of the label in the survey [K, dex]

    @classmethod
    @takes(prediction=LABEL_PREDICTION, label=any_unit, error=any_unit, snr=u.dimensionless_unscaled)
    def fit(cls, prediction: LabelPrediction, label, error, snr) -> LabelPresence:
        """Fit on stars that did not train the network.

        Parameters
        ----------
        prediction, label, error, snr
            As for `LabelErrorCalibration.fit`.
        """
        label, error, snr = (np.asarray(values, float) for values in (label, error, snr))
        known = known_labels(prediction, label, error, snr)
        rows = known.any(axis=1)
        if rows.sum() < LEAST_STARS:
            return cls.none()
        known, predicted = known[rows], prediction.label[rows]
        splines = StarSplines.of_stars(predicted, snr[rows], coefficients=COEFFICIENTS, snr_coefficients=0)
        basis = with_constant(splines.columns(predicted, snr[rows]))
        coefficients: list[list[float]] = []
        for has in known.T:
            told = has.sum() >= LEAST_STARS and (~has).sum() >= LEAST_WITHOUT
            coefficients.append(_log_odds(basis, has).tolist() if told else [])
        spread = [
            float(np.std(label[rows, i][has])) if told else 0.0
            for i, (has, told) in enumerate(zip(known.T, coefficients, strict=True))
        ]
        return cls(splines, coefficients, known.mean(axis=0).tolist(), spread)

    @takes(prediction=LABEL_PREDICTION)
    def probability(self, prediction: LabelPrediction) -> np.ndarray:
        """That the survey has a label of such a star, over its share in the whole sample: (n, 22); 1 if not known.

        Parameters
        ----------
        prediction
            Of (n,) stars; of their labels, corrected by `LabelShift`.
        """
        found = np.ones(prediction.label.shape)
        if self.splines is None:
            return found
        basis = with_constant(self.splines.columns(prediction.label, np.full(len(found), np.nan)))
        for i, coefficients in enumerate(self.coefficients):
            if coefficients:
                found[:, i] = expit(basis @ coefficients) / self.share[i]
        return found

    @takes(prediction=LABEL_PREDICTION)
    def apply(self, prediction: LabelPrediction) -> LabelPrediction:
        """Errors of labels that stars of this kind hardly have; both parts grow by the same factor, the labels stay.

        To the total error, in quadrature, comes the label's spread in the survey times 1 for a label that no such star
        has, falling to 0 for one that is half as frequent as in the whole sample.
        """
        added = np.clip(1 - self.probability(prediction) / RARE, 0, 1) * np.asarray(self.spread)
        total, factor = prediction.total_error, np.ones(added.shape)
        np.divide(np.hypot(total, added), total, out=factor, where=(added > 0) & (total > 0))
        return LabelPrediction(prediction.label, *(part * factor for part in prediction[1:]))

    @classmethod
    def none(cls) -> LabelPresence:
        """What changes nothing."""
        return cls(None, [[] for _ in LABELS], [1.0] * len(LABELS), [0.0] * len(LABELS))

    def to_dict(self) -> dict:
        """As it travels in a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping) -> LabelPresence:
        """From `to_dict`; a KeyError or TypeError if another version wrote it."""
        splines = given["splines"]
        return cls(**{**given, "splines": splines and StarSplines(**splines)})


def _log_odds(basis: np.ndarray, has: np.ndarray) -> np.ndarray:
    """Coefficients (k,) of the log odds of `has` (m,) on a basis (m, k), with a prior about zero on all."""

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        odds = basis @ coefficients
        value = np.logaddexp(0, odds).sum() - odds[has].sum() + 0.5 * RIDGE * (coefficients**2).sum()
        return value, basis.T @ (expit(odds) - has) + RIDGE * coefficients

    return minimize(loss, np.zeros(basis.shape[1]), jac=True, method="L-BFGS-B").x
