"""Training of the censored network, which finds Teff, log g and 20 abundances."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.aspcap_labels import read_aspcap_labels
from apogaia.formats.releases import RELEASES
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.model import fitting, likelihood, model_file
from apogaia.model.checkpoint import remove_checkpoint
from apogaia.model.fast import devices
from apogaia.model.training_set import mean_of_rows, split
from apogaia.parameters.label_set import LabelSet, select_labelled
from apogaia.parameters.network import build_censored_network
from apogaia.reduction import stars_h5
from apogaia.survey import Survey

__all__ = ["train_parameters", "train_parameters_model"]


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

    Adam, the learning rate reduced on a plateau of the validation loss, a seeded split into gradient and validation
    stars. Training ends when the validation loss stays, and the weights are those of the best epoch. The same survey
    and sample give the same weights, bit for bit, on one kind of CPU.

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
        survey.training, seed=parameters.seed, batch_size=parameters.batch_size, epochs=parameters.epochs
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
        model.compile(optimizer=keras.optimizers.Adam(parameters.learning_rate), loss=likelihood.label_loss)
        model.optimizer.build(model.trainable_variables)  # here, not while the first step is traced: that takes longer
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
        Model file to write. Its provenance holds the names of the labels and the history of the training.
    survey
        Its sections ``sources``, ``cuts``, ``network``, ``training`` and ``parameters`` are used.
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
    labels = read_aspcap_labels(allstar, RELEASES[survey.sources.apogee_release])
    with stars_h5.open_stars(stars) as opened:
        rows, _ = select_labelled(opened.table, labels, survey)
        sample = LabelSet.from_stars(opened, labels, rows)
    network, history = train_parameters(survey, sample, checkpoint=checkpoint)
    origin = model_file.origin(survey, len(sample), survey.parameters.seed)
    model_file.save_model(network, path, origin | {"labels": list(LABELS), "history": history})
    remove_checkpoint(checkpoint)
