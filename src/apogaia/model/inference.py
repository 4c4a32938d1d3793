"""Luminosities of stars from a trained network, by Monte-Carlo dropout."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from astropy import units as u
from keras import ops
from tqdm.auto import tqdm

from apogaia import files
from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.model import model_file
from apogaia.model.error_calibration import ErrorCalibration, Prediction
from apogaia.model.fast import devices, dropout_jax
from apogaia.model.fast.dropout_cpu import FastDropout
from apogaia.model.networks import check_pixels
from apogaia.reduction import stars_h5
from apogaia.survey import InferenceSettings

__all__ = [
    "in_batches",
    "predict",
    "predict_calibrated",
    "predict_reference",
    "predict_survey",
    "read_error_calibration",
    "seed_dropout",
]


@takes(spectra=u.dimensionless_unscaled, parts=file_path)
def predict(
    model: keras.Model,
    spectra,
    *,
    passes: int,
    seed: int,
    batch_size: int = 64,
    progress: bool = True,
    device: bool | None = None,
    parts: Path | None = None,
) -> Prediction:
    """Luminosities of stars by Monte-Carlo dropout (paper section 2.2), on all cores of the CPU or on a GPU.

    The dropout masks of a star follow from the seed and its row in `spectra` alone, so the batch size changes nothing,
    and a GPU gives the numbers of a CPU to within its rounding, which is far below the errors.

    Parameters
    ----------
    model
        A joint network; only its luminosity part is used.
    spectra
        (n, pixels) normalised spectra, an array or an HDF5 dataset, read batch by batch.
    passes
        Dropout passes per spectrum.
    seed
        Of the dropout masks.
    batch_size
        Spectra in memory at a time; a GPU takes at least 1024.
    progress
        Show a progress bar.
    device
        Whether JAX computes the passes (`apogaia.model.fast.dropout_jax`); None: where Keras runs on JAX with an
        accelerator.
    parts
        As for `in_batches`; a device, which takes minutes for a whole survey, makes none.

    Raises
    ------
    ValueError
        If the spectra have another number of pixels than the model's.
    """
    check_pixels(model, spectra)
    network = FastDropout.from_model(model.get_layer("luminosity"))
    on_device = devices.uses_device(device)
    devices.log_once("inference", None if on_device else "numba")
    if on_device:
        size = max(batch_size, dropout_jax.STARS_AT_ONCE)
        return _prediction(
            dropout_jax.moments(network, spectra, passes=passes, seed=seed, batch_size=size, progress=progress)
        )

    def outputs(batch: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return network.moments(batch, rows, passes=passes, seed=seed)

    return _prediction(in_batches(outputs, spectra, batch_size, progress, parts=parts))


@takes(spectra=u.dimensionless_unscaled, snr=u.dimensionless_unscaled, parts=file_path)
def predict_calibrated(
    network: keras.Model,
    errors: ErrorCalibration,
    spectra,
    snr,
    settings: InferenceSettings,
    *,
    progress: bool = True,
    parts: Path | None = None,
) -> Prediction:
    """Luminosities of stars with calibrated errors: `predict`, then the model's error calibration.

    Parameters
    ----------
    network
        A joint network.
    errors
        The error calibration of its model file.
    spectra
        As for `predict`.
    snr
        (n,) signal-to-noise ratios of the spectra; NaN counts as the lowest that calibrated the errors.
    settings
        Passes, seed and batch size.
    progress
        Show a progress bar.
    parts
        As for `in_batches`.
    """
    prediction = predict(
        network,
        spectra,
        passes=settings.passes,
        seed=settings.seed,
        batch_size=settings.batch_size,
        progress=progress,
        parts=parts,
    )
    return errors.apply(prediction, snr)


@takes(path=file_path)
def read_error_calibration(path: str | Path) -> ErrorCalibration:
    """The error calibration of a model file; one that changes nothing if it has none.

    Raises as `apogaia.model.model_file.load_network` does.
    """
    values = model_file.read_provenance(path).get("error_calibration")
    return ErrorCalibration.none() if values is None else ErrorCalibration(**values)


@takes(path=file_path, model=file_path, stars=file_path, parts=file_path)
def predict_survey(
    path: Path, model: Path, stars: Path, settings: InferenceSettings, parts: Path | None = None
) -> None:
    """Write the calibrated luminosities of every row of stars.h5 to a .npz file.

    Parameters
    ----------
    path
        File to write, with the arrays of `Prediction`.
    model
        Model file.
    stars
        The survey's stars.h5.
    settings
        The survey's section ``inference``.
    parts
        Folder from which a killed run resumes, as for `in_batches`.
    """
    network, errors = model_file.load_network(model), read_error_calibration(model)
    with stars_h5.open_stars(stars) as opened:
        prediction = predict_calibrated(network, errors, opened.spectra, opened.table["snr"], settings, parts=parts)
    np.savez(path, **prediction._asdict())


@takes(spectra=u.dimensionless_unscaled)
def predict_reference(
    model: keras.Model, spectra, *, passes: int, seed: int, batch_size: int = 64, progress: bool = False
) -> Prediction:
    """The same as `predict` by calling the Keras model once per pass: slow and plain, on any backend and device.

    Its masks are Keras' own, so the results agree with `predict` in distribution only.
    """
    check_pixels(model, spectra)
    network = model.get_layer("luminosity")
    seed_dropout(network, seed)

    def outputs(batch: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        batch = ops.convert_to_tensor(batch)
        draws = np.stack([ops.convert_to_numpy(network(batch, training=True)) for _ in range(passes)])
        fakemag, variance = draws[..., 0].astype(np.float64), np.exp(draws[..., 1].astype(np.float64))
        return fakemag.mean(axis=0), fakemag.var(axis=0), variance.mean(axis=0)

    return _prediction(in_batches(outputs, spectra, batch_size, progress))


def in_batches(
    outputs,
    spectra,
    batch_size: int,
    progress: bool,
    per_star: tuple[int, ...] = (),
    parts: Path | None = None,
) -> np.ndarray:
    """Moments of the passes, ``(3, n, *per_star)``: mean, variance, mean predicted variance; NaN without a spectrum.

    Parameters
    ----------
    outputs
        Function of finite spectra (m, pixels) and their rows (m,) that gives the three, each ``(m, *per_star)``.
    spectra
        (n, pixels), an array or an HDF5 dataset, read batch by batch.
    batch_size
        Spectra at a time.
    progress
        Show a progress bar.
    per_star
        Shape of what the network says of a star.
    parts
        An `apogaia.files.parts_folder` that keeps the moments of each batch: a run that was killed resumes, to the same
        numbers. None: nothing is kept.
    """
    n_stars = spectra.shape[0]
    moments = np.full((3, n_stars, *per_star), np.nan)
    todo = []
    for start in range(0, n_stars, batch_size):
        chunk, part = slice(start, min(start + batch_size, n_stars)), parts and parts / f"{start:09d}.npy"
        if part and part.is_file():
            moments[:, chunk] = np.load(part)
        else:
            todo.append((chunk, part))
    left = sum(chunk.stop - chunk.start for chunk, _ in todo)
    with tqdm(total=n_stars, initial=n_stars - left, unit="spectrum", disable=not progress) as bar:
        for chunk, part in todo:
            batch = np.asarray(spectra[chunk], np.float32)
            good = np.isfinite(batch).all(axis=1)
            rows = chunk.start + np.flatnonzero(good)
            if len(rows):
                moments[:, rows] = outputs(batch[good], rows)
            if part:
                with files.atomic(part) as temporary:
                    np.save(temporary, moments[:, chunk])
            bar.update(len(batch))
    return moments


def seed_dropout(network: keras.Model, seed: int) -> None:
    """Seed the dropout layers of a network; one whose rate is 0 has no seed."""
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.Dropout) and layer.rate > 0]
    for i, layer in enumerate(layers):
        layer.seed_generator.state.assign(np.array([seed, i], "uint32"))


def _prediction(moments: np.ndarray) -> Prediction:
    mean, variance, predicted_variance = moments
    return Prediction(mean, np.sqrt(variance), np.sqrt(predicted_variance), np.sqrt(variance + predicted_variance))
