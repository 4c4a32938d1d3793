"""Noise added to bright spectra: as much as an SNR says, and where the survey's spectra are noisy."""

import numpy as np
import pytest

from apogaia.parameters.degraded_spectra import degrade, noise_profile, target_snr

N, PIXELS = 600, 3000


def survey_spectra(seed=0):
    """Spectra of stars of two kinds of lines, with sky lines five times as noisy as the rest and two dead pixels."""
    rng = np.random.default_rng(seed)
    lines = rng.uniform(0, 0.3, (2, PIXELS)) * (rng.random((2, PIXELS)) < 0.2)
    profile = np.where(rng.random(PIXELS) < 0.1, 5.0, 1.0)
    profile[:2] = 0.0
    snr = np.exp(rng.uniform(np.log(30), np.log(300), N))
    clean = 1 - rng.uniform(0.2, 1.0, (N, 2)) @ lines
    return clean, clean + profile / snr[:, None] * rng.standard_normal((N, PIXELS)), snr, profile


def test_the_profile_is_that_of_the_noise_and_not_of_the_lines():
    _, spectra, snr, profile = survey_spectra()
    found = noise_profile(spectra.astype(np.float32), snr)
    np.testing.assert_allclose(found[2:] / profile[2:], 1.0, atol=0.35)  # of 300 spectra each pixel is known to 5 %
    assert np.median(found[2:] / profile[2:]) == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(found[:2], 0.0, atol=0.05)


def test_a_defect_in_few_spectra_does_not_make_a_pixel_noisy():
    _, spectra, snr, _ = survey_spectra()
    spoilt = spectra.copy()
    spoilt[::20, 100:110] = 3.0
    ratio = noise_profile(spoilt, snr)[100:110] / noise_profile(spectra, snr)[100:110]
    assert ratio.max() < 1.4


def test_spectra_without_an_snr_tell_nothing_of_the_noise():
    _, spectra, snr, _ = survey_spectra()
    more = np.concatenate([spectra, 1.0 + np.random.default_rng(1).standard_normal((400, PIXELS))])
    unknown = np.r_[snr, np.full(200, np.nan), np.full(100, 0.0), np.full(100, -1.0)]
    np.testing.assert_array_equal(noise_profile(more, unknown), noise_profile(spectra, snr))


@pytest.mark.parametrize("few", [2, 3, 7])
def test_few_spectra_have_a_profile(few):
    _, spectra, snr, _ = survey_spectra()
    assert np.isfinite(noise_profile(spectra[:few], snr[:few])).all()


def test_a_degraded_spectrum_has_the_noise_of_its_new_snr():
    clean, spectra, snr, profile = survey_spectra()
    bright = np.flatnonzero(snr > 150)
    target = np.full(len(bright), 50.0)
    found = degrade(spectra[bright], snr[bright], target, profile, seed=1)
    left = (found - clean[bright])[:, profile > 0] / profile[profile > 0]
    assert left.std() * 50 == pytest.approx(1.0, abs=0.01)  # its own noise and the added one
    np.testing.assert_allclose(found[:, profile == 0], clean[bright][:, profile == 0], rtol=1e-6)
    assert found.dtype == np.float32
    same = degrade(spectra[bright], snr[bright], snr[bright], profile, seed=1)
    np.testing.assert_allclose(same, spectra[bright], rtol=1e-6)


def test_no_noise_can_be_taken_away():
    _, spectra, snr, profile = survey_spectra()
    with pytest.raises(ValueError, match="must not be above"):
        degrade(spectra[:2], snr[:2], snr[:2] * [1.0, 1.1], profile, seed=1)


def test_targets_lie_between_their_limits_and_below_the_stars_own_snr():
    snr = np.r_[np.full(2000, 300.0), np.full(2000, 80.0)]
    found = target_snr(snr, 30.0, 200.0, seed=3)
    assert found.min() >= 30.0 and found[:2000].max() > 190.0 and found[2000:].max() == 80.0
    assert np.median(found[:2000]) == pytest.approx(np.sqrt(30 * 200), rel=0.05)
    np.testing.assert_array_equal(found, target_snr(snr, 30.0, 200.0, seed=3))
