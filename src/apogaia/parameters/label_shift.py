"""A smooth correction of the labels, from stars that the network has not seen.

The network draws its labels towards the middle of the training set: its hottest stars come out too cool, its metal-poor
ones too metal-rich, by a twentieth of their distance from the middle in the default survey. And noise changes labels:
faint stars are not off as bright ones are. Stars that did not train the network show both, because the errors of the
survey's labels, however large, average out.

The correction of a label is a sum of smooth functions of Teff, log g and [Fe/H] as predicted, and of the SNR. An
element's network is told these three labels anyway, so that the correction tells it nothing new about other elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from astropy import units as u

from apogaia.arguments.plain import any_unit
from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.predictions import LABEL_PREDICTION, LabelPrediction, is_positive, known_labels
from apogaia.parameters.star_splines import StarSplines, with_constant

__all__ = ["LabelShift"]

COEFFICIENTS, SNR_COEFFICIENTS = {"teff": 8, "logg": 8, "fe_h": 8}, 5  # of the splines
LEAST_STARS = 400  # of a label; of 250, which also calibrate its errors, the errors would come out 10 % too small
PRIOR = 1.0  # standard deviation of a spline's coefficient about zero, in units of the label's median stated error
HUBER = 2.0  # residuals of more standard deviations count less: some labels have gross errors
ITERATIONS = 20  # of the weights that follow from that


@dataclass(frozen=True)
class LabelShift:
    """What is added to the labels; nothing to a label without coefficients."""

    splines: StarSplines | None  # None: too few stars
    coefficients: list[list[float]]  # of each label [K, dex]: a constant, and splines, or none

    @classmethod
    @takes(prediction=LABEL_PREDICTION, label=any_unit, error=any_unit, snr=u.dimensionless_unscaled)
    def fit(cls, prediction: LabelPrediction, label, error, snr) -> LabelShift:
        """Fit on stars that did not train the network.

        Parameters
        ----------
        prediction, label, error, snr
            As for `LabelErrorCalibration.fit`; `known_labels` count, and a label of fewer than 400 stars stays.
        """
        label, error, snr = (np.asarray(values, float) for values in (label, error, snr))
        known = known_labels(prediction, label, error, snr)
        rows = known.any(axis=1)
        if rows.sum() < LEAST_STARS:
            return cls.none()
        splines = StarSplines.of_stars(
            prediction.label[rows], snr[rows], coefficients=COEFFICIENTS, snr_coefficients=SNR_COEFFICIENTS
        )
        basis = with_constant(splines.columns(prediction.label[rows], snr[rows]))
        coefficients: list[list[float]] = []
        for i in range(len(LABELS)):
            has = known[:, i]
            if has.sum() < LEAST_STARS:
                coefficients.append([])
                continue
            residual, stated = label[has, i] - prediction.label[has, i], prediction.total_error[has, i]
            prior = PRIOR * float(np.median(stated))
            found = _robust_mean(basis[has[rows]], residual, np.hypot(error[has, i], stated), prior)
            coefficients.append(found.tolist())
        return cls(splines, coefficients)

    @takes(prediction=LABEL_PREDICTION, snr=u.dimensionless_unscaled)
    def apply(self, prediction: LabelPrediction, snr) -> LabelPrediction:
        """Correct the labels; their errors stay.

        Parameters
        ----------
        prediction
            Of (n,) stars, as the network predicts.
        snr
            (n,) signal-to-noise ratios of their spectra; unknown counts as a middle one, for a bright star's labels
            must not be corrected as a faint one's.
        """
        if self.splines is None:
            return prediction
        snr = np.asarray(snr, float)
        snr = np.where(is_positive(snr), snr, np.exp(np.median(self.splines.log_snr_knots)))
        basis = with_constant(self.splines.columns(prediction.label, snr))
        corrected = np.array(prediction.label, float)
        for i, coefficients in enumerate(self.coefficients):
            if coefficients:
                corrected[:, i] += basis @ coefficients
        return prediction._replace(label=corrected)

    @classmethod
    def none(cls) -> LabelShift:
        """A correction that changes nothing."""
        return cls(None, [[] for _ in LABELS])

    def to_dict(self) -> dict:
        """As it travels in a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping) -> LabelShift:
        """From `to_dict`; a KeyError or TypeError if another version wrote it."""
        splines = given["splines"]
        return cls(splines and StarSplines(**splines), given["coefficients"])


def _robust_mean(basis: np.ndarray, residual: np.ndarray, sd: np.ndarray, prior: float) -> np.ndarray:
    """Coefficients of the residuals' mean (Huber 1964, Ann. Math. Stat. 35, 73), by iterated weights.

    All but the constant, the first, have a prior about zero. SciPy's `least_squares` finds the same (a test), but
    takes seconds for the labels of a small survey.
    """
    scaled, wanted = basis / sd[:, None], residual / sd
    coefficients, free = np.zeros(basis.shape[1]), np.arange(basis.shape[1]) == 0
    for _ in range(ITERATIONS):
        distance = np.abs(wanted - scaled @ coefficients)
        weighted = scaled * np.minimum(1.0, HUBER / np.maximum(distance, HUBER))[:, None]
        normal = weighted.T @ scaled + np.diag(np.where(free, 0.0, prior**-2))
        coefficients = np.linalg.solve(normal, weighted.T @ wanted)
    return coefficients
