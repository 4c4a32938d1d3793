"""Recover the zero point by the paper's recipe: the joint network and the dropout draws of its offset."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import keras
import numpy as np
from astropy.table import Table

from apogaia import files
from apogaia.closure.coverage import coverage
from apogaia.closure.surface_comparison import surface_against_truth
from apogaia.closure.trials import Sample, Trial, simulated, training_rows, zero_point_mas
from apogaia.model import inference, model_file, training
from apogaia.model.checkpoint import remove_checkpoint
from apogaia.model.error_calibration import Prediction
from apogaia.model.training_set import TrainingSet
from apogaia.physics.luminosity import robust_scatter
from apogaia.reduction import quality_cuts
from apogaia.survey import Survey
from apogaia.workspace import Workspace
from apogaia.zero_point import offset_posterior

__all__ = ["joint_model", "recover", "training_set", "write_model"]

LOOKED_AT = 4096  # stars whose luminosities are predicted with dropout


def recover(trial: Trial, workspace: Workspace, *, verbose: bool = True) -> dict:
    """Results of the trial [uas]."""
    sample = simulated(trial, workspace)
    survey = sample.survey
    rows = training_rows(trial, sample.table, sample.truth, survey)
    truth = sample.truth[rows]
    injected = zero_point_mas(sample.table[rows], truth, trial)
    path = joint_model(trial, sample, verbose=verbose)
    network, history = model_file.load_network(path), model_file.read_provenance(path)["history"]
    draws = {"draws": survey.inference.offset_draws, "seed": survey.inference.seed}
    if trial.zero_point is not None:
        value = offset_posterior.constant_zero_point(network, **draws).in_uas()
    else:

        def at_uas(*inputs):
            return 1000 * offset_posterior.zero_point(network, *inputs, **draws)[0]

        value = {"surface": surface_against_truth(sample, at_uas)}
    true = np.log(np.asarray(truth["fakemag_true"], float))
    fakemag = np.asarray(network.get_layer("luminosity")(sample.spectra_of(rows[:8192])))[:, 0]
    return value | {
        "stars": len(rows),
        "true_mean_uas": 1000 * float(injected.mean()),
        "accuracy": _accuracy(network, sample, rows, verbose),
        "offset_history_uas": [1000 * offset for offset in history.get("offset", [])],
        "scatter_network": robust_scatter(true[: len(fakemag)] - np.log(fakemag)),
    }


def _accuracy(network: keras.Model, sample: Sample, training: np.ndarray, verbose: bool) -> dict:
    """The paper's own measures of its luminosities, of some test stars, and the dropout noise of some training stars.

    The noise is the scatter of a luminosity over the masks, as it was in the loss. All in per cent.
    """
    settings, rng = sample.survey.inference, np.random.default_rng(sample.survey.training.seed)

    def predicted(rows: np.ndarray) -> Prediction:
        spectrum = sample.spectra_of(rows)
        return inference.predict(network, spectrum, passes=settings.passes, seed=settings.seed, progress=verbose)

    test = np.sort(rng.permutation(quality_cuts.select(sample.table, sample.survey).test)[:LOOKED_AT])
    unseen, seen = predicted(test), predicted(np.sort(rng.permutation(training)[:LOOKED_AT]))
    covered = coverage(unseen, sample.table[test], sample.truth[test])
    return {
        "giants_scatter_percent": covered["scatter_percent"]["giants"],
        "within_68_percent": covered["distance"]["all"]["within_68"],
        "model_error_below_10_percent": 100 * float(np.mean(unseen.model_error < 0.1 * unseen.fakemag)),
        "dropout_noise_percent": 100 * float(np.median(seen.model_error / seen.fakemag)),
    }


def joint_model(trial: Trial, sample: Sample, *, verbose: bool = True) -> Path:
    """The trial's model file, trained unless it exists and is up to date."""
    survey, offset = sample.survey, "multivariate" if trial.zero_point is None else "constant"
    rows = training_rows(trial, sample.table, sample.truth, survey)
    if offset == "multivariate":
        relative = np.asarray(sample.table["parallax_error"])[rows] / np.asarray(sample.table["parallax"])[rows]
        rows = rows[relative < survey.cuts.max_relative_parallax_error_multivariate]
    settings = survey.settings("sources", "cuts", "network", "training") | {"trial": dataclasses.asdict(trial)}
    path = sample.workspace.closure_model(trial.name)
    make = partial(write_model, survey=survey, sample=sample, rows=rows, offset=offset, verbose=verbose)
    make = partial(make, checkpoint=path.with_suffix(".training"))
    return files.kept(path, make, settings, [sample.workspace.stars])


def write_model(
    path: Path, survey: Survey, sample: Sample, rows: np.ndarray, offset: str, verbose: bool, checkpoint: Path
) -> None:
    """Train a joint network on some stars of a sample, and write its model file; a killed training resumes."""
    stars = training_set(sample.table[rows], sample.spectra_of(rows))
    network, history = training.train(survey, stars, offset, verbose=verbose, checkpoint=checkpoint)
    model_file.save_model(network, path, model_file.provenance(survey, stars, offset) | {"history": history})
    remove_checkpoint(checkpoint)


def training_set(table: Table, spectrum: np.ndarray) -> TrainingSet:
    """The training set of these rows of stars.h5."""
    names = [field.name for field in dataclasses.fields(TrainingSet)[1:]]
    return TrainingSet(spectrum, *(np.asarray(table[name], float) for name in names))
