"""Costly products of a survey, made once and kept in its workspace: what notebooks call for models and predictions.

A product is made again when the settings that its maker uses, its inputs, or the code that computes it have changed
(`apogaia.files.fingerprint`), and not before.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from apogaia import files
from apogaia.formats.distance_catalogues import DistanceCatalogue, catalogues_in
from apogaia.model.error_calibration import Prediction
from apogaia.model.inference import predict_survey
from apogaia.model.training import train_joint_model
from apogaia.parameters.catalogue import (
    label_with_own,
    predict_survey_labels,
    read_prediction,
    write_parameters_catalogue,
)
from apogaia.parameters.learning_curve import read_learning_curve, write_learning_curve
from apogaia.parameters.parameters_model import ParametersModel
from apogaia.parameters.predictions import LabelPrediction
from apogaia.parameters.training import train_parameters_model
from apogaia.reduction.labelled_stars import label_with_aspcap
from apogaia.simulate.comparisons import simulate_comparisons
from apogaia.survey import Survey
from apogaia.trained_model import TrainedModel
from apogaia.workspace import Workspace
from apogaia.zero_point.calibrated_training import train_calibrated_model

__all__ = [
    "calibrated_model",
    "comparison_catalogues",
    "label_learning_curve",
    "labelled_stars",
    "parameters_catalogue",
    "parameters_model",
    "predicted_labels",
    "predicted_stars",
    "trained_model",
]


def parameters_model(survey: Survey, workspace: Workspace) -> ParametersModel:
    """The network of stellar parameters of a survey, trained on the labels of APOGEE's pipeline.

    Raises
    ------
    FileNotFoundError
        If stars.h5 is not there yet; the message says what makes it.
    ValueError
        If the sample is too small, or has values that are not finite.
    """
    return ParametersModel.load(_parameters_model_file(survey, workspace), survey)


def predicted_labels(survey: Survey, workspace: Workspace) -> LabelPrediction:
    """Labels of every row of stars.h5 by the survey's own network, calibrated.

    Raises as `parameters_model` does.
    """
    return read_prediction(_label_prediction(survey, workspace))


def parameters_catalogue(survey: Survey, workspace: Workspace) -> Path:
    """The survey's own catalogue of stellar parameters and abundances; raises as `parameters_model` does."""
    prediction, stars = _label_prediction(survey, workspace), workspace.stars
    make = partial(write_parameters_catalogue, prediction=prediction, stars=stars)
    return files.kept(workspace.parameters_catalogue, make, {}, [prediction, stars])


def label_learning_curve(survey: Survey, workspace: Workspace) -> Mapping[int, Mapping[str, float]]:
    """Scatter of the labels against the number of training stars; raises as `parameters_model` does."""
    settings = survey.settings("sources", "cuts", "network", "training", "parameters", "inference")
    stars, allstar, model = workspace.stars, workspace.allstar, _parameters_model_file(survey, workspace)
    make = partial(write_learning_curve, survey=survey, stars=stars, allstar=allstar, model=model)
    curve = files.kept(workspace.result("06_learning_curve"), make, settings, [stars, allstar, model])
    return read_learning_curve(curve)


def labelled_stars(survey: Survey, workspace: Workspace) -> Path:
    """stars.h5 with the labels that the survey file asks for (``labels.source``): what notebooks from 02 on read.

    With "external" that is stars.h5 itself. Raises as `parameters_model` does, and
    `apogaia.formats.fits_columns.ReductionError` if allStar lacks labels of ASPCAP that are asked for.
    """
    source, stars, place = survey.labels.source, workspace.stars, workspace.labelled_stars
    if source == "external":
        return stars
    if source == "own":
        labels = _label_prediction(survey, workspace)
        make = partial(label_with_own, stars=stars, place=place, prediction=labels)
    else:
        labels = workspace.allstar
        make = partial(label_with_aspcap, stars=stars, place=place, allstar=labels, release=workspace.release)
    with files.in_turn(place):  # make trains two networks at once that begin with this
        return files.kept(place, make, {"source": source}, [stars, labels])


def _parameters_model_file(survey: Survey, workspace: Workspace) -> Path:
    settings = survey.settings("sources", "cuts", "network", "training", "parameters", "inference")
    stars, allstar = workspace.stars, workspace.allstar
    path = workspace.model("parameters")
    checkpoint = path.with_suffix(".training")
    make = partial(train_parameters_model, survey=survey, stars=stars, allstar=allstar, checkpoint=checkpoint)
    return files.kept(path, make, settings, [stars, allstar])


def _label_prediction(survey: Survey, workspace: Workspace) -> Path:
    model, stars = _parameters_model_file(survey, workspace), workspace.stars
    settings = survey.settings("parameters", "inference")
    path = workspace.prediction("parameters")
    make = partial(predict_survey_labels, survey=survey, model=model, stars=stars)
    with files.in_turn(path):  # make may train with these labels beside notebook 06
        return files.kept(path, make, settings, [model, stars], in_parts=True)


def trained_model(survey: Survey, workspace: Workspace, offset: str) -> TrainedModel:
    """The joint model of a survey with the offset "none", "constant" or "multivariate": the paper's recipe (section 2).

    Only the last uses labels (Teff), so the others may be trained before the labels are there, or beside them.

    Raises
    ------
    FileNotFoundError
        If stars.h5 is not there yet; the message says what makes it.
    ValueError
        If the sample is too small, or has values that are not finite.
    """
    settings = survey.settings("sources", "cuts", "network", "training") | {"offset": offset}
    stars = labelled_stars(survey, workspace) if offset == "multivariate" else workspace.stars
    path = workspace.model(offset)
    make = partial(
        train_joint_model, survey=survey, stars=stars, offset=offset, checkpoint=path.with_suffix(".training")
    )
    return TrainedModel.load(files.kept(path, make, settings, [stars]), survey)


def calibrated_model(survey: Survey, workspace: Workspace) -> TrainedModel:
    """The network of a survey trained with the refitted zero point, which catalogue and maps use by default.

    Not in the paper (docs/closure.md). Raises as `trained_model` does.
    """
    settings = survey.settings("sources", "cuts", "network", "training", "calibration", "inference")
    stars, path = labelled_stars(survey, workspace), workspace.model("calibrated")
    make = partial(train_calibrated_model, survey=survey, stars=stars, checkpoint=path.with_suffix(".training"))
    return TrainedModel.load(files.kept(path, make, settings, [stars]), survey)


def predicted_stars(survey: Survey, workspace: Workspace, offset: str) -> Prediction:
    """Luminosities of every row of stars.h5 by the model with this offset, or by the "calibrated" one.

    Returns
    -------
    Prediction
        Each (n,), in fakemag's unit [mas]; NaN where there is no spectrum. Errors are calibrated where the model file
        has a calibration.

    Raises
    ------
    FileNotFoundError
        If the model or stars.h5 is not there yet.
    """
    model, stars = workspace.model(offset), workspace.stars
    make = partial(predict_survey, model=model, stars=stars, settings=survey.inference)
    path = workspace.prediction(offset)
    with files.in_turn(path):  # a notebook may ask for them beside `apogaia predict`
        files.kept(path, make, survey.settings("inference"), [model, stars], in_parts=True)
    with np.load(path) as arrays:
        return Prediction(**{name: arrays[name] for name in Prediction._fields})


def comparison_catalogues(survey: Survey, workspace: Workspace) -> tuple[list[DistanceCatalogue], dict[str, str]]:
    """Catalogues of others' distances in the raw folder of a survey, and why a table there could not be read.

    A simulated survey's are made first, if they are not there and current.

    Raises
    ------
    FileNotFoundError
        If there are no raw files.
    """
    if not workspace.raw.is_dir():
        raise FileNotFoundError(f"{workspace.raw} is not there yet: `apogaia data {survey.name}` makes it")
    simulate_comparisons(survey, workspace)
    known = {path.name for path in (workspace.allstar, workspace.gaia)}
    return catalogues_in(workspace.raw, survey.comparisons.min_membership, known)
