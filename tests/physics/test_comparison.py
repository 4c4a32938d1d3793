"""Distances against others: sign and definition of the numbers in the paper's Figures 6 and 8."""

import dataclasses
import warnings

import numpy as np
import pytest
from astropy.table import Table

from apogaia.physics.comparison import Agreement, agreement, sharp_giants, snr_gain
from apogaia.physics.luminosity import parallax_to_pc, robust_scatter

DIST = np.linspace(500, 5000, 101)


@pytest.mark.parametrize(("factor", "percent"), [(1.1, 10), (0.9, -10), (2.0, 100), (1.0, 0)])
def test_distances_too_long_are_a_positive_offset_in_percent_of_the_reference(factor, percent):
    found = agreement(factor * DIST, DIST)
    assert found.stars == 101
    assert found.median_offset_percent == pytest.approx(percent, abs=1e-9)
    assert found.robust_scatter_percent == pytest.approx(0, abs=1e-9)


def test_the_offset_of_parallaxes_has_the_other_sign_and_size():
    parallax = 1000 / DIST
    found = agreement(parallax_to_pc(0.8 * parallax), parallax_to_pc(parallax))
    assert found.median_offset_percent == pytest.approx(25)


def test_scatter_is_that_of_eq_10_of_the_same_residuals():
    residual = np.random.default_rng(8).normal(0.02, 0.08, DIST.size)
    found = agreement(DIST * (1 + residual), DIST)
    assert found.robust_scatter_percent == pytest.approx(100 * robust_scatter(residual))
    assert found.median_offset_percent == pytest.approx(100 * np.median(residual))


def test_stars_without_both_distances_do_not_count():
    dist, reference = 1.1 * DIST, DIST.copy()
    dist[:2], reference[2:5] = np.nan, [np.nan, 0, -100]
    assert agreement(dist, reference) == agreement(dist[5:], reference[5:])
    assert agreement(dist, reference).stars == 96


def test_without_stars_nothing_is_known_and_nothing_is_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = agreement([], [])
    np.testing.assert_array_equal(dataclasses.astuple(found), [0, np.nan, np.nan])
    assert isinstance(found, Agreement)


def catalogue_of(**columns) -> Table:
    """A giant 1 kpc away, Gaia's error 4 % of its corrected parallax and the network's 10 %, and changes of it."""
    star = {"teff": 4800.0, "logg": 2.5, "parallax": 0.95, "parallax_error": 0.04, "zero_point": -0.05}
    star |= {"dist": 1000.0, "dist_error": 100.0, "dist_model_error": 50.0}
    n = max(np.size(values) for values in columns.values()) if columns else 1
    return Table({name: np.broadcast_to(columns.get(name, value), n).astype(float) for name, value in star.items()})


def test_gain_is_the_difference_of_the_snrs_with_model_error_and_corrected_parallax():
    # 1000 pc / 50 pc = 20; (0.95 + 0.05) mas / 0.04 mas = 25
    np.testing.assert_allclose(snr_gain(catalogue_of()), [20 - 25])
    np.testing.assert_allclose(snr_gain(catalogue_of(parallax_error=0.1)), [20 - 10])
    np.testing.assert_allclose(snr_gain(catalogue_of(dist_error=1.0)), snr_gain(catalogue_of()))
    np.testing.assert_allclose(snr_gain(catalogue_of(parallax=-0.15)), [20 + 2.5])  # no distance from Gaia at all


def test_gain_is_unknown_where_one_side_is():
    unknown = catalogue_of(dist=[np.nan, 1000, 1000, 1000], parallax=[1, np.nan, 1, 1], zero_point=[0, 0, np.nan, 0])
    unknown["dist_model_error"][3] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(snr_gain(unknown)).all()


def test_sharp_giants_are_those_of_figure_8():
    both, none = {"giants": [True], "luminous giants": [True]}, {"giants": [False], "luminous giants": [False]}

    def chosen(**columns):
        return {name: rows.tolist() for name, rows in sharp_giants(catalogue_of(**columns)).items()}

    assert chosen() == {"giants": [True], "luminous giants": [False]}
    assert chosen(logg=2.1) == both
    assert chosen(logg=3.6) == chosen(teff=5300) == none
    # one limit for both panels: 5 % of the corrected parallax, and 20 % of the distance, total error
    assert chosen(logg=2.1, parallax_error=0.049) == both
    assert chosen(logg=2.1, parallax_error=0.051) == none
    assert chosen(logg=2.1, parallax=0.75, zero_point=-0.1) == both  # 4.7 % of 0.85 mas, 5.3 % of 0.75 mas
    assert chosen(logg=2.1, dist_error=199) == both
    assert chosen(logg=2.1, dist_error=201, dist_model_error=1) == none
    assert chosen(logg=2.1, parallax=-0.95) == chosen(logg=np.nan) == chosen(dist=np.nan) == none
