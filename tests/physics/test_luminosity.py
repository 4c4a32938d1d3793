"""Luminosity, parallax and distance: closed forms, Monte-Carlo errors, round trips."""

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st

from apogaia.physics import luminosity as lum

mags = st.floats(3, 16)
absmags = st.floats(-9, 8)
positive = st.floats(1e-3, 1e3)


def test_fakemag_closed_form_eq_1():
    # 1 kpc away with K0 = 10: parallax 1 mas, M = 0, L = 10^2 on both sides of Eq. 1
    assert lum.mag_to_fakemag(10, 1) == pytest.approx(100)
    assert lum.absmag_to_fakemag(0) == pytest.approx(100)
    assert lum.fakemag_to_absmag(100) == pytest.approx(0)
    assert lum.fakemag_to_parallax(100, 10) == pytest.approx(1)
    assert lum.fakemag_to_pc(100, 10) == pytest.approx(1000)
    assert lum.mag_to_absmag(10, 1) == pytest.approx(0)
    assert lum.parallax_to_pc(0.25) == pytest.approx(4000)


def test_sun_is_one_solar_luminosity():
    # the Sun at 10 pc (100 mas) shines with its absolute magnitude
    assert lum.fakemag_to_logsol(lum.mag_to_fakemag(3.27, 100)) == pytest.approx(0, abs=1e-12)
    # 2.5 mag brighter is a factor of ten
    assert lum.fakemag_to_logsol(lum.absmag_to_fakemag(0.77)) == pytest.approx(1)
    assert lum.logsol_to_fakemag(0, band="H") == pytest.approx(lum.absmag_to_fakemag(3.32))


@pytest.mark.parametrize("convert", [lum.fakemag_to_logsol, lum.logsol_to_fakemag])
def test_an_unknown_band_is_refused_with_the_known_ones(convert):
    with pytest.raises(ValueError, match="band must be one of J, H, Ks, not 'K'"):
        convert(1.0, band="K")


@given(fakemag=positive, mag=mags)
def test_round_trips(fakemag, mag):
    parallax = lum.fakemag_to_parallax(fakemag, mag)
    assert lum.mag_to_fakemag(mag, parallax) == pytest.approx(fakemag)
    assert lum.parallax_to_pc(parallax) == pytest.approx(lum.fakemag_to_pc(fakemag, mag))
    assert lum.mag_to_absmag(mag, parallax) == pytest.approx(lum.fakemag_to_absmag(fakemag), abs=1e-9)
    assert lum.absmag_to_fakemag(lum.fakemag_to_absmag(fakemag)) == pytest.approx(fakemag)
    assert lum.logsol_to_fakemag(lum.fakemag_to_logsol(fakemag)) == pytest.approx(fakemag)
    # distance modulus
    modulus = mag - lum.fakemag_to_absmag(fakemag)
    assert 5 * np.log10(lum.fakemag_to_pc(fakemag, mag)) - 5 == pytest.approx(modulus, abs=1e-9)


@given(parallax=st.floats(-5, 5), mag=mags)
def test_negative_parallaxes_keep_their_sign(parallax, mag):
    assert lum.fakemag_to_parallax(lum.mag_to_fakemag(mag, parallax), mag) == pytest.approx(parallax, abs=1e-12)


MONTE_CARLO = {
    "mag_to_fakemag": lambda x, e=None: lum.mag_to_fakemag(9.3, x, e),
    "fakemag_to_parallax": lambda x, e=None: lum.fakemag_to_parallax(x, 2.1, e),
    "fakemag_to_pc": lambda x, e=None: lum.fakemag_to_pc(x, 9.3, e),
    "parallax_to_pc": lum.parallax_to_pc,
    "fakemag_to_absmag": lum.fakemag_to_absmag,
    "absmag_to_fakemag": lum.absmag_to_fakemag,
    "mag_to_absmag": lambda x, e=None: lum.mag_to_absmag(9.3, x, e),
}


@pytest.mark.parametrize("name", MONTE_CARLO)
def test_errors_are_those_of_a_monte_carlo(name):
    function, value, error = MONTE_CARLO[name], 1.7, 0.01
    draws = np.random.default_rng(1).normal(value, error, 200_000)
    central, propagated = function(value, error)
    assert central == pytest.approx(function(value))
    assert propagated == pytest.approx(np.std(function(draws)), rel=0.01)


def test_absmag_error_does_not_depend_on_the_magnitude():
    for mag in (-1.5, 0.0, 12.0):
        assert lum.mag_to_absmag(mag, 2.0, 0.1)[1] == pytest.approx(5 / np.log(10) * 0.05)


@pytest.mark.parametrize("bad", [0.0, -0.3, np.nan])
def test_no_distance_without_a_positive_parallax(bad):
    for value, error in (
        lum.fakemag_to_pc(bad, 10, 0.1),
        lum.parallax_to_pc(bad, 0.1),
        lum.mag_to_absmag(10, bad, 0.1),
        lum.fakemag_to_absmag(bad, 0.1),
    ):
        assert np.isnan(value) and np.isnan(error)


def test_arrays_keep_their_shape_and_nan():
    distance, error = lum.fakemag_to_pc([[100, np.nan], [50, 0]], [[10], [10]], [[5, 5], [5, 5]])
    np.testing.assert_allclose(distance, [[1000, np.nan], [2000, np.nan]])
    np.testing.assert_allclose(error, [[50, np.nan], [200, np.nan]])


def test_extinction():
    np.testing.assert_allclose(
        lum.extinction_correction([10, 10, 10, np.nan, 10], [0.3, np.nan, -9999, 0.1, -0.05]),
        [9.7, 10, 10, np.nan, 10.05],
    )
    assert lum.rjce_a_k(10.0, 9.5) == pytest.approx(0.918 * 0.42)
    assert lum.rjce_a_k(9.58, 9.5) == pytest.approx(0)  # a star of the intrinsic colour has no extinction


def test_robust_scatter_eq_10():
    residuals = np.random.default_rng(2).normal(3.0, 0.08, 100_000)
    residuals[:500] = 1e6  # outliers do not matter
    residuals[500] = np.nan
    assert lum.robust_scatter(residuals) == pytest.approx(0.08, rel=0.02)
    assert lum.robust_scatter([1.0, 2.0, 4.0]) == pytest.approx(1.4826)
    assert np.isnan(lum.robust_scatter([np.nan]))


def test_weighted_parallax_is_the_best_combination():
    truth, zero_point = 0.5, -0.05
    rng = np.random.default_rng(3)
    nn = rng.normal(truth, 0.03, 100_000)
    gaia = rng.normal(truth + zero_point, 0.04, 100_000)
    combined, error = lum.weighted_parallax(nn, 0.03, gaia, 0.04, zero_point)
    assert combined.mean() == pytest.approx(truth, abs=3e-4)
    assert combined.std() == pytest.approx(error[0], rel=0.01)  # a standard deviation, not a variance
    assert error[0] == pytest.approx(0.03 * 0.04 / 0.05)


def test_weighted_parallax_falls_back_to_the_side_that_is_there():
    nan = np.nan
    nn = [0.5, 0.5, nan, nan, 0.5, 0.5, 0.5]
    nn_error = [0.03, 0.03, nan, nan, nan, 0.0, 0.03]
    gaia = [0.4, nan, 0.4, nan, 0.4, 0.4, -9.0]
    gaia_error = [0.03, nan, 0.04, nan, 0.04, 0.04, nan]
    parallax, error = lum.weighted_parallax(nn, nn_error, gaia, gaia_error, -0.05)
    np.testing.assert_allclose(parallax, [0.475, 0.5, 0.45, nan, 0.45, 0.45, 0.5])
    np.testing.assert_allclose(error, [0.03 / np.sqrt(2), 0.03, 0.04, nan, 0.04, 0.04, 0.03])
    # without a zero point for the star Gaia is left out
    assert lum.weighted_parallax(0.5, 0.03, 0.4, 0.04, nan) == (pytest.approx(0.5), pytest.approx(0.03))


@given(nn=st.floats(0.01, 2), gaia=st.floats(-1, 2), s=st.floats(0.01, 1), t=st.floats(0.01, 1))
def test_weighted_parallax_lies_between_and_is_more_precise(nn, gaia, s, t):
    parallax, error = lum.weighted_parallax(nn, s, gaia, t, -0.05)
    low, high = sorted((nn, lum.corrected_parallax(gaia, -0.05)))
    assert low - 1e-12 <= parallax <= high + 1e-12
    assert error <= min(s, t)


def test_masked_is_unknown_and_units_are_converted():
    assert np.isnan(lum.fakemag_to_pc(100, np.ma.masked))
    masked = np.ma.array([10.0, 10.0], mask=[False, True])
    np.testing.assert_allclose(lum.fakemag_to_pc(100, masked), [1000, np.nan])
    assert lum.fakemag_to_pc(0.1 * u.arcsec, 10 * u.mag) == pytest.approx(1000)
    assert lum.parallax_to_pc(0.001 * u.arcsec) == pytest.approx(1000)
    with pytest.raises(u.UnitConversionError, match=r"fakemag_to_pc: mag is in mas and must be in mag"):
        lum.fakemag_to_pc(100, 10 * u.mas)
