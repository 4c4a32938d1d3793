"""Coverage of the distance errors: calibrated model, the paper's, and the released code's form of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

import numpy as np

from apogaia import files
from apogaia.closure.coverage import coverage
from apogaia.closure.recipes.paper import joint_model, write_model
from apogaia.closure.trials import TRIALS, Sample, Trial, simulated
from apogaia.model.error_calibration import calibration_rows
from apogaia.reduction import quality_cuts
from apogaia.trained_model import TrainedModel
from apogaia.workspace import Workspace
from apogaia.zero_point.calibrated_training import train_calibrated_model

__all__ = ["recover", "recover_calibrated"]

RELEASED = 12_000  # training stars of the network with the released code's form of the likelihood


def recover_calibrated(trial: Trial, workspace: Workspace, *, verbose: bool = True) -> dict:
    """Coverage of the test stars' distances by the calibrated model, with the zero point that it was trained with."""
    sample = simulated(trial, workspace)
    model = _calibrated_model(sample)
    calibration = model.provenance["calibration"]
    zero_point = {name: calibration[name] for name in ("value_uas", "error_uas", "stars")}
    return zero_point | _coverages(sample, {"calibrated": model}, verbose)


def recover(trial: Trial, workspace: Workspace, *, verbose: bool = True) -> dict:
    """Coverage of the test stars' distances by model."""
    sample = simulated(trial, workspace)
    survey, truth = sample.survey, sample.truth
    selected = quality_cuts.select(sample.table, survey)
    clean_paper = next(other for other in TRIALS if other.name == "clean_paper")  # contaminants break that recipe
    changed = dataclasses.replace(survey, training=dataclasses.replace(survey.training, variance_form="released"))
    clean = selected.training[np.asarray(truth["contamination"])[selected.training] == "none"]
    rows = np.sort(np.random.default_rng(survey.training.seed).permutation(clean)[:RELEASED])
    path = sample.workspace.closure_model("released")
    make = partial(write_model, survey=changed, sample=sample, rows=rows, offset="constant", verbose=verbose)
    make = partial(make, checkpoint=path.with_suffix(".training"))
    settings = changed.settings("sources", "cuts", "network", "training") | {"trial": dataclasses.asdict(trial)}
    released = files.kept(path, make, settings, [sample.workspace.stars])
    models = {
        "calibrated": _calibrated_model(sample),
        "paper": TrainedModel.load(joint_model(clean_paper, simulated(clean_paper, workspace), verbose=verbose)),
        "released": TrainedModel.load(released),
    }
    return _coverages(sample, models, verbose)


def _calibrated_model(sample: Sample) -> TrainedModel:
    # a sample has its labels in stars.h5, wherever the survey takes them from
    survey, path, stars = sample.survey, sample.workspace.model("calibrated"), sample.workspace.stars
    make = partial(train_calibrated_model, survey=survey, stars=stars, checkpoint=path.with_suffix(".training"))
    settings = survey.settings("sources", "cuts", "network", "training", "calibration", "inference")
    return TrainedModel.load(files.kept(path, make, settings, [stars]), survey)


def _coverages(sample: Sample, models: Mapping[str, TrainedModel], verbose: bool) -> dict:
    """Of the test stars that did not calibrate the errors."""
    table, truth = sample.table, sample.truth
    selected = quality_cuts.select(table, sample.survey)
    test = np.setdiff1d(selected.test, calibration_rows(table, selected.test))
    spectrum = sample.spectra_of(test)
    result: dict = {"test_stars": len(test)}
    for name, model in models.items():
        prediction = model.predict(spectrum, table["snr"][test], progress=verbose)
        result[name] = coverage(prediction, table[test], truth[test])
    return result
