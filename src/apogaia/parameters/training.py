"""Training of the censored network, which predicts Teff, log g and 20 abundances."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from astropy.table import Table

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.model import fitting, likelihood, model_file
from apogaia.model.checkpoint import remove_checkpoint
from apogaia.model.error_calibration import calibration_rows, unseen_rows
from apogaia.model.fast import devices
from apogaia.model.fast.adam import FusedAdam
from apogaia.model.fast.layers import dropout_in_validation
from apogaia.model.training_set import mean_of_rows, split
from apogaia.parameters.degraded_spectra import degrade, noise_profile, target_snr
from apogaia.parameters.error_calibration import Degraded, LabelErrorCalibration
from apogaia.parameters.inference import predict_labels
from apogaia.parameters.label_presence import LabelPresence
from apogaia.parameters.label_set import LabelSet, select_labelled, survey_labels, unseen_labelled
from apogaia.parameters.label_shift import LabelShift
from apogaia.parameters.network import build_censored_network
from apogaia.parameters.predictions import LabelPrediction, is_positive
from apogaia.reduction import stars_h5
from apogaia.survey import Survey

__all__ = [
    "calibrate",
    "calibrating_rows",
    "test_rows",
    "train_on_labels",
    "train_parameters",
    "train_parameters_model",
]

MOST_CALIBRATING = 10_000  # faint stars, which take 300 MB; more say little more of some tens of coefficients
MOST_DEGRADED = 4000  # bright ones, evenly from all, whose noisy spectra take 120 MB


def train_parameters(
    survey: Survey,
    sample: LabelSet,
    *,
    windows: Mapping[str, np.ndarray] | None = None,
    verbose: bool = True,
    device: bool | None = None,
    checkpoint: Path | None = None,
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train the censored network.

    Adam, with the learning rate's schedule of [parameters], a seeded split into gradient and validation
    stars. Units are dropped in the validation, too: its loss, which counts variances that include the dropout, would
    otherwise fall no more after a few epochs. Training ends when the validation loss stays, and the weights are those
    of the best epoch. The same survey and sample give the same weights, bit for bit, on one kind of CPU.

    Parameters
    ----------
    survey
        Its section ``parameters`` is used; its ``network`` for the convolutions; and its ``training`` for the share of
        validation stars and the plateau.
    sample
        The training set; mean spectrum, and the labels' means and standard deviations, are those of its gradient stars.
    windows
        As in `build_censored_network`.
    verbose
        Print one line per epoch, with the time that is left if all epochs run.
    device, checkpoint
        As in `apogaia.model.fitting.fit`.

    Returns
    -------
    model, history
        History per epoch that ran: ``loss``, ``val_loss``, ``learning_rate``.

    Raises
    ------
    ValueError
        If the sample has values that are not finite, too few stars to split, or a label without spread, or Keras'
        backend has no gradients.
    """
    devices.check_gradients("training")
    parameters = survey.parameters
    settings = dataclasses.replace(
        survey.training,
        seed=parameters.seed,
        batch_size=parameters.batch_size,
        epochs=parameters.epochs,
        schedule=parameters.schedule,
    )
    gradient, validation = split(len(sample), settings.validation_fraction, settings.seed)
    arrays = sample.arrays()
    label_mean, label_sd = sample.mean_and_sd(gradient)
    devices.log_once("training")
    fitting.be_reproducible(settings.seed)
    with devices.training_scope():
        model = build_censored_network(
            survey.network,
            parameters,
            mean_spectrum=mean_of_rows(sample.spectrum, gradient),
            label_mean=label_mean,
            label_sd=label_sd,
            windows=windows,
        )
        model.compile(optimizer=FusedAdam(parameters.learning_rate), loss=likelihood.label_loss)
        model.optimizer.build(model.trainable_variables)  # here, not while the first step is traced: that takes longer
    with dropout_in_validation(model):
        history = fitting.fit(
            model,
            arrays,
            (gradient, validation),
            settings,
            name="parameters",
            patience=parameters.patience,
            verbose=verbose,
            device=device,
            checkpoint=checkpoint,
            code=[train_parameters],
        )
    return model, history


@takes(path=file_path, stars=file_path, allstar=file_path, checkpoint=file_path)
def train_parameters_model(
    path: Path, survey: Survey, stars: Path, allstar: Path, checkpoint: Path | None = None
) -> None:
    """Train the censored network on the survey's labelled stars, and write its model file.

    Parameters
    ----------
    path
        Model file to write. Its provenance holds the names of the labels, the history of the training, the
        `LabelShift` as "label_shift", the `LabelErrorCalibration` as "error_calibration", and the `LabelPresence` as
        "label_presence".
    survey
        Its sections ``sources``, ``cuts``, ``network``, ``training``, ``parameters`` and ``inference`` are used.
    stars
        The survey's stars.h5.
    allstar
        The table with ASPCAP's labels from which stars.h5 was made: both have the same rows.
    checkpoint
        File in which the state of the training is kept until the model file is there (`apogaia.model.fitting.fit`).

    Raises
    ------
    ReductionError
        If `allstar` cannot be read or lacks labels.
    ValueError
        As `train_parameters`, and if the two files have not the same rows.
    """
    with stars_h5.open_stars(stars) as opened:
        train_on_labels(path, survey, opened, survey_labels(opened.table, allstar, survey), checkpoint)


def train_on_labels(
    path: Path, survey: Survey, opened: stars_h5.Stars, labels: Table, checkpoint: Path | None = None
) -> None:
    """The same with labels in memory, row by row as the open stars.h5."""
    rows, _ = select_labelled(opened.table, labels, survey)
    sample = LabelSet.from_stars(opened, labels, rows)
    calibrating = calibrating_rows(opened.table, labels, survey)
    unseen = LabelSet.from_stars(opened, labels, calibrating)
    snr = np.asarray(opened.table["snr"])[calibrating]
    network, history = train_parameters(survey, sample, checkpoint=checkpoint)
    calibration = calibrate(network, survey, unseen, snr)
    origin = model_file.origin(survey, len(sample), survey.parameters.seed) | {
        "labels": list(LABELS),
        "history": history,
        "label_shift": calibration.shift.to_dict(),
        "error_calibration": calibration.errors.to_dict(),
        "label_presence": calibration.presence.to_dict(),
    }
    model_file.save_model(network, path, origin)
    remove_checkpoint(checkpoint)


class LabelCalibration(NamedTuple):
    """What stars that did not train the network say of its labels; applied in this order."""

    shift: LabelShift
    errors: LabelErrorCalibration  # of corrected labels
    presence: LabelPresence


def calibrate(network: keras.Model, survey: Survey, unseen: LabelSet, snr: np.ndarray) -> LabelCalibration:
    """Calibrate labels and errors on stars of `calibrating_rows`.

    The errors are calibrated on their spectra as they are and on the bright ones with noise added.

    Parameters
    ----------
    network
        The trained one.
    survey
        Its sections ``parameters`` and ``inference`` are used.
    unseen
        The n stars: spectra (n, pixels), labels and their errors (n, 22).
    snr
        (n,) signal-to-noise ratios of their spectra; NaN: unknown.
    """

    def predict(spectra: np.ndarray) -> LabelPrediction:
        inference = survey.inference
        return predict_labels(
            network,
            spectra,
            passes=survey.parameters.passes,
            seed=inference.seed,
            batch_size=inference.batch_size,
        )

    raw, seed = predict(unseen.spectrum), survey.parameters.seed
    shift = LabelShift.fit(raw, unseen.label, unseen.error, snr)
    prediction = shift.apply(raw, snr)
    presence = LabelPresence.fit(prediction, unseen.label, unseen.error, snr)
    highest, lowest = survey.parameters.min_snr, np.min(snr, initial=np.inf, where=is_positive(snr))
    bright = np.flatnonzero((snr > highest) & np.isfinite(snr))
    if not len(bright) or lowest >= highest:  # nothing to add noise to, or no star as noisy
        errors = LabelErrorCalibration.fit(prediction, unseen.label, unseen.error, snr)
        return LabelCalibration(shift, errors, presence)
    bright = bright[:: ceil(len(bright) / MOST_DEGRADED)]
    target = target_snr(snr[bright], lowest, highest, seed=seed)
    profile = noise_profile(unseen.spectrum, snr, seed=seed)
    noisy = degrade(unseen.spectrum[bright], snr[bright], target, profile, seed=seed)
    before = LabelPrediction(*(part[bright] for part in prediction))
    degraded = Degraded(before, shift.apply(predict(noisy), target), snr[bright], target)
    errors = LabelErrorCalibration.fit(prediction, unseen.label, unseen.error, snr, degraded, seed=seed)
    return LabelCalibration(shift, errors, presence)


def calibrating_rows(table: Table, labels: Table, survey: Survey) -> np.ndarray:
    """Rows of stars.h5, ascending, that calibrate the labels and their errors: none of their stars is in the gradient.

    They are the validation stars and half of the labelled stars below the training set's SNR; the other half is for
    tests.
    """
    rows, _ = select_labelled(table, labels, survey)
    parts = split(len(rows), survey.training.validation_fraction, survey.parameters.seed)
    gradient, validation = (rows[part] for part in parts)
    faint = calibration_rows(table, unseen_labelled(table, labels, survey))
    if len(faint) > MOST_CALIBRATING:
        faint = np.random.default_rng([survey.parameters.seed, 1]).choice(faint, MOST_CALIBRATING, replace=False)
    return np.sort(np.concatenate([unseen_rows(table, validation, gradient), faint]))


def test_rows(table: Table, labels: Table, survey: Survey) -> np.ndarray:
    """Rows of stars.h5, ascending, of labelled stars held out for tests: half of those of lower SNR."""
    faint = unseen_labelled(table, labels, survey)
    return np.setdiff1d(faint, calibration_rows(table, faint))
