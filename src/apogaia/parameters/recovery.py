"""How well labels are recovered: bias, scatter, coverage, and the published precision; and which windows matter."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from astropy import units as u
from astropy.table import Table

from apogaia.arguments.plain import any_unit
from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.network import CENSORED_ELEMENTS
from apogaia.parameters.predictions import LABEL_PREDICTION, LabelPrediction
from apogaia.physics.luminosity import robust_scatter

__all__ = [
    "PUBLISHED_LEARNING_CURVE",
    "PUBLISHED_SCATTER",
    "coverage_in_bins",
    "network_labels",
    "occlusion",
    "recovery",
    "scatter_in_bins",
    "true_labels",
]

# Leung & Bovy (2019a), the censored network on visits of its training stars against ASPCAP's labels of the combined
# spectra: robust scatter [K, dex]
PUBLISHED_SCATTER = dict(
    zip(
        LABELS,
        (
            *(23.6, 0.048),
            *(0.032, 0.044, 0.039, 0.031, 0.117, 0.023, 0.048, 0.025, 0.095, 0.044),
            *(0.036, 0.026, 0.037, 0.092, 0.065, 0.034, 0.032, 0.018, 0.077, 0.023),
        ),
        strict=True,
    )
)
# The same paper: training stars -> the scatter of three labels
PUBLISHED_LEARNING_CURVE = {
    1043: {"teff": 53.0, "fe_h": 0.039, "mg_h": 0.085},
    2087: {"teff": 35.0, "fe_h": 0.029, "mg_h": 0.038},
    4175: {"teff": 28.0, "fe_h": 0.021, "mg_h": 0.032},
    8351: {"teff": 27.0, "fe_h": 0.022, "mg_h": 0.027},
    16703: {"teff": 24.0, "fe_h": 0.019, "mg_h": 0.025},
}
SAME_ABUNDANCE = {"ci_h": "c_h", "tiii_h": "ti_h"}  # other lines of the same element
STARS_AT_ONCE = 10  # in `occlusion`
LEAST_STARS = 20  # of a bin


def true_labels(truth: Table) -> np.ndarray:
    """The 22 labels of the truth of a simulated survey, (n, 22) [K, dex]."""
    return np.column_stack([np.asarray(truth[SAME_ABUNDANCE.get(label, label)], float) for label in LABELS])


@takes(prediction=LABEL_PREDICTION, label=any_unit, label_error=any_unit)
def recovery(prediction: LabelPrediction, label, label_error=None) -> Table:
    """Bias, scatter and coverage of each label.

    Parameters
    ----------
    prediction
        Of (n,) stars.
    label
        (n, 22) what is held to be right [K, dex]; NaN where unknown.
    label_error
        (n, 22) its error, which counts in the coverage; None: it has none.

    Returns
    -------
    Table
        A row per label: label, stars, bias (median of predicted minus right), scatter (1.4826 times the median absolute
        deviation), stated (the median stated error), coverage (share of stars within their stated error; 0.683 is
        right), published (`PUBLISHED_SCATTER`).
    """
    difference, error = _residuals(prediction, label, label_error)
    rows = []
    for i, name in enumerate(LABELS):
        known = np.isfinite(difference[:, i])
        residual, stated = difference[known, i], error[known, i]
        few = len(residual) < LEAST_STARS
        numbers = (np.nan,) * 4
        if not few:
            inside = float(np.mean(np.abs(residual) < stated))
            typical = float(np.median(np.asarray(prediction.total_error)[known, i]))
            numbers = (float(np.median(residual)), robust_scatter(residual), typical, inside)
        rows.append((name, int(known.sum()), *numbers, PUBLISHED_SCATTER[name]))
    names = ("label", "stars", "bias", "scatter", "stated", "coverage", "published")
    return Table(rows=rows, names=names)


@takes(prediction=LABEL_PREDICTION, label=any_unit, values=any_unit, edges=any_unit, label_error=any_unit)
def coverage_in_bins(prediction: LabelPrediction, label, values, edges, label_error=None) -> np.ndarray:
    """Fraction of stars within their stated error, (22, bins), in bins of `values` (n,); NaN where stars are few."""
    difference, error = _residuals(prediction, label, label_error)
    return _in_bins(difference, error, values, edges, lambda residual, stated: np.mean(np.abs(residual) < stated))


@takes(prediction=LABEL_PREDICTION, label=any_unit, values=any_unit, edges=any_unit)
def scatter_in_bins(prediction: LabelPrediction, label, values, edges) -> tuple[np.ndarray, np.ndarray]:
    """Robust scatter and median stated error [K, dex], (22, bins) each, in bins of `values` (n,) between `edges`."""
    difference, error = _residuals(prediction, label, None)
    scatter = _in_bins(difference, error, values, edges, lambda residual, _: robust_scatter(residual))
    return scatter, _in_bins(difference, error, values, edges, lambda _, stated: np.median(stated))


@takes(spectra=u.dimensionless_unscaled)
def occlusion(network: keras.Model, spectra, elements: Sequence[str] = CENSORED_ELEMENTS) -> np.ndarray:
    """How labels change when the lines of an element are hidden: each window in turn set to the mean spectrum.

    Parameters
    ----------
    network
        A censored network, used without dropout.
    spectra
        (n, pixels) normalised spectra.
    elements
        Whose windows are hidden.

    Returns
    -------
    numpy.ndarray
        (elements, 22) median absolute change of each label over the stars [K, dex].
    """
    spectra = np.asarray(spectra, np.float32)
    mean = keras.ops.convert_to_numpy(network.get_layer("mean_subtraction").mean)
    windows = [network.get_layer(f"{element.lower()}_window").pixels for element in elements]
    changes = []
    for stars in np.array_split(spectra, -(-len(spectra) // STARS_AT_ONCE)):
        # the spectra as they are and with each window hidden, in one call
        seen = np.repeat(stars[None], 1 + len(windows), axis=0)
        for window, hidden in zip(windows, seen[1:], strict=True):
            hidden[:, window] = mean[window]
        labels = network_labels(network, seen.reshape(-1, spectra.shape[1]), len(seen) * STARS_AT_ONCE)
        labels = labels.reshape(*seen.shape[:2], -1)
        changes.append(np.abs(labels[1:] - labels[0]))
    return np.median(np.concatenate(changes, axis=1), axis=1)


@takes(spectra=u.dimensionless_unscaled)
def network_labels(network: keras.Model, spectra, batch_size: int = 512) -> np.ndarray:
    """Labels without dropout, (n, 22) [K, dex], of finite spectra (n, pixels)."""
    blocks = [spectra[start : start + batch_size] for start in range(0, len(spectra), batch_size)]
    # its many small layers take several times as long when they are called one by one, not compiled
    return np.concatenate([network.predict_on_batch({"spectrum": block})[..., 0] for block in blocks])


def _residuals(prediction: LabelPrediction, label, label_error) -> tuple[np.ndarray, np.ndarray]:
    difference = np.asarray(prediction.label) - np.asarray(label, float)
    error = np.asarray(prediction.total_error)
    return difference, error if label_error is None else np.hypot(error, np.asarray(label_error, float))


def _in_bins(difference: np.ndarray, error: np.ndarray, values, edges, statistic) -> np.ndarray:
    place = np.digitize(np.asarray(values, float), np.asarray(edges, float)) - 1
    found = np.full((difference.shape[1], len(edges) - 1), np.nan)
    for b in range(found.shape[1]):
        for i in range(len(found)):
            rows = (place == b) & np.isfinite(difference[:, i]) & np.isfinite(error[:, i])
            if rows.sum() >= LEAST_STARS:
                found[i, b] = statistic(difference[rows, i], error[rows, i])
    return found
