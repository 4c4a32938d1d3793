"""Predictions of the network for stellar parameters: labels and the parts of their errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from apogaia.arguments.plain import Columns, any_unit
from apogaia.formats.stars_h5_columns import LABELS

__all__ = ["LABEL_PREDICTION", "LabelPrediction", "is_positive", "known_labels"]


class LabelPrediction(NamedTuple):
    """Labels in the order of `LABELS`, each (n, 22) [K, dex]; NaN where the spectrum has a NaN."""

    label: np.ndarray  # mean over the dropout passes
    model_error: np.ndarray  # standard deviation over the passes
    predictive_error: np.ndarray  # root of the mean variance that the network states
    total_error: np.ndarray  # the two in quadrature

    @classmethod
    def unknown(cls, n_stars: int) -> LabelPrediction:
        """Prediction for stars without a spectrum."""
        return cls(*np.full((4, n_stars, len(LABELS)), np.nan))

    @classmethod
    def from_moments(cls, mean: np.ndarray, variance: np.ndarray, predicted_variance: np.ndarray) -> LabelPrediction:
        """From mean and variance over the passes and the mean predicted variance, (n, 22) each."""
        return cls(mean, np.sqrt(variance), np.sqrt(predicted_variance), np.sqrt(variance + predicted_variance))


LABEL_PREDICTION = Columns(dict.fromkeys(LabelPrediction._fields, any_unit))  # kelvin and dex beside each other


def is_positive(values: np.ndarray) -> np.ndarray:
    """Whether each value is a finite number above 0, as an error or an SNR must be."""
    return (values > 0) & np.isfinite(values)


def known_labels(prediction: LabelPrediction, label: np.ndarray, error: np.ndarray, snr: np.ndarray) -> np.ndarray:
    """Which labels of a survey calibrate predictions: boolean (n, 22), for labels and errors (n, 22) and SNRs (n,).

    Those of stars with a complete prediction and an SNR, where the label is known and both errors are positive.
    """
    whole = np.isfinite(prediction.label).all(axis=1) & is_positive(snr)
    return whole[:, None] & np.isfinite(label) & is_positive(error) & is_positive(prediction.total_error)
