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
from apogaia.survey import load_survey

N, TEST = 50, 40


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Write a curve with stand-ins for training and network, whose error is a function of the number of stars."""
    trained = []
    sample = LabelSet(np.arange(N, dtype=np.float32)[:, None], np.zeros((N, 22)), np.ones((N, 22)))
    unseen = LabelSet(np.arange(TEST, dtype=np.float32)[:, None], np.zeros((TEST, 22)), np.ones((TEST, 22)))
    unseen.label[:, 4] = np.nan
    opened = types.SimpleNamespace(table=Table({"snr": np.where(np.arange(200) < 100, 90.0, 150.0)}))
    test = np.arange(80, 80 + TEST)  # half of them are too faint
    asked = []

    def train(survey, part):
        trained.append(part.spectrum[:, 0].astype(int).tolist())
        return len(part), {}

    def from_stars(opened, labels, rows):
        asked.append(rows)
        return sample if len(asked) == 1 else unseen

    noise = np.random.default_rng(1).normal(size=(TEST, 22))
    monkeypatch.setattr(learning_curve.stars_h5, "open_stars", lambda path: contextlib.nullcontext(opened))
    monkeypatch.setattr(learning_curve, "survey_labels", lambda *_: None)
    monkeypatch.setattr(learning_curve, "select_labelled", lambda *_: (np.arange(N), None))
    monkeypatch.setattr(learning_curve, "test_rows", lambda *_: test)
    monkeypatch.setattr(learning_curve.LabelSet, "from_stars", from_stars)
    monkeypatch.setattr(learning_curve, "train_parameters", train)
    monkeypatch.setattr(learning_curve.ParametersModel, "load", lambda path: types.SimpleNamespace(network=N))
    monkeypatch.setattr(learning_curve, "network_labels", lambda network, spectra: noise / network)
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
    assert asked[1].tolist() == list(range(100, 120))
    assert curve[10]["teff"] == pytest.approx(5 * curve[N]["teff"])
    assert curve[10]["fe_h"] == pytest.approx(0.1, rel=0.5)


def test_a_label_that_no_test_star_has_is_null(measured):
    curve, _, _ = measured
    assert curve[10][LABELS[4]] is None
