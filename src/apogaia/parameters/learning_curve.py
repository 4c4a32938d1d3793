"""How the precision of labels grows with the number of training stars.

The labels are those that a user gets: means over dropout passes, corrected as `apogaia.parameters.label_shift` does.
Labels without dropout, or without the correction, are biased towards the middle of the training set, more so with few
training stars.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path

import keras
import numpy as np

from apogaia import files
from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.inference import predict_labels
from apogaia.parameters.label_set import LabelSet, select_labelled, survey_labels
from apogaia.parameters.label_shift import LabelShift
from apogaia.parameters.parameters_model import ParametersModel
from apogaia.parameters.predictions import LabelPrediction
from apogaia.parameters.training import calibrating_rows, test_rows, train_parameters
from apogaia.physics.luminosity import robust_scatter
from apogaia.reduction import stars_h5
from apogaia.survey import Survey

__all__ = ["read_learning_curve", "write_learning_curve"]

MOST_TEST_STARS = 5000  # a scatter of so many is known to 1 %
MOST_CALIBRATING = 5000  # stars that correct the labels; in both cases taken evenly from the whole table
LEAST_SNR = 100.0  # of test stars: below, noise hides what more training stars teach


@takes(path=file_path, stars=file_path, allstar=file_path, model=file_path)
def write_learning_curve(path: Path, survey: Survey, stars: Path, allstar: Path, model: Path) -> None:
    """Train on nested parts of the training set, and write the scatter of each label on test stars as JSON.

    The labels of each network are corrected by faint labelled stars that are neither in the training set nor among the
    test stars; with fewer than 400 of them they stay as they are.

    Parameters
    ----------
    path
        File to write: for each size the robust scatter about the survey's labels [K, dex] by label; null where too few
        test stars have it.
    survey
        ``parameters.learning_curve`` has the sizes; those beyond the training set are left out. The other settings are
        those of `train_parameters` and of the inference.
    stars, allstar
        As for `apogaia.parameters.training.train_parameters_model`.
    model
        The model file that it wrote, of all training stars: the last size.

    Raises
    ------
    ReductionError, ValueError
        As `apogaia.parameters.training.train_parameters_model`.
    """
    with stars_h5.open_stars(stars) as opened:
        labels = survey_labels(opened.table, allstar, survey)
        rows, _ = select_labelled(opened.table, labels, survey)
        sample = LabelSet.from_stars(opened, labels, rows)
        snr = np.asarray(opened.table["snr"])
        test = test_rows(opened.table, labels, survey)
        test = _evenly(test[snr[test] > LEAST_SNR], MOST_TEST_STARS)
        unseen = LabelSet.from_stars(opened, labels, test)
        # none of the training set: a part of it may hold what is a validation star of the whole
        calibrating = _evenly(np.setdiff1d(calibrating_rows(opened.table, labels, survey), rows), MOST_CALIBRATING)
        known = LabelSet.from_stars(opened, labels, calibrating)

    def predicted(network: keras.Model, spectra: np.ndarray) -> LabelPrediction:
        inference, passes = survey.inference, survey.parameters.passes
        return predict_labels(network, spectra, passes=passes, seed=inference.seed, batch_size=inference.batch_size)

    order = np.random.default_rng([survey.parameters.seed, 2]).permutation(len(sample))
    sizes = sorted({*(n for n in survey.parameters.learning_curve if n < len(sample)), len(sample)})
    curve = {}
    for size in sizes:
        if size == len(sample):
            network = ParametersModel.load(model).network
        else:
            chosen = np.sort(order[:size])
            part = LabelSet(sample.spectrum[chosen], sample.label[chosen], sample.error[chosen])
            network, _ = train_parameters(survey, part)
        shift = LabelShift.fit(predicted(network, known.spectrum), known.label, known.error, snr[calibrating])
        difference = shift.apply(predicted(network, unseen.spectrum), snr[test]).label - unseen.label
        curve[size] = {label: _scatter(difference[:, i]) for i, label in enumerate(LABELS)}
    files.write_json(path, curve)


def read_learning_curve(path: Path) -> Mapping[int, Mapping[str, float]]:
    """Number of training stars -> scatter by label, as `write_learning_curve` wrote it."""
    return {int(size): scatter for size, scatter in files.read_json(path).items()}


def _evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows: a table may be sorted by the place on the sky."""
    return rows[:: ceil(len(rows) / most)] if len(rows) else rows


def _scatter(difference: np.ndarray) -> float | None:
    known = difference[np.isfinite(difference)]
    return robust_scatter(known) if len(known) > 1 else None
