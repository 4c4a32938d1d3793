"""Costly products of a survey, made once and kept in its workspace: what the notebooks call for models and predictions.

A product is made again when the settings that its maker uses, its inputs, or the code that computes it have changed
(`apogaia.files.fingerprint`), and not before.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from apogaia import files
from apogaia.model.error_calibration import Prediction
from apogaia.model.inference import predict_survey
from apogaia.model.training import train_joint_model
from apogaia.survey import Survey
from apogaia.trained_model import TrainedModel
from apogaia.workspace import Workspace
from apogaia.zero_point.calibrated_training import train_calibrated_model

__all__ = ["calibrated_model", "predicted_stars", "trained_model"]


def trained_model(survey: Survey, workspace: Workspace, offset: str) -> TrainedModel:
    """The joint model of a survey with the offset "none", "constant" or "multivariate": the paper's recipe (section 2).

    Raises
    ------
    FileNotFoundError
        If stars.h5 is not there yet; the message says what makes it.
    ValueError
        If the sample is too small, or has values that are not finite.
    """
    settings = survey.settings("sources", "cuts", "network", "training") | {"offset": offset}
    path = workspace.model(offset)
    make = partial(
        train_joint_model, survey=survey, stars=workspace.stars, offset=offset, checkpoint=path.with_suffix(".training")
    )
    return TrainedModel.load(files.kept(path, make, settings, [workspace.stars]), survey)


def calibrated_model(survey: Survey, workspace: Workspace) -> TrainedModel:
    """The network of a survey trained with the refitted zero point, on which catalogue and maps rest by default.

    Not in the paper (docs/closure.md). Raises as `trained_model` does.
    """
    settings = survey.settings("sources", "cuts", "network", "training", "calibration", "inference")
    path = workspace.model("calibrated")
    make = partial(
        train_calibrated_model, survey=survey, stars=workspace.stars, checkpoint=path.with_suffix(".training")
    )
    return TrainedModel.load(files.kept(path, make, settings, [workspace.stars]), survey)


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
    path = files.kept(workspace.prediction(offset), make, survey.settings("inference"), [model, stars])
    with np.load(path) as arrays:
        return Prediction(**{name: arrays[name] for name in Prediction._fields})
