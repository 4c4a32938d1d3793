"""The learning curve: nested parts of the training set, test stars that nobody trained on, the model itself last."""

import contextlib
import dataclasses
import types

import numpy as np
import pytest
from astropy.table import Table

from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters import learning_curve
from apogaia.parameters.label_set import LabelSet
from apogaia.parameters.predictions import LabelPrediction
from apogaia.survey import load_survey

N, STARS, TEST = 50, 1000, np.arange(80, 220)  # test stars: half of them are too faint
DRAWN_IN = 0.5  # by what factor the network narrows the range of a label


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Write a curve with stand-ins for training and network, whose error is a function of the number of stars."""
    rng = np.random.default_rng(1)
    spectra = np.arange(STARS, dtype=np.float32)[:, None]  # each star's own number
    label = rng.normal(size=(STARS, 22)) * 3.0
    label[:, 0] = 4800 + 100 * label[:, 0]
    noise = rng.normal(size=(STARS, 22))
    missing = label.copy()
    missing[TEST, 4] = np.nan
    opened = types.SimpleNamespace(table=Table({"snr": np.where(np.arange(STARS) < 150, 90.0, 150.0)}))
    trained, asked = [], []

    def train(survey, part):
        trained.append(part.spectrum[:, 0].astype(int).tolist())
        return len(part), {}

    def from_stars(opened, labels, rows):
        asked.append(rows)
        return LabelSet(spectra[rows], missing[rows], np.full((len(rows), 22), 1e-3))

    def predict(network, seen, *, passes, **_):
        assert passes == load_survey("smoke").parameters.passes > 1
        stars, units = seen[:, 0].astype(int), np.where(np.arange(22) == 0, 100.0, 1.0)
        drawn_in = label.mean(axis=0) + DRAWN_IN * (label - label.mean(axis=0))
        return LabelPrediction(
            drawn_in[stars] + units * noise[stars] / network, *[np.tile(0.3 * units, (len(stars), 1))] * 3
        )

    monkeypatch.setattr(learning_curve.stars_h5, "open_stars", lambda path: contextlib.nullcontext(opened))
    monkeypatch.setattr(learning_curve, "survey_labels", lambda *_: None)
    monkeypatch.setattr(learning_curve, "select_labelled", lambda *_: (np.arange(N), None))
    monkeypatch.setattr(learning_curve, "test_rows", lambda *_: TEST)
    # with a validation star of the whole training set
    monkeypatch.setattr(learning_curve, "calibrating_rows", lambda *_: np.array([N - 1, *range(300, STARS)]))
    monkeypatch.setattr(learning_curve.LabelSet, "from_stars", from_stars)
    monkeypatch.setattr(learning_curve, "train_parameters", train)
    monkeypatch.setattr(learning_curve, "predict_labels", predict)
    monkeypatch.setattr(learning_curve.ParametersModel, "load", lambda path: types.SimpleNamespace(network=N))
    survey = load_survey("smoke")
    parameters = dataclasses.replace(survey.parameters, learning_curve=(20, 10, 500))
    survey = dataclasses.replace(survey, parameters=parameters)
    path = tmp_path / "curve.json"
    learning_curve.write_learning_curve(path, survey, tmp_path / "s", tmp_path / "a", tmp_path / "m")
    return learning_curve.read_learning_curve(path), trained, asked


def test_sizes_ascend_end_with_all_stars_and_leave_out_those_beyond(measured):
    curve, trained, _ = measured
    assert list(curve) == sorted(curve) == [10, 20, N]
    assert [len(part) for part in trained] == [10, 20]  # all stars: the model itself


def test_smaller_parts_lie_in_larger_ones_and_are_drawn_at_random(measured):
    _, trained, _ = measured
    assert set(trained[0]) < set(trained[1])
    assert trained[1] == sorted(trained[1]) and trained[1] != list(range(20))


def test_the_scatter_is_that_of_bright_test_stars(measured):
    curve, _, asked = measured
    assert asked[1].tolist() == list(range(150, 220))
    assert curve[10]["teff"] == pytest.approx(5 * curve[N]["teff"], rel=0.5)


def test_labels_are_corrected_as_those_that_users_get_by_stars_of_no_training_set(measured):
    """Uncorrected, drawn to the middle by half, they would scatter by 1.5 dex whatever the number of training stars."""
    curve, _, asked = measured
    assert asked[2].tolist() == list(range(300, STARS))
    # Teff, log g and [Fe/H], of which the correction is made
    assert curve[10]["fe_h"] == pytest.approx(0.1 / DRAWN_IN, rel=0.4)
    assert curve[N]["fe_h"] == pytest.approx(0.02 / DRAWN_IN, rel=0.4)


def test_stars_beyond_the_most_are_left_out_evenly():
    rows = np.arange(100, 112)
    assert learning_curve._evenly(rows, 12).tolist() == rows.tolist()
    assert learning_curve._evenly(rows, 5).tolist() == [100, 103, 106, 109]
    assert learning_curve._evenly(rows[:0], 5).tolist() == []


def test_a_label_that_no_test_star_has_is_null(measured):
    curve, _, _ = measured
    assert curve[10][LABELS[4]] is None
