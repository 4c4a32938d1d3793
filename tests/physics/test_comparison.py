"""Distances against others: sign and definition of the numbers in the paper's Figures 6 and 8."""

import dataclasses
import warnings

import numpy as np
import pytest
from astropy.table import Table

from apogaia.physics.comparison import (
    Agreement,
    agreement,
    agreement_by,
    robust_agreement,
    sharp_giants,
    snr_gain,
)
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


def contaminated(rng, stars: int, offset: float, share: float, scatter: float = 0.1, *, one_sided: bool = False):
    """Distances with errors that differ from star to star, some of them of contaminants, and their references."""
    relative = scatter * np.exp(0.3 * rng.normal(size=stars))
    logarithm = np.log1p(offset) + relative * rng.normal(size=stars)
    wrong = rng.random(stars) < share
    far = rng.normal(0.5, 0.2, stars) if one_sided else rng.normal(0, 0.5, stars)
    logarithm[wrong] += far[wrong]
    reference = rng.uniform(500, 5000, stars)
    dist = reference * np.exp(logarithm)
    return dist, reference, relative * dist


@pytest.mark.parametrize(("stars", "share"), [(150, 0.05), (1000, 0.03)])
def test_offset_and_contaminants_are_found_within_their_errors(stars, share):
    pulls = []
    for seed in range(30):
        dist, reference, error = contaminated(np.random.default_rng(seed), stars, 0.05, share)
        found = robust_agreement(dist, reference, error)
        pulls.append(
            (
                (found.offset_percent - 5) / found.offset_error,
                (found.contaminants_percent - 100 * share) / found.contaminants_error,
                (found.median_offset_percent - 5) / found.median_offset_error,
            )
        )
        assert 0.75 < found.error_scale < 1.25
    mean, sd = np.mean(pulls, axis=0), np.std(pulls, axis=0)
    assert np.all(np.abs(mean) < 0.6) and np.all((sd > 0.6) & (sd < 1.5))  # 30 pulls: 0.18 and 0.13


def test_contaminants_on_one_side_move_the_median_and_not_the_offset():
    medians, offsets = [], []
    for seed in range(8):
        dist, reference, error = contaminated(np.random.default_rng(seed), 3000, 0.0, 0.10, one_sided=True)
        found = robust_agreement(dist, reference, error)
        medians.append(found.median_offset_percent / found.median_offset_error)
        offsets.append(found.offset_percent / found.offset_error)
    assert np.mean(medians) > 3 and abs(np.mean(offsets)) < 1


@pytest.mark.parametrize("stars", [40, 400])
def test_the_errors_of_median_and_scatter_are_what_repeated_samples_scatter_by(stars):
    found = []
    for seed in range(300):
        ratio = 1 + 0.1 * np.random.default_rng(seed).standard_t(4, stars)
        found.append(agreement_by(np.zeros(stars), 1000 * ratio, np.full(stars, 1000.0)))
    found = [bins[0] for bins in found]  # equal values are one bin
    for name in ("median_offset", "robust_scatter"):
        scatter = np.std([one[f"{name}_percent"] for one in found])
        assert np.mean([one[f"{name}_error"] for one in found]) == pytest.approx(scatter, rel=0.2)


def test_stars_of_one_cluster_count_as_one_measurement_of_what_they_share():
    rng = np.random.default_rng(5)
    pulls, alone = [], []
    for _ in range(25):
        groups = np.repeat(np.arange(25), 12)
        ratio = np.exp(0.05 * rng.normal(size=25)[groups] + 0.02 * rng.normal(size=300))
        error = np.full(300, 54.0)
        together = robust_agreement(1000 * ratio, np.full(300, 1000.0), error, groups=groups)
        apart = robust_agreement(1000 * ratio, np.full(300, 1000.0), error)
        pulls.append(
            [
                together.offset_percent / together.offset_error,
                together.median_offset_percent / together.median_offset_error,
            ]
        )
        alone.append(apart.offset_percent / apart.offset_error)
    assert np.all(np.std(pulls, axis=0) < 1.5) and np.std(alone) > 2


def test_without_errors_the_scatter_itself_is_the_scale():
    dist, reference, _ = contaminated(np.random.default_rng(1), 2000, 0.02, 0.0)
    found = robust_agreement(dist, reference)
    assert found.error_scale == pytest.approx(1, abs=0.15) and found.offset_percent == pytest.approx(2, abs=1)
    few = robust_agreement(dist[:5], reference[:5])
    assert few.stars == 5 and np.isfinite(few.median_offset_percent) and np.isnan(few.offset_percent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert robust_agreement([], []).stars == 0 and agreement_by([], [], []) == []


def test_median_and_scatter_are_those_of_the_paper():
    dist, reference, error = contaminated(np.random.default_rng(3), 500, 0.05, 0.03)
    found, paper = robust_agreement(dist, reference, error), agreement(dist, reference)
    assert found.median_offset_percent == pytest.approx(paper.median_offset_percent)
    assert found.robust_scatter_percent == pytest.approx(paper.robust_scatter_percent)


def test_bins_have_as_many_stars_each_and_unknown_values_none():
    dist, reference, _ = contaminated(np.random.default_rng(3), 600, 0.0, 0.0)
    values = np.arange(600.0)
    values[:60] = np.nan
    bins = agreement_by(values, dist * np.where(values > 400, 1.2, 1), reference)
    assert [one["stars"] for one in bins] == [90] * 6
    assert bins[-1]["median_offset_percent"] == pytest.approx(20, abs=5)
    assert len(agreement_by(np.arange(25.0), dist[:25], reference[:25])) == 2
