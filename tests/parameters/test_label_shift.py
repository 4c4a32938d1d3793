"""The labels' correction: what unseen stars show comes right, whatever the errors of the survey's labels."""

import itertools
import json

import numpy as np
import pytest
from scipy.optimize import least_squares

from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.error_calibration import LabelErrorCalibration
from apogaia.parameters.label_shift import COEFFICIENTS, HUBER, LEAST_STARS, LabelShift, _robust_mean
from apogaia.parameters.predictions import LabelPrediction

N = 6000
MIDDLE = np.array([4600.0, 2.5, *[-0.1] * 20])
SPREAD = np.array([350.0, 0.7, *[0.25] * 20])
STATED = np.array([30.0, 0.06, *[0.04] * 20])  # the network's scatter, which it states


def stars(seed=1, n=N, label_error=3.0, shrink=0.9):
    """Predictions drawn towards the middle, and of faint stars too low; labels with errors of so many of the network's.

    Returns predictions, true labels, the survey's labels and their errors, SNRs.
    """
    rng = np.random.default_rng(seed)
    snr = np.exp(rng.uniform(np.log(30), np.log(300), n))
    truth = MIDDLE + SPREAD * rng.standard_normal((n, len(LABELS)))
    # all abundances are near [Fe/H], as in the Galaxy
    truth[:, 2:] = truth[:, [LABELS.index("fe_h")]] + 0.05 * rng.standard_normal((n, 20))
    too_low = 2.0 * STATED * (30.0 / snr[:, None])
    label = MIDDLE + shrink * (truth - MIDDLE) - too_low + STATED * rng.standard_normal(truth.shape)
    part = np.broadcast_to(STATED / np.sqrt(2), truth.shape)
    prediction = LabelPrediction(label, part, part, np.broadcast_to(STATED, truth.shape).copy())
    error = np.broadcast_to(label_error * STATED, truth.shape).copy()
    return prediction, truth, truth + error * rng.standard_normal(truth.shape), error, snr


def offsets(prediction, truth, values, edges):
    """Median residuals in bins, in units of the stated errors: (bins, labels)."""
    return np.array(
        [
            np.median((truth - prediction.label)[(values > low) & (values < high)], axis=0) / STATED
            for low, high in itertools.pairwise(edges)
        ]
    )


def test_labels_drawn_to_the_middle_and_changed_by_noise_come_right():
    prediction, _, label, error, snr = stars()
    shift = LabelShift.fit(prediction, label, error, snr)
    prediction, truth, _, _, snr = stars(seed=2)
    after = shift.apply(prediction, snr)
    fe_h = LABELS.index("fe_h")
    for values, edges in (
        (snr, (30, 45, 80, 150, 300)),
        (after.label[:, 0], (4000, 4400, 4800, 5200)),
        (after.label[:, 1], (1.5, 2.2, 2.8, 3.5)),
        (after.label[:, fe_h], (-0.5, -0.2, 0.0, 0.3)),
    ):
        assert np.abs(offsets(prediction, truth, values, edges)).max() > 0.7
        assert np.abs(offsets(after, truth, values, edges)).max() < 0.3
    scatter, before = ((truth - one.label).std(axis=0) / STATED for one in (after, prediction))
    assert scatter.max() < 1.25 and before.min() > 1.25  # about 1.1: what was shrunk is stretched, with its scatter
    for part, wanted in zip(after[1:], prediction[1:], strict=True):
        np.testing.assert_array_equal(part, wanted)


def test_right_labels_stay():
    prediction, truth, label, error, snr = stars(shrink=1.0)
    prediction = prediction._replace(label=truth + STATED * np.random.default_rng(5).standard_normal(truth.shape))
    after = LabelShift.fit(prediction, label, error, snr).apply(prediction, snr)
    assert np.sqrt(np.mean(((after.label - prediction.label) / STATED) ** 2)) < 0.25


def test_where_no_star_calibrates_the_correction_is_that_of_the_others():
    """Stars are faint or bright, none in between, and all are off by the same, more than a prior about zero allows."""
    prediction, truth, *_ = stars()
    snr = np.random.default_rng(7).choice([*np.linspace(40, 60, 50), 400.0], N)
    label = truth + 3 * STATED
    prediction = prediction._replace(label=truth)
    shift = LabelShift.fit(prediction, label, np.broadcast_to(STATED, truth.shape), snr)
    between = shift.apply(prediction, np.full(N, 150.0)).label - truth
    np.testing.assert_allclose(np.median(between, axis=0), 3 * STATED, rtol=1e-3)


def test_gross_errors_of_few_labels_change_little():
    prediction, _, label, error, snr = stars()
    wrong = label.copy()
    wrong[::50] += 60 * STATED
    clean, spoilt = (
        LabelShift.fit(prediction, given, error, snr).apply(prediction, snr).label for given in (label, wrong)
    )
    assert np.median(np.abs(spoilt - clean) / STATED) < 0.15  # 60 in 50 would move a mean by 1.2


def test_a_label_of_few_stars_stays_and_missing_ones_do_not_count():
    prediction, truth, label, error, snr = stars()
    label[LEAST_STARS - 1 :, 5] = np.nan
    error[: N // 2, 6] = np.nan
    error[: N // 2, 7] = 0.0  # no error is known so well
    label[: N // 2, 6:8] += 2 * STATED[6:8]
    shift = LabelShift.fit(prediction, label, error, snr)
    after = shift.apply(prediction, snr)
    assert not shift.coefficients[5]
    np.testing.assert_array_equal(after.label[:, 5], prediction.label[:, 5])
    assert np.abs(offsets(after, truth, snr, (30, 80, 300)))[:, 6:8].max() < 0.3


@pytest.mark.parametrize("none", [np.inf, np.nan, 0.0, -9999.0])
def test_stars_without_an_snr_do_not_count(none):
    prediction, _, label, error, snr = stars(n=800)
    snr[:100], label[:100] = none, label[:100] + 20 * STATED
    rest = LabelPrediction(*(part[100:] for part in prediction))
    assert LabelShift.fit(prediction, label, error, snr) == LabelShift.fit(rest, label[100:], error[100:], snr[100:])


def test_too_few_stars_change_nothing():
    prediction, _, label, error, snr = stars(n=LEAST_STARS - 1)
    assert LabelShift.fit(prediction, label, error, snr) == LabelShift.none()
    assert LabelShift.none().apply(prediction, snr) is prediction


def test_errors_calibrated_on_the_same_stars_are_right_with_as_few_as_are_needed():
    share = []
    for seed in range(3):
        prediction, _, label, error, snr = stars(seed=seed, n=LEAST_STARS, label_error=0.5)
        shift = LabelShift.fit(prediction, label, error, snr)
        errors = LabelErrorCalibration.fit(shift.apply(prediction, snr), label, error, snr)
        prediction, truth, *_, snr = stars(seed=9)
        after = errors.apply(shift.apply(prediction, snr), snr)
        share.append(np.mean(np.abs(after.label - truth) < after.total_error))
    assert 0.62 < np.mean(share) < 0.7


def test_unknown_snr_counts_as_a_middle_one_and_stars_without_a_spectrum_stay_unknown():
    prediction, _, label, error, snr = stars()
    shift = LabelShift.fit(prediction, label, error, snr)
    prediction.label[0] = np.nan
    unknown, middle = (
        shift.apply(prediction, np.where(np.arange(N) < 10, value, snr)).label
        for value in (np.nan, np.exp(np.median(shift.splines.log_snr_knots)))
    )
    np.testing.assert_array_equal(unknown, middle)
    assert np.isnan(unknown[0]).all() and np.isfinite(unknown[1:]).all()


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_stars_beyond_those_of_the_fit_are_corrected_as_the_outermost_of_them(name):
    prediction, _, label, error, snr = stars()
    shift = LabelShift.fit(prediction, label, error, snr)
    one = LabelPrediction(*(part[:3].copy() for part in prediction))
    column, edge = LABELS.index(name), shift.splines.knots[name][-1]
    one.label[:] = one.label[0]
    one.label[:, column] = edge, edge + 5 * SPREAD[column], edge + 50 * SPREAD[column]
    added = shift.apply(one, np.full(3, 100.0)).label - one.label
    np.testing.assert_allclose(added[1:], np.broadcast_to(added[0], (2, len(LABELS))), rtol=1e-6, atol=1e-9)


def test_a_star_is_corrected_alone_as_among_others():
    prediction, _, label, error, snr = stars()
    shift = LabelShift.fit(prediction, label, error, snr)
    alone = shift.apply(LabelPrediction(*(part[7:8] for part in prediction)), snr[7:8])
    np.testing.assert_allclose(alone.label[0], shift.apply(prediction, snr).label[7], rtol=1e-12)


def test_it_travels_as_json():
    prediction, _, label, error, snr = stars(n=800)
    shift = LabelShift.fit(prediction, label, error, snr)
    again = LabelShift.from_dict(json.loads(json.dumps(shift.to_dict(), sort_keys=True)))
    np.testing.assert_array_equal(again.apply(prediction, snr).label, shift.apply(prediction, snr).label)


def test_the_robust_mean_is_that_of_scipy():
    rng = np.random.default_rng(4)
    n, sd, prior = 300, rng.uniform(0.5, 2.0, 300), 1.5
    basis = np.column_stack([np.ones(n), rng.uniform(-1, 1, (n, 3))])
    residual = basis @ [4.0, 1.0, -0.5, 0.2] + sd * rng.standard_normal(n)
    residual[::20] += 40.0
    # the prior is a row for each coefficient that has one; none of these is so large that it would count less
    rows = np.vstack([basis / sd[:, None], np.eye(4)[1:] / prior])
    wanted = np.concatenate([residual / sd, np.zeros(3)])
    scipys = least_squares(lambda x: rows @ x - wanted, np.zeros(4), loss="huber", f_scale=HUBER).x
    np.testing.assert_allclose(_robust_mean(basis, residual, sd, prior), scipys, rtol=1e-4, atol=1e-4)
    assert abs(np.linalg.lstsq(rows, wanted, rcond=None)[0][0] - scipys[0]) > 0.5  # the mean is another
