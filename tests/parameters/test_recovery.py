"""Recovery, coverage and occlusion, on predictions whose faults are known."""

import numpy as np
import pytest
from astropy.table import Table
from small_censored import WINDOWS, small_model, small_spectra

from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters import recovery
from apogaia.parameters.network import CENSORED_ELEMENTS
from apogaia.parameters.predictions import LabelPrediction

N = 4000
TRUE = np.column_stack([np.full(N, 4500.0), *np.zeros((21, N))])
SCALE = np.array([40.0, *[0.05] * 21])


def off_by(bias=0.0, factor=1.0, seed=1):
    """Predictions with a scatter of `factor` (number or (n, 1)) and a bias of `bias` times the stated error."""
    noise = np.random.default_rng(seed).normal(size=TRUE.shape)
    error = np.broadcast_to(SCALE, TRUE.shape)
    return LabelPrediction(TRUE + SCALE * (bias + factor * noise), 0.6 * error, 0.8 * error, error)


def test_bias_scatter_and_coverage_are_those_put_in():
    found = recovery.recovery(off_by(bias=0.5, factor=1.0), TRUE)
    assert list(found["label"]) == list(LABELS) and set(found["stars"]) == {N}
    assert np.asarray(found["bias"]) == pytest.approx(0.5 * SCALE, rel=0.2)  # predicted minus true: positive
    assert np.asarray(found["scatter"]) == pytest.approx(SCALE, rel=0.06)
    assert np.asarray(found["stated"]) == pytest.approx(SCALE)
    assert np.all(np.asarray(found["coverage"]) < 0.66)
    assert np.mean(recovery.recovery(off_by(), TRUE)["coverage"]) == pytest.approx(0.683, abs=0.005)
    assert found["published"][0] == 23.6 and found["published"][LABELS.index("fe_h")] == 0.018


def test_errors_of_the_labels_count_in_the_coverage_alone():
    label = TRUE + np.random.default_rng(2).normal(0, SCALE, TRUE.shape)
    without, with_error = (recovery.recovery(off_by(), label, error) for error in (None, SCALE * np.ones((N, 1))))
    assert np.mean(without["coverage"]) == pytest.approx(0.520, abs=0.01)
    assert np.mean(with_error["coverage"]) == pytest.approx(0.683, abs=0.01)
    np.testing.assert_array_equal(without["scatter"], with_error["scatter"])


def test_missing_labels_do_not_count_and_few_stars_give_no_number():
    label = TRUE.copy()
    label[:, 3] = np.nan
    label[100:, 4] = np.nan
    found = recovery.recovery(off_by(), label)
    assert found["stars"][3] == 0 and np.isnan(found["scatter"][3]) and np.isnan(found["coverage"][3])
    assert found["stars"][4] == 100 and np.isfinite(found["scatter"][4])


def test_coverage_and_scatter_go_to_their_bins():
    snr = np.linspace(30, 200, N)
    prediction = off_by(factor=np.where(snr < 100, 2.0, 1.0)[:, None])
    coverage = recovery.coverage_in_bins(prediction, TRUE, snr, [30, 100, 200, 300])
    assert coverage.shape == (22, 3)
    assert coverage[:, 0].mean() == pytest.approx(0.383, abs=0.01)
    assert coverage[:, 1].mean() == pytest.approx(0.683, abs=0.01)
    assert np.isnan(coverage[:, 2]).all()
    scatter, stated = recovery.scatter_in_bins(prediction, TRUE, snr, [30, 100, 200])
    assert scatter[:, 0] == pytest.approx(2 * SCALE, rel=0.12) and scatter[:, 1] == pytest.approx(SCALE, rel=0.12)
    assert stated == pytest.approx(np.column_stack([SCALE, SCALE]))


def test_true_labels_know_the_two_that_share_an_abundance():
    truth = Table({name: np.full(3, i) for i, name in enumerate(LABELS) if name not in ("ci_h", "tiii_h")})
    found = recovery.true_labels(truth)
    assert found.shape == (3, 22)
    column = {name: found[0, i] for i, name in enumerate(LABELS)}
    assert column["ci_h"] == column["c_h"] and column["tiii_h"] == column["ti_h"] and column["ni_h"] == 21


def test_a_hidden_window_changes_the_elements_that_see_its_pixels_alone():
    """With a blind trunk, each element knows its own window only."""
    model = small_model()
    kernel = model.get_layer("hidden_1").kernel
    kernel.assign(np.zeros(kernel.shape))
    change = recovery.occlusion(model, small_spectra(40))
    assert change.shape == (len(CENSORED_ELEMENTS), len(LABELS))
    for row, hidden in enumerate(CENSORED_ELEMENTS):
        for seen in CENSORED_ELEMENTS:
            shared = (WINDOWS[hidden] & WINDOWS[seen]).any()
            assert (change[row, LABELS.index(f"{seen.lower()}_h")] > 1e-6) == shared, (hidden, seen)
    assert change[:, [0, 1, LABELS.index("fe_h")]].max() < 1e-3  # rounding of 4800 K


@pytest.mark.parametrize("stars", [37, 7])
def test_hiding_a_window_is_setting_it_to_the_mean_spectrum(stars):
    model, flux = small_model(), small_spectra(stars)
    mean = np.linspace(0.8, 1.0, flux.shape[1]).astype(np.float32)
    hidden = np.where(WINDOWS["O"], mean, flux)
    wanted = np.abs(recovery.network_labels(model, hidden) - recovery.network_labels(model, flux))
    np.testing.assert_allclose(recovery.occlusion(model, flux, ["O"])[0], np.median(wanted, axis=0), rtol=1e-4)
