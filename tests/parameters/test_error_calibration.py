"""Calibration of the labels' errors: understated errors come right where they are, and only there."""

import json

import numpy as np
import pytest

from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.error_calibration import (
    LEAST_STARS,
    Degraded,
    LabelErrorCalibration,
    _curvature,
    _loss,
    _minimum,
    _Sample,
)
from apogaia.parameters.predictions import LabelPrediction

N = 6000
SCALE = np.array([40.0, *[0.05] * 21])  # stated errors [K, dex]


def stars(growth, seed=1, label_error=0.3, n=N):
    """Predictions whose true errors are `growth(snr, teff)` times the stated ones; the labels' errors are known."""
    rng = np.random.default_rng(seed)
    snr = np.exp(rng.uniform(np.log(30), np.log(300), n))
    truth = np.column_stack([rng.uniform(3800, 5200, n), *rng.normal(0, 0.3, (21, n))])
    stated = SCALE * rng.uniform(0.7, 1.3, (n, len(LABELS)))
    factor = growth(snr, truth[:, 0])[:, None]
    label = truth + rng.normal(0, factor * stated)
    prediction = LabelPrediction(label, 0.6 * stated, 0.8 * stated, stated)
    error = label_error * SCALE * np.ones((n, 1))
    return prediction, truth, truth + rng.normal(0, error), error, snr


def coverage(prediction, truth, rows):
    return np.mean(np.abs(prediction.label - truth)[rows] < prediction.total_error[rows], axis=0)


def test_errors_that_grow_with_falling_snr_and_with_teff_come_right():
    growth = lambda snr, teff: 2.0 * (snr / 100) ** -0.5 * (teff / 4500) ** 2  # noqa: E731
    fitted = stars(growth)
    calibration = LabelErrorCalibration.fit(*(fitted[i] for i in (0, 2, 3, 4)))
    assert calibration.stars == N
    prediction, truth, _, _, snr = stars(growth, seed=2)
    assert coverage(prediction, truth, snr > 0).max() < 0.6
    after = calibration.apply(prediction, snr)
    for rows in (snr < 60, (snr > 60) & (snr < 150), snr > 150, truth[:, 0] < 4300, truth[:, 0] > 4800):
        found = coverage(after, truth, rows)
        assert found.min() > 0.62 and found.max() < 0.74
        assert abs(found.mean() - 0.683) < 0.015
    np.testing.assert_array_equal(after.label, prediction.label)
    # both parts grow alike
    np.testing.assert_allclose(np.hypot(after.model_error, after.predictive_error), after.total_error)


def test_the_labels_own_errors_are_not_put_down_to_the_network():
    ones = lambda snr, teff: np.ones(len(snr))  # noqa: E731
    prediction, truth, label, error, snr = stars(ones, label_error=1.5)
    after = LabelErrorCalibration.fit(prediction, label, error, snr).apply(prediction, snr)
    assert abs(coverage(after, truth, snr > 0).mean() - 0.683) < 0.02


def test_a_label_whose_own_errors_hide_the_networks_goes_with_the_others():
    growth = lambda snr, teff: 2.0 * (snr / 100) ** -0.5  # noqa: E731
    prediction, truth, label, error, snr = stars(growth)
    error[:, 9] = 20 * SCALE[9]
    label[:, 9] = truth[:, 9] + np.random.default_rng(3).normal(0, error[:, 9])
    after = LabelErrorCalibration.fit(prediction, label, error, snr).apply(prediction, snr)
    grown = after.total_error[:, 9] / prediction.total_error[:, 9]
    faint, bright = snr < 50, snr > 180
    wanted = np.median(growth(snr[faint], 0)) / np.median(growth(snr[bright], 0))
    assert np.median(grown[faint]) / np.median(grown[bright]) == pytest.approx(wanted, rel=0.15)


def degraded_stars(growth, n=1500):
    """The same bright stars before and after noise was added: the errors before are part of those after."""
    prediction, truth, *_, snr = stars(growth, seed=7, n=8 * n)
    bright = np.flatnonzero(snr > 200)[:n]
    before = LabelPrediction(*(part[bright] for part in prediction))
    rng = np.random.default_rng(8)
    snr_after = np.exp(rng.uniform(np.log(30), np.log(200), len(bright)))
    stated = before.total_error
    teff = truth[bright, 0]
    wanted = growth(snr_after, teff)[:, None] * stated
    own = growth(snr[bright], teff)[:, None] * stated
    moved = np.sqrt(np.maximum(wanted**2 - own**2, 0.0)) * rng.standard_normal(stated.shape)
    after = LabelPrediction(before.label + moved, 0.6 * stated, 0.8 * stated, stated)
    return Degraded(before, after, snr[bright], snr_after)


def test_noise_added_to_bright_stars_shows_a_growth_that_the_labels_own_errors_hide():
    """Each label has its own growth, the network states twice its errors, and the survey's are several times those."""
    rng, half = np.random.default_rng(4), np.arange(len(LABELS)) < 10
    much = lambda snr, teff: 0.5 * (snr / 250) ** -0.6  # noqa: E731
    little = lambda snr, teff: 0.5 * (snr / 250) ** -0.25  # noqa: E731

    def mixed(one, other):
        return one._replace(label=np.where(half, one.label, other.label))

    (one, truth, *_, snr), (other, *_) = stars(much), stars(little)
    prediction, error = mixed(one, other), np.broadcast_to(3.0 * SCALE, truth.shape)
    label = truth + rng.normal(0, error)
    degraded, others = degraded_stars(much), degraded_stars(little)
    degraded = degraded._replace(
        before=mixed(degraded.before, others.before), after=mixed(degraded.after, others.after)
    )

    def covered(*more):
        calibration = LabelErrorCalibration.fit(prediction, label, error, snr, *more)
        assert calibration.stars == N
        return coverage(calibration.apply(prediction, snr), truth, snr < 50)

    assert np.abs(covered() - 0.683).max() > 0.12  # the survey's labels alone do not tell
    assert np.abs(covered(degraded) - 0.683).max() < 0.085


def test_a_label_of_too_few_stars_stays_as_it_is_with_noise_added_too():
    growth = lambda snr, teff: 2.0 * (snr / 100) ** -0.5  # noqa: E731
    prediction, _, label, error, snr = stars(growth)
    label[LEAST_STARS - 1 :, 5] = np.nan
    fitted = LabelErrorCalibration.fit(prediction, label, error, snr, degraded_stars(growth))
    assert not fitted.log_growth[5] and fitted.log_growth[6]
    few = LabelErrorCalibration.fit(
        LabelPrediction(*(part[:100] for part in prediction)),
        label[:100],
        error[:100],
        snr[:100],
        degraded_stars(growth),
    )
    assert few.splines is None and few.stars == 100


def test_gross_errors_of_few_labels_change_little():
    ones = lambda snr, teff: np.ones(len(snr))  # noqa: E731
    prediction, _, label, error, snr = stars(ones)
    wrong = label.copy()
    wrong[::100] += 15 * SCALE
    clean, spoilt = (
        LabelErrorCalibration.fit(prediction, given, error, snr).apply(prediction, snr).total_error
        for given in (label, wrong)
    )
    assert np.median(spoilt / clean) == pytest.approx(1.0, abs=0.04)


def test_a_label_of_few_stars_keeps_its_errors_and_missing_labels_do_not_count():
    twice = lambda snr, teff: np.full(len(snr), 2.0)  # noqa: E731
    prediction, _, label, error, snr = stars(twice)
    label[LEAST_STARS - 1 :, 5] = np.nan
    label[: N // 2, 6] = np.nan
    after = LabelErrorCalibration.fit(prediction, label, error, snr).apply(prediction, snr)
    grown = np.median(after.total_error / prediction.total_error, axis=0)
    assert grown[5] == 1.0
    assert grown[6] == pytest.approx(2.0, abs=0.15) and grown[7] == pytest.approx(2.0, abs=0.15)


def test_too_few_stars_change_nothing():
    ones = lambda snr, teff: np.ones(len(snr))  # noqa: E731
    prediction, _, label, error, snr = stars(ones, n=LEAST_STARS - 1)
    calibration = LabelErrorCalibration.fit(prediction, label, error, snr)
    assert calibration.stars == LEAST_STARS - 1
    assert calibration.apply(prediction, snr) is prediction
    assert LabelErrorCalibration.none().apply(prediction, snr) is prediction


def test_unknown_snr_counts_as_the_lowest_and_stars_without_a_spectrum_stay_unknown():
    growth = lambda snr, teff: (snr / 300) ** -0.5  # noqa: E731
    prediction, _, label, error, snr = stars(growth)
    calibration = LabelErrorCalibration.fit(prediction, label, error, snr)
    prediction.label[0] = prediction.total_error[0] = np.nan
    unknown, lowest = (
        calibration.apply(prediction, np.where(np.arange(N) < 10, value, snr)) for value in (np.nan, 30.0)
    )
    np.testing.assert_allclose(unknown.total_error[1:10], lowest.total_error[1:10], rtol=0.02)
    assert np.isnan(unknown.total_error[0]).all() and np.isfinite(unknown.total_error[1:]).all()


def test_errors_that_differ_less_from_star_to_star_than_stated_come_right():
    """Large stated errors are too large, small ones too small: true ones go as their root; of other labels, as they."""
    rng = np.random.default_rng(6)
    half = np.arange(len(LABELS)) < 11

    def drawn(seed):
        prediction, truth, _, error, snr = stars(lambda snr, teff: np.ones(len(snr)), seed=seed)
        stated = SCALE * np.exp(0.5 * rng.standard_normal(truth.shape))
        true = np.where(half, SCALE * (stated / SCALE) ** 0.5, stated)
        label = truth + true * rng.standard_normal(truth.shape)
        prediction = LabelPrediction(label, 0.6 * stated, 0.8 * stated, stated)
        return prediction, truth, truth + error * rng.standard_normal(truth.shape), error, snr

    prediction, _, label, error, snr = drawn(1)
    calibration = LabelErrorCalibration.fit(prediction, label, error, snr)
    slopes = np.array([growth[1] for growth in calibration.log_growth])
    np.testing.assert_allclose(slopes, np.where(half, -0.5, 0.0), atol=0.08)
    prediction, truth, *_, snr = drawn(2)
    after = calibration.apply(prediction, snr)

    def covered(errors, low, high):
        """Mean share, over the first half of the labels, of the stars between two percentiles of the stated error."""
        stated = prediction.total_error
        some = (stated >= np.percentile(stated, low, axis=0)) & (stated <= np.percentile(stated, high, axis=0))
        inside = np.abs(prediction.label - truth) < errors.total_error
        return np.mean((inside & some)[:, half].sum(axis=0) / some[:, half].sum(axis=0))

    assert covered(prediction, 0, 20) < 0.58 and covered(prediction, 80, 100) > 0.78
    for low, high in ((0, 20), (40, 60), (80, 100)):
        assert abs(covered(after, low, high) - 0.683) < 0.035


def test_the_line_in_the_stated_error_ends_at_its_outer_percentiles():
    prediction, _, label, error, snr = stars(lambda snr, teff: np.ones(len(snr)))
    calibration = LabelErrorCalibration.fit(prediction, label, error, snr)
    for growth in calibration.log_growth:
        growth[1] = -0.5
    same = LabelPrediction(*(np.tile(part[0], (4, 1)) for part in prediction))
    outermost = np.exp([percentiles[2] for percentiles in calibration.log_stated])
    same.total_error[:] = np.array([0.9, 1.0, 2.0, 20.0])[:, None] * outermost
    grown = calibration.apply(same, np.full(4, 100.0)).total_error / same.total_error
    np.testing.assert_allclose(grown[2:], grown[[1, 1]], rtol=1e-9)
    np.testing.assert_allclose(grown[0] / grown[1], 0.9**-0.5, rtol=1e-9)


def test_it_travels_as_json():
    ones = lambda snr, teff: np.ones(len(snr))  # noqa: E731
    prediction, _, label, error, snr = stars(ones, n=800)
    calibration = LabelErrorCalibration.fit(prediction, label, error, snr)
    again = LabelErrorCalibration.from_dict(json.loads(json.dumps(calibration.to_dict(), sort_keys=True)))
    np.testing.assert_array_equal(
        again.apply(prediction, snr).total_error, calibration.apply(prediction, snr).total_error
    )


def test_slope_of_the_loss_and_its_curvature_with_the_growth():
    rng = np.random.default_rng(5)
    n = 40_000
    basis = np.column_stack([np.ones(n), rng.uniform(-1, 1, n)])
    parameters = np.array([0.3, -0.4, -9.0])
    stated, error = rng.uniform(0.5, 2.0, n), rng.uniform(0.1, 2.0, n)
    spread = np.hypot(stated * np.exp(basis @ parameters[:2]), error)
    sample = _Sample(basis, rng.normal(0, spread), error, stated)
    step = 1e-4 * np.eye(3)
    values = [_loss(sample, parameters + one)[0] - _loss(sample, parameters - one)[0] for one in step]
    np.testing.assert_allclose(np.array(values) / 2e-4, _loss(sample, parameters)[1], rtol=1e-4, atol=1e-3)
    slopes = [_loss(sample, parameters + one)[1] - _loss(sample, parameters - one)[1] for one in step]
    curvature = np.array(slopes) / 2e-4
    expected = _curvature(sample, parameters)
    np.testing.assert_allclose(curvature[:2, :2], expected[:2, :2], rtol=0.05, atol=0.02 * expected[0, 0])


def test_the_minimum_is_found_in_crooked_coordinates_and_at_a_bound():
    matrix = np.array([[1e4, 90.0, 0.0], [90.0, 1.0, 0.0], [0.0, 0.0, 4.0]])
    centre = np.array([0.5, -2.0, 3.0])  # log odds of 3 are out of bounds: -2.2 is the largest
    called = []

    def function(x):
        called.append(x)
        return 0.5 * (x - centre) @ matrix @ (x - centre), matrix @ (x - centre)

    odds = np.array([False, False, True])
    found = _minimum(function, np.array([0.0, 0.0, -5.0]), matrix, odds)
    np.testing.assert_allclose(found, [0.5, -2.0, np.log(0.1 / 0.9)], rtol=1e-5)
    assert len(called) < 12


def test_stated_errors_that_are_none_leave_the_other_stars_as_they_are():
    prediction, _, label, error, snr = stars(lambda snr, teff: np.full(len(snr), 1.7))
    total = prediction.total_error.copy()
    total[3, 5], total[4, 5], total[5, 6] = np.nan, np.inf, 0.0
    broken = LabelPrediction(prediction.label, prediction.model_error, prediction.predictive_error, total)
    growth = np.array(LabelErrorCalibration.fit(broken, label, error, snr).log_growth)
    wanted = np.array(LabelErrorCalibration.fit(prediction, label, error, snr).log_growth)
    np.testing.assert_allclose(growth, wanted, atol=0.02)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.0])
def test_noisy_copies_without_a_stated_error_are_not_known(wrong):
    prediction, *_, snr = stars(lambda snr, teff: np.ones(len(snr)), n=300)
    total = prediction.total_error.copy()
    total[3, 5] = wrong
    after = LabelPrediction(prediction.label, prediction.model_error, prediction.predictive_error, total)
    known, *_ = Degraded(prediction, after, snr, snr).parts(LabelErrorCalibration.none(), seed=1)
    assert not known[3, 5] and known.sum() == known.size - 1
