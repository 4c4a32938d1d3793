"""Training of the joint networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np

from apogaia.formats.stars_h5_columns import OFFSET_INPUTS
from apogaia.model import fitting, likelihood, model_file, networks
from apogaia.model.checkpoint import remove_checkpoint
from apogaia.model.fast import devices
from apogaia.model.fast.adam import FusedAdam
from apogaia.model.training_domain import TrainingDomain
from apogaia.model.training_set import TrainingSet, mean_of_rows, split
from apogaia.reduction import quality_cuts, stars_h5
from apogaia.survey import Survey, TrainingSettings

__all__ = ["train", "train_joint_model"]


def train(
    survey: Survey,
    sample: TrainingSet,
    offset: str,
    *,
    name: str | None = None,
    verbose: bool = True,
    device: bool | None = None,
    checkpoint: Path | None = None,
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train one joint network.

    Adam, with the learning rate's schedule of [training], a seeded split into gradient and validation
    stars. The same survey and sample give the same weights, bit for bit, on one kind of CPU.

    Parameters
    ----------
    survey
        Its sections ``network`` and ``training`` are used.
    sample
        The training set; scales and mean spectrum are those of its gradient stars.
    offset
        "none", "constant" or "multivariate".
    name
        Of the model, in the lines that are printed; None: `offset`.
    verbose, device, checkpoint
        As in `apogaia.model.fitting.fit`.

    Returns
    -------
    model, history
        The network, and what `apogaia.model.fitting.fit` gives of each epoch.

    Raises
    ------
    ValueError
        If the sample has values that are not finite or too few stars to split, or Keras' backend has no gradients.
    """
    devices.check_gradients("training")
    settings = survey.training
    gradient, validation = split(len(sample), settings.validation_fraction, settings.seed)
    inputs, targets = sample.arrays(offset)
    colours = np.column_stack([getattr(sample, name)[gradient] for name in OFFSET_INPUTS])
    devices.log_once("training")
    fitting.be_reproducible(settings.seed)
    rate = settings.learning_rate_without_offset if offset == "none" else settings.learning_rate_with_offset
    with devices.training_scope():
        model = networks.build_joint_network(
            survey.network,
            offset,
            mean_spectrum=mean_of_rows(sample.spectrum, gradient),
            parallax_scale=float(np.std(sample.parallax[gradient])),
            offset_mean=colours.mean(axis=0),
            offset_sd=colours.std(axis=0),
            variance_form=settings.variance_form,
        )
        model.compile(optimizer=FusedAdam(rate), loss=_loss(settings))
    history = fitting.fit(
        model,
        (inputs, targets),
        (gradient, validation),
        settings,
        name=name or offset,
        verbose=verbose,
        device=device,
        checkpoint=checkpoint,
        code=[train],
    )
    return model, history


def train_joint_model(path: Path, survey: Survey, stars: Path, offset: str, checkpoint: Path | None = None) -> None:
    """Train a joint network on the survey's training set, and write its model file.

    Without an offset, or with a constant one, a network uses no label. So its model file does not say which Teff the
    training stars have, and does not depend on labels, which another network may have yet to predict.

    Parameters
    ----------
    path
        Model file to write.
    survey
        Its sections ``sources``, ``cuts``, ``network`` and ``training`` are used.
    stars
        The survey's stars.h5.
    offset
        "none", "constant" or "multivariate".
    checkpoint
        File in which the state of the training is kept until the model file is there (`apogaia.model.fitting.fit`).
    """
    with stars_h5.open_stars(stars) as opened:
        selected = quality_cuts.select(opened.table, survey)
        rows = selected.training_multivariate if offset == "multivariate" else selected.training
        sample = TrainingSet.from_stars(opened, rows)
    if offset != "multivariate":
        sample = dataclasses.replace(sample, teff=np.full(len(sample), np.nan))
    network, history = train(survey, sample, offset, checkpoint=checkpoint)
    gradient, _ = split(len(sample), survey.training.validation_fraction, survey.training.seed)
    domain = TrainingDomain.fit(sample, gradient, seed=survey.training.seed)
    origin = model_file.provenance(survey, sample, offset) | {"history": history}
    model_file.save_model(network, path, origin, domain)
    remove_checkpoint(checkpoint)


def _loss(settings: TrainingSettings):
    if settings.contaminant_fraction == 0:
        return likelihood.parallax_loss
    return likelihood.robust_parallax_loss(settings.contaminant_fraction, settings.contaminant_width)
