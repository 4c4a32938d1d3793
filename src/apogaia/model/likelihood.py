"""The likelihoods that train the networks: predicted against measured parallaxes (paper Eqs. 3-4) or labels."""

from __future__ import annotations

import math

import keras
from keras import ops

__all__ = ["label_loss", "parallax_loss", "robust_parallax_loss"]


@keras.saving.register_keras_serializable(package="apogaia")
def parallax_loss(y_true, y_pred):
    """Negative log likelihood per star, without its constant (paper Eqs. 3-4).

    J = (predicted - parallax)^2 exp(-s) / 2 + s / 2 with s = ln(error^2 + predicted variance).

    The log variance needs no clipping: Gaia's error bounds s from below, s is a sum of exponentials taken in the log,
    and exp(-s) can only underflow to zero, so loss and gradient are finite for any network output.

    Parameters
    ----------
    y_true
        (n, 2) Gaia's parallax and its error [mas]; the error is positive.
    y_pred
        (n, 2) predicted Gaia parallax [mas] and log variance of the predicted true parallax [ln mas^2].
    """
    parallax, error = y_true[:, 0], y_true[:, 1]
    log_total = ops.logaddexp(2.0 * ops.log(error), y_pred[:, 1])
    return 0.5 * ops.square(y_pred[:, 0] - parallax) * ops.exp(-log_total) + 0.5 * log_total


def robust_parallax_loss(fraction: float, width: float):
    """A loss like `parallax_loss` that is robust to a few wrong parallaxes, matches or magnitudes.

    Each star is, with probability `fraction`, a contaminant whose standard deviation is `width` times as large:
    J = -ln[(1 - fraction) N(1) + fraction N(width)] (Hogg, Bovy & Lang 2010, section 3).
    """
    log_good, log_bad = math.log1p(-fraction), math.log(fraction / width)

    def loss(y_true, y_pred):
        parallax, error = y_true[:, 0], y_true[:, 1]
        log_total = ops.logaddexp(2.0 * ops.log(error), y_pred[:, 1])
        square = ops.square(y_pred[:, 0] - parallax) * ops.exp(-log_total)
        good, bad = log_good - 0.5 * square, log_bad - 0.5 * square / width**2
        return 0.5 * log_total - ops.logaddexp(good, bad)

    return loss


@keras.saving.register_keras_serializable(package="apogaia")
def label_loss(y_true, y_pred):
    """Negative log likelihood per star, without its constant, as a mean over the labels that the star has.

    J = mean of [(label - predicted)^2 exp(-S) + S] / 2 with S = ln(error^2 + predicted variance): Leung & Bovy (2019a),
    whose mean over all labels, times number of labels over number present, is this one. A label is missing if it or
    its error is not finite. A star without labels has a loss of 0.

    Parameters
    ----------
    y_true
        (n, labels, 2) label and its error, in units of the label.
    y_pred
        (n, labels, 2) predicted label and log variance of the prediction, without the label's error.
    """
    present = ops.isfinite(y_true[..., 0]) & ops.isfinite(y_true[..., 1])
    # not only the loss of a missing label must be replaced, but its NaN before: NaN times 0 is NaN in the gradient
    label, error = (ops.where(present, y_true[..., i], 1.0) for i in (0, 1))
    log_total = ops.logaddexp(2.0 * ops.log(error), y_pred[..., 1])
    losses = 0.5 * ops.square(y_pred[..., 0] - label) * ops.exp(-log_total) + 0.5 * log_total
    total = ops.sum(ops.where(present, losses, 0.0), axis=-1)
    return total / ops.maximum(ops.sum(ops.cast(present, total.dtype), axis=-1), 1.0)
