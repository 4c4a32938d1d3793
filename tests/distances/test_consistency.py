"""Medians of Gaia's minus the network's parallax: sign, unit, bins, a step at the SNR split; and against the truth."""

import dataclasses

import numpy as np
import pytest
from astropy.table import Table

from apogaia.distances.consistency import against_truth, median_differences
from apogaia.survey import load_survey

CUTS = load_survey("smoke").cuts
SPLIT = CUTS.snr_split


def catalogue(n=6000, seed=1, too_small=0.0):
    """Rows whose network parallaxes above the split are too small by so much [mas]."""
    rng = np.random.default_rng(seed)
    snr = np.exp(rng.uniform(np.log(40), np.log(600), n))
    true = rng.uniform(0.2, 2.0, n)
    return Table(
        {
            "parallax": true - 0.05 + 0.04 * rng.standard_normal(n),
            "zero_point": np.full(n, -0.05),
            "nn_parallax": true - too_small * (snr >= SPLIT),
            "snr": snr,
            "phot_g_mean_mag": rng.uniform(10, 16, n),
            "logg": rng.uniform(0.5, 4.5, n),
        }
    )


def test_all_are_zero_where_distances_and_zero_point_agree():
    found = median_differences(catalogue(), CUTS)
    assert list(found) == ["snr", "g_mag", "logg"]
    pulls = np.array([one["median_uas"] / one["error_uas"] for bins in found.values() for one in bins])
    assert len(pulls) == 18 and np.abs(pulls).max() < 3.5 and 0.5 < np.sqrt(np.mean(pulls**2)) < 1.5


def test_a_step_at_the_split_has_its_sign_and_its_size_in_microarcseconds():
    table = catalogue(too_small=0.012)
    bins = median_differences(table, CUTS)["snr"]
    assert [one["low"] < SPLIT for one in bins] == [True] * 3 + [False] * 3 and bins[3]["low"] == SPLIT
    for one, step in zip(bins, [0.0] * 3 + [12.0] * 3, strict=True):
        assert abs(one["median_uas"] - step) < 3.5 * one["error_uas"]
        inside = (table["snr"] >= one["low"]) & (table["snr"] < one["high"])
        assert one["stars"] == pytest.approx(inside.sum(), abs=1)
        assert one["middle"] == pytest.approx(np.median(table["snr"][inside]), rel=0.01)
        assert one["error_uas"] == pytest.approx(1.2533 * 40 / np.sqrt(one["stars"]), rel=0.1)
    assert sum(one["stars"] for one in bins) == 6000


def test_bins_hold_as_many_stars_each_and_follow_their_column():
    table = catalogue(600)
    table["nn_parallax"] -= 0.01 * table["phot_g_mean_mag"]
    bins = median_differences(table, CUTS)["g_mag"]
    assert [one["stars"] for one in bins] == [100] * 6
    assert [one["median_uas"] for one in bins] == pytest.approx([10.0 * one["middle"] for one in bins], abs=15)


def test_unknown_values_and_few_stars_are_left_out():
    table = catalogue(60)
    table["logg"][5:] = np.nan
    table["parallax"][:3] = np.nan
    found = median_differences(table, CUTS)
    assert found["logg"] == [] and sum(one["stars"] for one in found["g_mag"]) == 57
    assert median_differences(table[:0], CUTS) == {"snr": [], "g_mag": [], "logg": []}


@pytest.mark.parametrize("split", [10.0, 1000.0])
def test_stars_on_one_side_of_the_split_fill_all_bins(split):
    bins = median_differences(catalogue(600), dataclasses.replace(CUTS, snr_split=split))["snr"]
    assert [one["stars"] for one in bins] == [100] * 6


def test_distances_against_the_truth():
    rng = np.random.default_rng(3)
    n, true = 20_000, rng.uniform(500, 5000, 20_000)
    dist = true * (1.02 + 0.08 * rng.standard_normal(n))
    table = Table(
        {"dist": dist, "dist_error": 0.08 * true, "weighted_dist": true * (1 + 0.04 * rng.standard_normal(n))}
    )
    table["weighted_dist_error"] = 0.02 * table["weighted_dist"]
    table["dist"][0] = table["weighted_dist_error"][1] = np.nan
    found = against_truth(table, true)
    wanted = {"robust_scatter_percent": 8.0, "median_offset_percent": 2.0, "coverage_68": 0.668}
    wanted |= {"weighted_robust_scatter_percent": 4.0, "weighted_median_offset_percent": 0.0}
    wanted |= {"weighted_coverage_68": 0.383, "weighted_median_error_percent": 2.0}
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=0.2 if "percent" in name else 0.01), name
    assert found["median_error_percent"] == pytest.approx(100 * np.nanmedian(0.08 * true / table["dist"]))
    assert found["stars"] == found["weighted_stars"] == n - 1
    nothing = against_truth(table[:0], true[:0])
    assert nothing.pop("stars") == nothing.pop("weighted_stars") == 0 and np.isnan(list(nothing.values())).all()
