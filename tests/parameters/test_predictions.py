"""Predicted labels and the parts of their errors."""

import numpy as np
from astropy import units as u

from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.predictions import LABEL_PREDICTION, LabelPrediction, is_positive, known_labels


def test_errors_are_roots_of_the_variances_and_add_in_quadrature():
    mean = np.arange(2.0 * len(LABELS)).reshape(2, -1)
    variance = np.full(mean.shape, 9.0)
    variance[1] = np.nan
    prediction = LabelPrediction.from_moments(mean, variance, np.full(mean.shape, 16.0))
    assert prediction._fields == ("label", "model_error", "predictive_error", "total_error")
    for part, expected in zip(prediction, (mean[0], 3.0, 4.0, 5.0), strict=True):
        np.testing.assert_array_equal(part[0], np.broadcast_to(expected, len(LABELS)))
    assert np.isnan(prediction.model_error[1]).all() and np.isnan(prediction.total_error[1]).all()


def test_stars_without_a_spectrum_have_rows_of_nan():
    unknown = LabelPrediction.unknown(3)
    assert all(part.shape == (3, len(LABELS)) and np.isnan(part).all() for part in unknown)
    assert np.array(LabelPrediction.unknown(0)).shape == (4, 0, len(LABELS))


def test_parts_may_be_masked_or_have_units():
    given = LabelPrediction.unknown(2)._replace(
        label=np.ma.masked_equal(np.ones((2, len(LABELS))), 1.0), total_error=np.full((2, len(LABELS)), 3.0) * u.dex
    )
    plain = LABEL_PREDICTION(given, "prediction")
    assert isinstance(plain, LabelPrediction)
    assert all(type(part) is np.ndarray for part in plain)
    assert np.isnan(plain.label).all() and (plain.total_error == 3.0).all()


def test_only_positive_numbers_are_errors():
    np.testing.assert_array_equal(is_positive(np.array([0.1, 0.0, -1.0, np.nan, np.inf])), [True, *[False] * 4])


def test_labels_calibrate_where_all_is_known():
    ones = np.ones((9, len(LABELS)))
    label, stated, survey, error, snr = ones.copy(), ones.copy(), ones.copy(), ones.copy(), np.full(9, 100.0)
    survey[1, 3] = stated[2, 3] = error[3, 3] = np.nan
    stated[4, 3] = error[5, 3] = 0.0
    label[6, 3], snr[7], snr[8] = np.nan, np.inf, -9999.0
    known = known_labels(LabelPrediction(label, ones, ones, stated), survey, error, snr)
    wanted = np.ones(known.shape, bool)
    wanted[1:6, 3] = wanted[6:] = False  # without one label of the prediction, its Teff, say, no label has a place
    np.testing.assert_array_equal(known, wanted)
