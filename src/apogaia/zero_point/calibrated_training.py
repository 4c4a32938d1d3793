"""The network trained with the refitted zero point, with errors calibrated on held-out stars.

The default for catalogue and maps. The zero point is fitted without a network (`refit_zero_point`); then the network is
trained on parallaxes corrected for it, and stars of any SNR that did not train it calibrate the luminosities and the
errors that it states (`apogaia.model.error_calibration`).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import star_columns
from apogaia.model import inference, model_file, training
from apogaia.model.checkpoint import remove_checkpoint
from apogaia.model.error_calibration import ErrorCalibration, calibration_rows, unseen_rows
from apogaia.model.training_domain import TrainingDomain
from apogaia.model.training_set import TrainingSet, split
from apogaia.reduction import quality_cuts, stars_h5
from apogaia.survey import Survey
from apogaia.zero_point.refit_zero_point import (
    Calibration,
    FixedZeroPoint,
    calibrate,
    calibrating_rows,
    has_corrected_k0,
    shared_error_uas,
)
from apogaia.zero_point.sample_checks import check_refit

__all__ = ["Roles", "network_settings", "roles", "train_calibrated_model"]


class Roles(NamedTuple):
    """The role of rows of stars.h5; each ascending."""

    training: np.ndarray  # train the network: gradient and validation stars
    gradient: np.ndarray  # of these, the stars that train by gradient
    calibrating: np.ndarray  # calibrate luminosities and errors: no star of `gradient`, and half of the test set


def network_settings(survey: Survey) -> Survey:
    """The survey with the network and training settings of its section [calibration]."""
    settings = survey.calibration
    return dataclasses.replace(
        survey,
        network=dataclasses.replace(survey.network, dropout=settings.dropout),
        training=dataclasses.replace(
            survey.training,
            epochs=settings.epochs,
            learning_rate_without_offset=settings.learning_rate,
            schedule=settings.schedule,
            plateau_patience=settings.plateau_patience,
            contaminant_fraction=settings.contaminant_fraction,
            contaminant_width=settings.contaminant_width,
        ),
    )


@takes(table=star_columns())
def roles(survey: Survey, table: Table) -> Roles:
    """Which rows of stars.h5 train the calibrated network, and which calibrate it.

    Where the zero point is fitted, stars without extinction do not train: they would spoil it.
    """
    selected = quality_cuts.select(table, survey)
    training = selected.training
    if survey.calibration.zero_point == "refit":
        training = training[has_corrected_k0(table[training])]
    settings = survey.training
    gradient, validation = (
        training[rows] for rows in split(len(training), settings.validation_fraction, settings.seed)
    )
    calibrating = [unseen_rows(table, validation, gradient), calibration_rows(table, selected.test)]
    return Roles(training, gradient, np.sort(np.concatenate(calibrating)))


@takes(path=file_path, stars=file_path, checkpoint=file_path)
def train_calibrated_model(path: Path, survey: Survey, stars: Path, checkpoint: Path | None = None) -> None:
    """Fit the zero point, train the network with it, calibrate its errors, and write the model file.

    Where the survey file fixes the zero point, nothing is fitted, and stars without extinction train, too, if the cuts
    let them: they cannot spoil what is not fitted.

    Its provenance (`apogaia.model.model_file.read_provenance`) holds the zero point as "calibration", the
    `ErrorCalibration` as "error_calibration", and the history of the training.

    Parameters
    ----------
    path
        Model file to write.
    survey
        Its sections ``sources``, ``cuts``, ``network``, ``training``, ``calibration`` and ``inference`` are used.
    stars
        The survey's stars.h5.
    checkpoint
        File in which the state of the training is kept until the model file is there (`apogaia.model.fitting.fit`).

    Raises
    ------
    SampleError
        If the zero point is to be fitted, and the stars cannot bear it.
    """
    with stars_h5.open_stars(stars) as opened:
        if survey.calibration.zero_point == "refit":
            check_refit(survey, opened.table)
        part = roles(survey, opened.table)
        calibration = _zero_point(survey, opened)
        sample = TrainingSet.from_stars(opened, part.training)
        unseen, unseen_spectra = opened.table[part.calibrating], opened.spectra_of(part.calibrating)
    changed = network_settings(survey)
    corrected = dataclasses.replace(sample, parallax=sample.parallax - 1e-3 * calibration.zero_point_uas)
    network, history = training.train(changed, corrected, "none", name="calibrated", checkpoint=checkpoint)
    passes = survey.inference
    prediction = inference.predict(
        network, unseen_spectra, passes=passes.passes, seed=passes.seed, batch_size=passes.batch_size
    )
    errors = ErrorCalibration.fit(prediction, unseen, calibration.zero_point_uas, shared_error_uas(survey))
    origin = model_file.provenance(changed, corrected, "calibrated") | {
        "settings": survey.settings(),
        "calibration": calibration.in_uas(),
        "error_calibration": errors.to_dict(),
        "history": history,
    }
    domain = TrainingDomain.fit(sample, np.searchsorted(part.training, part.gradient), seed=changed.training.seed)
    model_file.save_model(network, path, origin, domain)
    remove_checkpoint(checkpoint)


def _zero_point(survey: Survey, stars: stars_h5.Stars) -> Calibration | FixedZeroPoint:
    """The zero point of the survey file, or the one that its usable stars give."""
    settings = survey.calibration
    if settings.zero_point == "fixed":
        return FixedZeroPoint(settings.fixed_zero_point, settings.fixed_zero_point_error)
    rows = calibrating_rows(survey, stars.table)
    return calibrate(survey, stars.table[rows], stars.spectra_of(rows))
