"""Errors of labels that a kind of star does not have in the survey: large there, and as they were elsewhere."""

import itertools
import json

import numpy as np
import pytest

from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.label_presence import LEAST_STARS, LEAST_WITHOUT, LabelPresence
from apogaia.parameters.predictions import LabelPrediction

LOGG, AL_H = LABELS.index("logg"), LABELS.index("al_h")
MIDDLE = np.array([4700.0, 2.4, *[-0.1] * 20])
SPREAD = np.array([400.0, 0.7, *[0.25] * 20])
STATED = np.array([30.0, 0.06, *[0.04] * 20])
N = 5000


def stars(seed=1, n=N):
    """Giants and one tenth dwarfs: the log g of the survey is of giants; the network's, of dwarfs, too low by 0.3.

    Returns predictions, labels and their errors, SNRs, true log g, and which are dwarfs.
    """
    rng = np.random.default_rng(seed)
    truth = MIDDLE + SPREAD * rng.standard_normal((n, len(LABELS)))
    dwarf = np.arange(n) % 10 == 0
    truth[:, LOGG] = np.where(dwarf, rng.uniform(4.1, 4.6, n), rng.uniform(0.8, 3.7, n))
    predicted = truth + STATED * rng.standard_normal(truth.shape)
    predicted[dwarf, LOGG] -= 0.3
    total = np.broadcast_to(STATED, truth.shape).copy()
    error = 2 * total
    label = truth + error * rng.standard_normal(truth.shape)
    label[dwarf, LOGG] = np.nan
    snr = np.exp(rng.uniform(np.log(30), np.log(300), n))
    return LabelPrediction(predicted, 0.6 * total, 0.8 * total, total), label, error, snr, truth[:, LOGG], dwarf


@pytest.fixture(scope="module")
def presence():
    return LabelPresence.fit(*stars()[:4])


def test_errors_of_dwarfs_log_g_grow_to_the_spread_of_log_g(presence):
    prediction, label, *_, truth, dwarf = stars(seed=2)
    found = presence.apply(prediction)
    np.testing.assert_array_equal(found.label, prediction.label)
    spread = np.nanstd(label[:, LOGG])
    assert abs(presence.spread[LOGG] / spread - 1) < 0.05
    error = found.total_error[:, LOGG]
    assert 0.8 * spread < np.median(error[dwarf]) < 1.1 * spread
    inside = np.abs(prediction.label[:, LOGG] - truth) < error
    assert np.mean(inside[dwarf]) > 0.9 > 0.1 > np.mean((np.abs(prediction.label[:, LOGG] - truth) < 0.06)[dwarf])
    assert np.mean(error[~dwarf] == prediction.total_error[~dwarf, LOGG]) > 0.98
    assert np.all(error >= prediction.total_error[:, LOGG])


def test_other_labels_and_the_parts_of_the_error(presence):
    prediction = stars(seed=2)[0]
    found = presence.apply(prediction)
    others = np.arange(len(LABELS)) != LOGG
    for ours, theirs in zip(found[1:], prediction[1:], strict=True):
        np.testing.assert_array_equal(ours[:, others], theirs[:, others])
        np.testing.assert_allclose(
            ours[:, LOGG] / theirs[:, LOGG], found.total_error[:, LOGG] / prediction.total_error[:, LOGG]
        )
    np.testing.assert_allclose(np.hypot(found.model_error, found.predictive_error), found.total_error)


def test_the_error_grows_steadily_towards_the_stars_without_the_label(presence):
    logg = np.arange(3.0, 4.26, 0.05)
    label = np.tile(MIDDLE, (len(logg), 1))
    label[:, LOGG] = logg
    total = np.broadcast_to(STATED, label.shape)
    error = presence.apply(LabelPrediction(label, total, total, total)).total_error[:, LOGG]
    assert all(after >= before for before, after in itertools.pairwise(error))
    assert error[0] == STATED[LOGG] and error[-1] > 0.6 and np.diff(error).max() < 0.3


@pytest.mark.parametrize("kept", [0.9, 0.4, 0.1])
def test_labels_that_flags_remove_at_random_are_as_good_as_others(kept):
    prediction, label, error, snr, *_ = stars(seed=3)
    label[np.random.default_rng(4).random(N) > kept, AL_H] = np.nan
    presence = LabelPresence.fit(prediction, label, error, snr)
    assert presence.coefficients[AL_H] and abs(presence.share[AL_H] - kept) < 0.03
    new = stars(seed=5)[0]
    same = presence.apply(new).total_error[:, AL_H] == new.total_error[:, AL_H]
    assert np.mean(same) > 0.985


def test_the_probability_is_that_of_the_stars(presence):
    prediction, label, *_ = stars(seed=2)
    relative = presence.probability(prediction)[:, LOGG]
    has = np.isfinite(label[:, LOGG])
    found = relative * presence.share[LOGG]
    assert abs(found.mean() - has.mean()) < 0.01 and np.mean((found > 0.5) == has) > 0.97
    assert np.all(presence.probability(prediction)[:, AL_H] == 1)


def test_stars_without_a_prediction_stay_unknown(presence):
    prediction = LabelPrediction.unknown(3)
    for part in presence.apply(prediction):
        assert np.isnan(part).all()
    zero = LabelPrediction(*np.zeros((4, 2, len(LABELS))))
    assert all(np.isfinite(part).all() for part in presence.apply(zero))


def test_too_few_stars_change_nothing():
    prediction, label, error, snr, *_ = stars()
    few = slice(0, LEAST_STARS - 1)
    none = LabelPresence.fit(LabelPrediction(*(p[few] for p in prediction)), label[few], error[few], snr[few])
    assert none == LabelPresence.none()
    np.testing.assert_array_equal(none.apply(prediction).total_error, prediction.total_error)
    rarely = label.copy()
    rarely[LEAST_STARS - 1 :, AL_H] = np.nan  # hardly any star with [Al/H], hardly any without [K/H]
    k_h = LABELS.index("k_h")
    rarely[: LEAST_WITHOUT - 1, k_h] = np.nan
    found = LabelPresence.fit(prediction, rarely, error, snr)
    assert not found.coefficients[AL_H] and not found.coefficients[k_h] and found.coefficients[LOGG]
    rarely[:LEAST_WITHOUT, k_h] = np.nan
    assert LabelPresence.fit(prediction, rarely, error, snr).coefficients[k_h]


def test_as_in_a_model_file(presence):
    again = LabelPresence.from_dict(json.loads(json.dumps(presence.to_dict(), sort_keys=True)))
    assert again == presence
    prediction = stars(seed=2)[0]
    np.testing.assert_array_equal(again.apply(prediction).total_error, presence.apply(prediction).total_error)
    assert LabelPresence.from_dict(LabelPresence.none().to_dict()) == LabelPresence.none()
    with pytest.raises(TypeError):
        LabelPresence.from_dict({**presence.to_dict(), "knots": 3})
