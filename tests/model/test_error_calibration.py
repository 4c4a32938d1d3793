"""Calibrated errors: they cover the truth on stars that did not calibrate them."""

import json

import numpy as np
import pytest
from astropy.table import Table

from apogaia.distances.consistency import median_differences
from apogaia.model import error_calibration
from apogaia.model.error_calibration import ErrorCalibration, Prediction, calibration_rows, unseen_rows
from apogaia.survey import load_survey

ZERO_POINT, UNDERSTATED = -40.0, 2.0


def stars(n, seed, *, dependent=False, precise=False):
    """A network's luminosities, twice as wrong as they say and too faint at low SNR; the table; the truth.

    Where they are dependent, the stated errors follow from the SNR; where they are precise, the SNR reaches 600 and
    the errors are a fifth.
    """
    rng = np.random.default_rng(seed)
    log_true = rng.normal(3.7, 0.5, n)
    snr = np.exp(rng.uniform(np.log(30), np.log(600 if precise else 300), n))
    stated = (
        (0.2 if precise else 1.0) * (0.05 + 2.0 / snr) * np.exp(0.0 if dependent else 0.2 * rng.standard_normal(n))
    )  # relative
    bias = 6.0 / snr
    fakemag = np.exp(log_true + bias + UNDERSTATED * stated * rng.standard_normal(n))
    k0 = rng.uniform(8, 12, n)
    error = rng.uniform(0.02, 0.04, n)
    true_parallax = np.exp(log_true) * 10 ** (-0.2 * k0)
    model, predictive = 0.6 * stated * fakemag, 0.8 * stated * fakemag
    table = Table(
        {
            "apogee_id": [f"2M{i:08d}" for i in range(n)],
            "parallax": true_parallax + 1e-3 * ZERO_POINT + error * rng.standard_normal(n),
            "parallax_error": error,
            "k0_mag": k0,
            "a_k_mag": np.full(n, 0.1),
            "snr": snr,
        }
    )
    return Prediction(fakemag, model, predictive, np.hypot(model, predictive)), table, np.exp(log_true)


@pytest.fixture(scope="module")
def calibration():
    prediction, table, _ = stars(6000, 1)
    return ErrorCalibration.fit(prediction, table, ZERO_POINT)


@pytest.fixture(scope="module")
def independent():
    return stars(8000, 2)


def coverage(prediction, truth):
    return np.mean(np.abs(prediction.fakemag - truth) < prediction.total_error)


def bias(prediction, truth):
    return np.median(np.log(prediction.fakemag / truth))


def test_calibrated_errors_cover_the_truth(calibration, independent):
    prediction, table, truth = independent
    snr = np.asarray(table["snr"])
    calibrated = calibration.apply(prediction, snr)
    assert coverage(prediction, truth) < 0.42
    assert 0.65 < coverage(calibrated, truth) < 0.72
    for chosen in (snr < 60, (snr > 60) & (snr < 130), snr > 130):
        part, before = (Prediction(*(values[chosen] for values in p)) for p in (calibrated, prediction))
        assert 0.63 < coverage(part, truth[chosen]) < 0.74
        assert abs(bias(part, truth[chosen])) < 0.02
        assert coverage(before, truth[chosen]) < 0.47
    assert bias(prediction, truth) > 0.05
    assert abs(bias(calibrated, truth)) < 0.015


@pytest.mark.parametrize("n", [1000, 6000])
def test_stated_errors_that_follow_from_the_snr_do_not_throw_it_off(n):
    prediction, table, _ = stars(n, 6, dependent=True)
    calibration = ErrorCalibration.fit(prediction, table, ZERO_POINT)
    prediction, table, truth = stars(8000, 7, dependent=True)
    calibrated = calibration.apply(prediction, table["snr"])
    assert 0.63 < coverage(calibrated, truth) < 0.73
    assert abs(bias(calibrated, truth)) < 0.02


CUTS = load_survey("smoke").cuts


def medians(calibration, prediction, table):
    """Medians against the zero point in bins of SNR, of calibrated luminosities; and their pulls."""
    nn_parallax = calibration.apply(prediction, table["snr"]).fakemag * 10 ** (-0.2 * table["k0_mag"])
    catalogue = Table({name: table[name] for name in ("parallax", "snr")})
    catalogue["nn_parallax"], catalogue["zero_point"] = nn_parallax, 1e-3 * ZERO_POINT
    catalogue["logg"] = catalogue["phot_g_mean_mag"] = np.arange(len(table), dtype=float)
    bins = median_differences(catalogue, CUTS)["snr"]
    return [one["median_uas"] for one in bins], np.array([one["median_uas"] / one["error_uas"] for one in bins])


def bent(n, seed):
    """Stars whose luminosities are too faint above the SNR split, too: the bias crosses it and goes on."""
    prediction, table, _ = stars(n, seed, precise=True)
    more = 0.05 * np.log(np.maximum(table["snr"] / 120.0, 1.0))
    return Prediction(*(part * np.exp(-more) for part in prediction)), table


def test_a_bias_with_the_snr_is_calibrated_across_the_split_without_a_step():
    """Half of the test stars and a tenth of the others calibrate; test stars alone leave a step."""
    prediction, table = bent(12_000, 20)
    bright = np.asarray(table["snr"]) > CUTS.snr_split
    chosen = np.random.default_rng(21).uniform(size=12_000) < np.where(bright, 0.1, 0.5)
    fits = [
        ErrorCalibration.fit(Prediction(*(part[rows] for part in prediction)), table[rows], ZERO_POINT)
        for rows in (chosen, chosen & ~bright)
    ]
    rest = Prediction(*(part[~chosen] for part in prediction)), table[~chosen]
    (_, both), (_, below) = (medians(fit, *rest) for fit in fits)
    assert np.abs(both).max() < 3.0 and np.sqrt(np.mean(both**2)) < 1.6
    assert below[3:].min() > 4.0  # Gaia's parallax is the larger one: distances too long
    assert np.abs(medians(ErrorCalibration.none(), *rest)[1]).max() > 8.0


@pytest.mark.parametrize("wrong", [-ZERO_POINT, 1e3 * ZERO_POINT, 1e-3 * ZERO_POINT], ids=["sign", "nas", "mas"])
def test_the_zero_point_enters_with_its_sign_in_microarcseconds(wrong):
    prediction, table = bent(6000, 22)
    _, right = medians(ErrorCalibration.fit(prediction, table, ZERO_POINT), prediction, table)
    off, _ = medians(ErrorCalibration.fit(prediction, table, wrong), prediction, table)
    assert np.abs(right).max() < 3.0
    assert np.sign(np.median(off)) == np.sign(wrong - ZERO_POINT) and abs(np.median(off)) > 10.0


def test_an_error_beyond_those_that_calibrated_keeps_its_ratio(calibration):
    stated = np.array([0.9, 1.8]) * 20.0
    wild = Prediction(np.full(2, 20.0), 0.6 * stated, 0.8 * stated, stated)
    found = calibration.apply(wild, np.full(2, 100.0))
    assert found.total_error[1] == pytest.approx(2 * found.total_error[0])


def test_distant_luminous_stars_keep_the_network_s_own_error_as_far_as_the_others_do():
    """Their parallaxes, with errors of ten times the luminosities' scatter, do not determine it."""
    growths = []
    for seed in range(30, 36):
        prediction, table, _ = stars(3000, seed)
        far = np.asarray(prediction.fakemag) < np.percentile(prediction.fakemag, 8)
        scatter = UNDERSTATED * prediction.total_error * 10 ** (-0.2 * np.asarray(table["k0_mag"]))
        moved = np.where(far, 10.0 * scatter, table["parallax_error"])
        rng = np.random.default_rng(seed)
        table["parallax"] += np.sqrt(np.maximum(moved**2 - table["parallax_error"] ** 2, 0)) * rng.standard_normal(3000)
        table["parallax_error"] = np.maximum(moved, table["parallax_error"])
        found = ErrorCalibration.fit(prediction, table, ZERO_POINT).apply(prediction, table["snr"])
        relative = found.total_error / found.fakemag / (prediction.total_error / prediction.fakemag)
        growths.append([np.median(relative[far]), np.median(relative[~far])])
    luminous, others = np.array(growths).T
    assert others == pytest.approx(np.full(6, 1.85), rel=0.12)
    assert luminous == pytest.approx(others, rel=0.35)


def test_errors_that_are_wrong_for_some_luminosities_alone_are_followed_where_parallaxes_tell():
    def unequal(seed):
        prediction, table, truth = stars(8000, seed)
        luminous = np.asarray(prediction.fakemag) < np.median(prediction.fakemag)
        stated = np.where(luminous, 0.5, 1.5)
        return Prediction(prediction[0], *(stated * part for part in prediction[1:])), table, truth, luminous

    prediction, table, _, _ = unequal(40)
    found = ErrorCalibration.fit(prediction, table, ZERO_POINT)
    prediction, table, truth, luminous = unequal(41)
    calibrated = found.apply(prediction, table["snr"])
    for half in (luminous, ~luminous):
        part = Prediction(*(values[half] for values in calibrated))
        assert 0.62 < coverage(part, truth[half]) < 0.75


def test_both_parts_of_the_error_grow_together_and_add_up(calibration, independent):
    prediction, table, _ = independent
    calibrated = calibration.apply(prediction, table["snr"])
    assert calibrated.total_error == pytest.approx(np.hypot(calibrated.model_error, calibrated.predictive_error))
    grown = calibrated.total_error / prediction.total_error
    assert calibrated.model_error == pytest.approx(grown * prediction.model_error)
    # less than twice: of two stars that look the same, the one with the commoner luminosity is more often meant
    assert 1.6 < np.median(grown) < 2.1


def test_a_wrong_zero_point_is_not_fitted_away(calibration):
    prediction, table, _ = stars(6000, 1)
    moved = ErrorCalibration.fit(prediction, table, ZERO_POINT - 40.0)
    assert calibration.stars == moved.stars == 6000
    # parallaxes that are thought too small are made larger: a brighter calibration of faint, distant stars
    snr = np.full(3, 100.0)
    distant = Prediction(*(np.full(3, value) for value in (40.0, 2.0, 2.0, np.hypot(2.0, 2.0))))
    assert (moved.apply(distant, snr).fakemag > 1.03 * calibration.apply(distant, snr).fakemag).all()


def test_it_travels_as_json(calibration, independent):
    prediction, table, _ = independent
    again = ErrorCalibration(**json.loads(json.dumps(calibration.to_dict())))
    assert again == calibration
    for one, two in zip(
        again.apply(prediction, table["snr"]), calibration.apply(prediction, table["snr"]), strict=True
    ):
        assert np.array_equal(one, two)


def test_too_few_stars_change_nothing():
    prediction, table, _ = stars(error_calibration.LEAST_STARS + 20, 3)
    table["a_k_mag"][:21] = np.nan  # their K0 is biased: they do not count
    few = ErrorCalibration.fit(prediction, table, ZERO_POINT)
    assert few.stars == error_calibration.LEAST_STARS - 1
    assert few.apply(prediction, table["snr"]) is prediction
    assert ErrorCalibration(**json.loads(json.dumps(few.to_dict()))) == few
    table["a_k_mag"][0] = 0.1
    assert ErrorCalibration.fit(prediction, table, ZERO_POINT).apply(prediction, table["snr"]) is not prediction


@pytest.mark.parametrize("column", ["parallax", "parallax_error", "k0_mag", "snr", "a_k_mag"])
def test_stars_with_something_unknown_do_not_calibrate(column):
    prediction, table, _ = stars(1500, 4)
    rows = np.arange(0, 1500, 5)
    table[column][rows] = np.nan
    found = ErrorCalibration.fit(prediction, table, ZERO_POINT)
    kept = np.setdiff1d(np.arange(1500), rows)
    wanted = ErrorCalibration.fit(Prediction(*(part[kept] for part in prediction)), table[kept], ZERO_POINT)
    assert found == wanted and found.stars == 1200


def test_rows_without_a_luminosity_stay_as_they_are(calibration, independent):
    prediction, table, _ = independent
    parts = [np.array(part[:6]) for part in prediction]
    for part in parts:
        part[2] = np.nan
    parts[0][4] = -3.0
    snr = np.array(table["snr"][:6])
    calibrated = calibration.apply(Prediction(*parts), snr)
    whole = calibration.apply(prediction, table["snr"])
    for found, given, all_rows in zip(calibrated, parts, whole, strict=True):
        assert np.isnan(found[2])
        assert found[4] == given[4]
        assert found[[0, 1, 3, 5]] == pytest.approx(all_rows[[0, 1, 3, 5]])


@pytest.mark.parametrize("unknown", [np.nan, -9999.0, 0.0])
def test_unknown_snr_counts_as_the_lowest(calibration, independent, unknown):
    prediction, _, _ = independent
    four = Prediction(*(part[:4] for part in prediction))
    found = calibration.apply(four, np.full(4, unknown))
    lowest = calibration.apply(four, np.full(4, 1.0))
    for one, two in zip(found, lowest, strict=True):
        assert np.isfinite(one).all() and one == pytest.approx(two)


def test_half_of_the_test_rows_calibrate_and_no_star_is_on_both_sides():
    names = np.array([f"2M{i // 2:08d}+0000000" for i in range(4000)])  # every star twice
    order = np.random.default_rng(5).permutation(4000)
    table = Table({"apogee_id": names[order]})
    test = np.flatnonzero(np.arange(4000) % 4 != 0)
    chosen = calibration_rows(table, test)
    rest = np.setdiff1d(test, chosen)
    assert set(chosen) <= set(test)
    assert len(chosen) == pytest.approx(len(test) / 2, rel=0.1)
    assert not set(table["apogee_id"][chosen]) & set(table["apogee_id"][rest])
    assert np.array_equal(calibration_rows(table, test), chosen)
    # by name alone: other rows, in another order, are split the same
    backwards = Table({"apogee_id": table["apogee_id"][::-1]})
    assert set(backwards["apogee_id"][calibration_rows(backwards, np.arange(4000))]) >= set(table["apogee_id"][chosen])
    assert len(calibration_rows(table, np.array([], int))) == 0


def test_a_validation_star_with_another_spectrum_that_trained_does_not_calibrate():
    table = Table({"apogee_id": ["a", "b", "c", "a", "d", "d"]})
    assert unseen_rows(table, np.array([3, 4, 5]), np.array([0, 1])).tolist() == [4, 5]
    assert unseen_rows(table, np.array([], int), np.array([0, 1])).tolist() == []


def test_errors_that_neighbours_on_the_sky_share_are_no_scatter_of_luminosities():
    """25 uas beside Gaia's own errors of 20 to 40: unless stated, intervals come out too wide."""
    prediction, table, truth = stars(8000, 12)
    table["parallax"] += 0.025 * np.random.default_rng(13).standard_normal(len(table))
    covered = {}
    for shared in (0.0, 25.0):
        found = ErrorCalibration.fit(prediction, table, ZERO_POINT, shared)
        covered[shared] = coverage(found.apply(prediction, table["snr"]), truth)
    assert covered[25.0] == pytest.approx(0.683, abs=0.02)
    assert covered[0.0] > covered[25.0] + 0.03
