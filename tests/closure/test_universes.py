"""The universes of the stress suite: what each changes, and in which direction."""

import numpy as np
import pytest
from astropy.table import Table

from apogaia.closure.universes import (
    MEAN_UAS,
    SKY_RMS_UAS,
    UNIVERSES,
    WITHOUT_SKY,
    ZERO_POINTS,
    Stars,
    sky_error_uas,
    zero_point_uas,
)

N = 4000
BY_NAME = {one.name: one for one in UNIVERSES}


@pytest.fixture(scope="module")
def sample():
    """Table and truth of stars as `apogaia.closure.sample` makes them."""
    rng = np.random.default_rng(0)
    hidden, spectral = rng.normal(0, 0.1, N), rng.uniform(-6, 3, N)
    k0 = rng.uniform(7, 13, N)
    table = Table(
        {
            "parallax": np.zeros(N),
            "parallax_error": np.full(N, 0.03),
            "k0_mag": k0 + rng.normal(0, 0.02, N),
            "a_k_mag": rng.uniform(0, 0.5, N),
            "g_mag": np.where(np.arange(N) % 50, k0 + 2.5 + rng.normal(0, 0.3, N), np.nan),
            "bp_rp": rng.uniform(1, 2, N),
            "ecl_lat": rng.uniform(-80, 80, N),
            "ra": rng.uniform(0, 360, N),
            "dec": rng.uniform(-80, 80, N),
            "glon": rng.uniform(31, 329, N),
            "glat": rng.uniform(-60, 60, N),
            "logg": rng.uniform(0, 5, N),
        }
    )
    truth = Table(
        {
            "k_abs_mag": spectral + hidden,
            "hidden_mag": hidden,
            "k0_true_mag": k0,
            "teff": np.full(N, 4800.0),
            "logg": table["logg"],
            "z_kpc": rng.normal(0, 1, N),
            "component": np.where(np.arange(N) % 10, "thin disc", "thick disc"),
            "contamination": np.where(np.arange(N) % 40, "none", "blend"),
        }
    )
    return np.arange(N), table, truth


def drawn(name, sample, seed=0):
    return BY_NAME[name].stars(*sample, seed)


@pytest.mark.parametrize("name", ZERO_POINTS)
def test_a_zero_point_has_its_mean_and_its_slope(name, sample):
    stars = drawn("base", sample)
    values = zero_point_uas(name, stars)
    assert len(values) == len(stars) and np.isfinite(values).all()
    if name != "surface":
        assert values.mean() == pytest.approx(MEAN_UAS)
    g = np.asarray(stars.table["g_mag"])
    known = np.isfinite(g)
    slope = np.polyfit(g[known], values[known], 1)[0]
    expected = {"constant": 0.0, "falling": -9.2, "rising": 5.0}
    if name in expected:
        assert slope == pytest.approx(expected[name], abs=1e-6)


def test_neighbours_on_the_sky_share_errors_that_the_seed_draws(sample):
    stars = drawn("base", sample)
    values, other = (sky_error_uas("falling", stars, seed) for seed in (0, 1))
    assert values.std() == pytest.approx(SKY_RMS_UAS, rel=0.3) and np.std(values - other) > 15
    assert not sky_error_uas(WITHOUT_SKY, stars, 0).any()
    near = stars.keep(np.arange(len(stars)))
    near.table["dec"] = np.clip(np.asarray(near.table["dec"]) + 0.05, -90, 90)
    assert np.std(sky_error_uas("falling", near, 0) - values) < 0.2 * SKY_RMS_UAS


def test_gaia_sees_the_true_parallax_the_zero_point_and_noise_of_its_errors(sample):
    stars = drawn("part", sample)
    moved = np.asarray(stars.seen(np.full(len(stars), 100.0), 1)["parallax"]) - stars.parallax_true
    assert moved.mean() == pytest.approx(0.1, abs=0.002) and moved.std() == pytest.approx(0.03, rel=0.05)
    same = np.asarray(stars.seen(np.zeros(len(stars)), 1)["parallax"]) - stars.parallax_true
    assert moved == pytest.approx(same + 0.1)
    other = np.asarray(stars.seen(np.zeros(len(stars)), 2)["parallax"])
    assert np.std(other - same - stars.parallax_true) > 0.03


def test_stars_are_as_the_survey_made_them_where_nothing_is_changed(sample):
    rows, table, truth = sample
    stars = Stars.of(rows, table, truth)
    distance = 10 ** (0.2 * (truth["k0_true_mag"] - truth["k_abs_mag"]) - 2)
    assert stars.parallax_true == pytest.approx(1 / np.asarray(distance))
    assert len(drawn("base", sample)) == np.sum(truth["contamination"] == "none")
    assert len(drawn("own contaminants", sample)) == N


def test_a_universe_is_drawn_by_its_seed(sample):
    one, again, other = (drawn("1600 stars", sample, seed).rows for seed in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other) and len(one) == 1600
    assert (np.diff(one) > 0).all()


def difference(name, sample):
    """Luminosities of a universe less those of the survey [mag], and the stars."""
    stars = drawn(name, sample)
    return stars.abs_mag - stars.truth_of("k_abs_mag"), stars


@pytest.mark.parametrize(("name", "slope"), [("drift +0.046", 0.046), ("drift -0.023", -0.023)])
def test_luminosities_drift_with_magnitude(name, slope, sample):
    moved, stars = difference(name, sample)
    assert np.polyfit(stars.k0_true, moved, 1)[0] == pytest.approx(slope)


def test_scatter_is_drawn_anew_and_thins_out_where_it_says(sample):
    for name, scatter in (("scatter 0.05", 0.05), ("scatter 0.17", 0.17), ("flat scatter 0.17", 0.17)):
        _, stars = difference(name, sample)
        hidden = stars.abs_mag - stars.spectral_abs_mag
        assert hidden.std() == pytest.approx(scatter, rel=0.4 if name == "scatter 0.17" else 0.1)
        # near stars: the volume grows with distance, so they are more luminous than their spectra say
        near = 10 ** (0.2 * (stars.spectral_abs_mag - stars.k0_true) + 2) > 5  # mas, by the spectrum
        mean = hidden[near].mean() / (hidden[near].std() / np.sqrt(near.sum()))
        assert abs(mean) < 4 if "flat" in name else mean < (-4 if scatter > 0.1 else 0)


def test_selection_favours_luminous_stars_among_faint_ones(sample):
    stars = drawn("selected", sample)
    hidden, faint = stars.abs_mag - stars.spectral_abs_mag, stars.k0_true > 10.5
    assert hidden[faint].mean() < -0.02 < 0.02 < hidden[~faint].mean()


def test_binaries_and_confused_stars_move_as_they_say(sample):
    moved, _ = difference("binaries", sample)
    assert set(np.round(moved, 6)) == {0.0, -0.3} and np.mean(moved < 0) == pytest.approx(0.05, abs=0.015)
    moved, stars = difference("confused clump", sample)
    inside = (stars.truth_of("logg") > 2.3) & (stars.truth_of("logg") < 2.55)
    assert set(np.round(moved[inside], 6)) == {-0.11, 0.25} and not moved[~inside].any()
    moved, stars = difference("vertical gradient", sample)
    assert moved == pytest.approx(0.03 * np.clip(np.abs(stars.truth_of("z_kpc")), 0, 5))


def test_magnitudes_extinctions_and_errors_are_off_as_they_say(sample):
    survey = drawn("part", sample)
    scaled = drawn("Ks scale", sample)
    assert np.polyfit(survey.k0, scaled.k0 - survey.k0, 1)[0] == pytest.approx(0.005)
    more, less = (drawn(f"extinction {sign}10 %", sample).k0 - survey.k0 for sign in "+-")
    a_k = np.asarray(survey.table["a_k_mag"])
    assert more == pytest.approx(-0.1 * a_k) and less == pytest.approx(0.1 * a_k)
    noise = [
        np.std(np.asarray(s.seen(0.0, 3)["parallax"]) - s.parallax_true)
        for s in (survey, drawn("Gaia's errors", sample))
    ]
    assert noise[1] / noise[0] == pytest.approx(1.3)
    spoilt = drawn("contaminants 2 %", sample)
    assert np.mean(spoilt.outlier != 0) == pytest.approx(0.01, abs=0.005)
    brighter = spoilt.k0 - survey.k0
    assert (brighter <= 0).all() and np.mean(brighter < 0) == pytest.approx(0.01, abs=0.005)


def test_parts_of_the_sky_and_of_the_sample(sample):
    assert (np.asarray(drawn("clump", sample).table["logg"]) < 2.65).all()
    assert (np.asarray(drawn("dwarfs", sample).table["logg"]) > 3.2).all()
    assert (np.asarray(drawn("luminous giants", sample).table["logg"]) < 2.2).all()
    field = drawn("clump in a field", sample).table
    assert (np.asarray(field["glon"]) < 110).all() and (np.asarray(field["logg"]) > 2.25).all()
