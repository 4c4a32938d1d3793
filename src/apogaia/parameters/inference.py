"""Stellar parameters and abundances from a trained censored network, by Monte-Carlo dropout."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from astropy import units as u
from keras import ops

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.model.fast import devices
from apogaia.model.inference import in_batches, seed_dropout
from apogaia.model.networks import check_pixels
from apogaia.parameters.dropout_cpu import FastCensoredDropout
from apogaia.parameters.predictions import LabelPrediction

__all__ = ["predict_labels", "predict_labels_reference"]

BATCH_SIZE = 256  # at least, on the CPU


@takes(spectra=u.dimensionless_unscaled, parts=file_path)
def predict_labels(
    model: keras.Model,
    spectra,
    *,
    passes: int,
    seed: int,
    batch_size: int = 64,
    progress: bool = True,
    first_row: int = 0,
    parts: Path | None = None,
) -> LabelPrediction:
    """Labels of stars by Monte-Carlo dropout (Leung & Bovy 2019a, section 3), on all cores of the CPU.

    The dropout masks of a star follow from the seed and its row alone, so neither the batch size nor the parts in which
    a survey is predicted change anything.

    Parameters
    ----------
    model
        A censored network.
    spectra
        (n, pixels) normalised spectra, an array or an HDF5 dataset, read batch by batch.
    passes
        Dropout passes per spectrum.
    seed
        Of the dropout masks.
    batch_size
        Spectra in memory at a time; 256 (8 MB) at least, so that the cores seldom wait for the last stars of a batch.
    progress
        Show a progress bar.
    first_row
        Row of the first of `spectra` in the survey of which they are a part.
    parts
        As for `apogaia.model.inference.in_batches`.

    Raises
    ------
    ValueError
        If the spectra have another number of pixels than the model's, or the model other than two convolutions, or
        layers with different rates of dropout: `predict_labels_reference` takes any.
    """
    check_pixels(model, spectra)
    batch_size = max(batch_size, BATCH_SIZE)
    network = FastCensoredDropout.from_model(model)
    devices.log_once("inference of stellar parameters", "numba")

    def outputs(batch: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return network.moments(batch, first_row + rows, passes=passes, seed=seed)

    return LabelPrediction.from_moments(*in_batches(outputs, spectra, batch_size, progress, (len(LABELS),), parts))


@takes(spectra=u.dimensionless_unscaled)
def predict_labels_reference(
    model: keras.Model, spectra, *, passes: int, seed: int, batch_size: int = 64, progress: bool = False
) -> LabelPrediction:
    """The same as `predict_labels` by calling the Keras model once per pass: slow and plain, on any backend and device.

    Its masks are Keras' own, so the results agree with `predict_labels` in distribution only.
    """
    check_pixels(model, spectra)
    seed_dropout(model, seed)

    def outputs(batch: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        inputs = {"spectrum": ops.convert_to_tensor(batch)}
        draws = np.stack([ops.convert_to_numpy(model(inputs, training=True)) for _ in range(passes)]).astype(np.float64)
        label, variance = draws[..., 0], np.exp(draws[..., 1])
        return label.mean(axis=0), label.var(axis=0), variance.mean(axis=0)

    return LabelPrediction.from_moments(*in_batches(outputs, spectra, batch_size, progress, (len(LABELS),)))
