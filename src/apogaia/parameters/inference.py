"""Stellar parameters and abundances from a trained censored network, by Monte-Carlo dropout."""

from __future__ import annotations

import keras
import numpy as np
from astropy import units as u
from keras import ops
from tqdm.auto import tqdm

from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.model.fast import devices
from apogaia.model.networks import check_pixels
from apogaia.parameters.dropout_cpu import FastCensoredDropout
from apogaia.parameters.predictions import LabelPrediction

__all__ = ["predict_labels", "predict_labels_reference"]


@takes(spectra=u.dimensionless_unscaled)
def predict_labels(
    model: keras.Model, spectra, *, passes: int, seed: int, batch_size: int = 64, progress: bool = True
) -> LabelPrediction:
    """Labels of stars by Monte-Carlo dropout, on all cores of the CPU.

    The dropout masks of a star follow from the seed and its row in `spectra` alone, so the batch size changes nothing.

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
        Spectra in memory at a time.
    progress
        Show a progress bar.

    Raises
    ------
    ValueError
        If the spectra have another number of pixels than the model's, or the model other than two convolutions, or
        layers with different rates of dropout: `predict_labels_reference` takes any.
    """
    check_pixels(model, spectra)
    network = FastCensoredDropout.from_model(model)
    devices.log_once("inference of stellar parameters", "numba")

    def outputs(batch: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return network.moments(batch, rows, passes=passes, seed=seed)

    return _in_batches(outputs, spectra, batch_size, progress)


@takes(spectra=u.dimensionless_unscaled)
def predict_labels_reference(
    model: keras.Model, spectra, *, passes: int, seed: int, batch_size: int = 64, progress: bool = False
) -> LabelPrediction:
    """The same as `predict_labels` by calling the Keras model once per pass: slow and plain, on any backend and device.

    Its masks are Keras' own, so the results agree with `predict_labels` in distribution only.
    """
    check_pixels(model, spectra)
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout) and layer.rate > 0]
    for i, layer in enumerate(dropouts):  # one that drops nothing has no seed
        layer.seed_generator.state.assign(np.array([seed, i], "uint32"))

    def outputs(batch: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        inputs = {"spectrum": ops.convert_to_tensor(batch)}
        draws = np.stack([ops.convert_to_numpy(model(inputs, training=True)) for _ in range(passes)]).astype(np.float64)
        label, variance = draws[..., 0], np.exp(draws[..., 1])
        return label.mean(axis=0), label.var(axis=0), variance.mean(axis=0)

    return _in_batches(outputs, spectra, batch_size, progress)


def _in_batches(outputs, spectra, batch_size: int, progress: bool) -> LabelPrediction:
    """Run `outputs` (finite spectra, their rows) -> mean, variance of the labels, mean predicted variance."""
    n_stars = spectra.shape[0]
    moments = np.full((3, n_stars, len(LABELS)), np.nan)
    with tqdm(total=n_stars, unit="spectrum", disable=not progress) as bar:
        for start in range(0, n_stars, batch_size):
            batch = np.asarray(spectra[start : start + batch_size], np.float32)
            good = np.isfinite(batch).all(axis=1)
            rows = start + np.flatnonzero(good)
            if len(rows):
                moments[:, rows] = outputs(batch[good], rows)
            bar.update(len(batch))
    return LabelPrediction.from_moments(*moments)
