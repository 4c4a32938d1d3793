"""Closure trials: the zero point that a trial asks for is what its parallaxes have."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from apogaia.closure import run, trials
from apogaia.closure.recipes import sample_sizes
from apogaia.closure.trials import TRIALS, Trial, training_rows, with_zero_point
from apogaia.simulate.gaia import injected_surface
from apogaia.survey import load_survey
from apogaia.zero_point.refit_zero_point import usable

N = 5000
SURVEY = load_survey("mock-dr14")
CONTAMINATION = ("none", "wrong match", "wrong parallax", "blend")


def sample():
    """A table as `simulate_sample` makes it, its truth, and the noise of its parallaxes [mas]."""
    rng = np.random.default_rng(1)
    contamination = np.array(["none"] * N, dtype="U16")
    contamination[:300] = np.repeat(CONTAMINATION[1:], 100)
    truth = Table(
        {
            "parallax_true": rng.uniform(0.1, 2, N),
            "zero_point": np.full(N, -0.0523),
            "teff": rng.uniform(3800, 5500, N),
            "contamination": contamination,
        }
    )
    error = rng.uniform(0.02, 0.06, N)
    noise = error * rng.standard_normal(N)
    noise[100:200] += 2.0
    table = Table(
        {
            "parallax": truth["parallax_true"] + truth["zero_point"] + noise,
            "parallax_error": error,
            "g_mag": rng.uniform(10, 16, N),
            "bp_rp": rng.uniform(0.8, 2.5, N),
            "teff": np.asarray(truth["teff"]) + 50 * rng.standard_normal(N),
            "snr": rng.uniform(100, 400, N),
            "glon": rng.uniform(0, 360, N),
            "glat": np.full(N, 10.0),
            "a_k_mag": np.where(np.arange(N) % 9 == 0, np.nan, 0.1),
            "k0_mag": rng.uniform(7, 13, N),
        }
    )
    table["bp_rp"][-5:] = np.nan
    return table, truth, noise


@pytest.mark.parametrize("value", [-52.3, 0.0, -100.0])
def test_parallaxes_have_the_wanted_zero_point_and_the_noise_they_had(value):
    table, truth, noise = sample()
    before = table.copy()
    made = with_zero_point(table, truth, Trial("t", "refit", value))
    assert np.asarray(made["parallax"]) == pytest.approx(truth["parallax_true"] + value / 1000 + noise, abs=1e-12)
    assert np.array_equal(table["parallax"], before["parallax"])  # the table that is given stays as it is
    for name in set(table.colnames) - {"parallax"}:
        assert np.array_equal(made[name], table[name], equal_nan=True)


def test_a_surface_is_that_of_magnitude_colour_and_true_temperature():
    table, truth, noise = sample()
    made = with_zero_point(table, truth, Trial("t", "refit", None))
    zero_point = np.asarray(made["parallax"]) - truth["parallax_true"] - noise
    known = np.isfinite(np.asarray(table["bp_rp"]))
    wanted = injected_surface(*(np.asarray(c)[known] for c in (table["g_mag"], table["bp_rp"], truth["teff"])))
    assert np.std(wanted) > 0.003
    assert zero_point[known] == pytest.approx(wanted, abs=1e-12)
    assert zero_point[~known] == pytest.approx(-0.0523)


def test_a_falling_zero_point_falls_with_magnitude():
    table, truth, noise = sample()
    table["g_mag"][:7] = np.nan
    made = with_zero_point(table, truth, Trial("t", "paper", -52.3, slope_in_g=-9.2))
    zero_point = 1000 * (np.asarray(made["parallax"]) - truth["parallax_true"] - noise)
    assert zero_point[:7] == pytest.approx(-52.3)
    slope, at_pivot = np.polyfit(np.asarray(table["g_mag"])[7:] - trials.G_PIVOT, zero_point[7:], 1)
    assert (slope, at_pivot) == pytest.approx((-9.2, -52.3))


def test_a_seed_draws_other_errors_and_leaves_contaminants():
    table, truth, noise = sample()
    one, two, again = (
        np.asarray(with_zero_point(table, truth, Trial("t", "refit", -29.0, seed=seed))["parallax"])
        - truth["parallax_true"]
        + 0.029
        for seed in (1, 2, 1)
    )
    assert np.array_equal(one, again)
    spoilt = np.arange(N) < 200  # wrong match, wrong parallax; a blend has a parallax like any other
    assert one[spoilt] == pytest.approx(noise[spoilt], abs=1e-12)
    normal = [values[~spoilt] / np.asarray(table["parallax_error"])[~spoilt] for values in (one, two, noise)]
    for drawn in normal[:2]:
        assert drawn.std() == pytest.approx(1.0, abs=0.04)
        assert abs(drawn.mean()) < 4 / np.sqrt(N)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(normal[i], normal[j])[0, 1]) < 4 / np.sqrt(N)


def test_training_rows_follow_recipe_contaminants_and_surface():
    table, truth, _ = sample()
    paper = training_rows(Trial("t", "paper"), table, truth, SURVEY)
    snr = np.asarray(table["snr"])
    assert np.array_equal(paper, np.flatnonzero(snr > SURVEY.cuts.snr_split))
    refit = training_rows(Trial("t", "refit"), table, truth, SURVEY, usable(SURVEY, table))
    assert set(refit) < set(paper)
    glon = np.asarray(table["glon"])[refit]
    assert np.isfinite(np.asarray(table["a_k_mag"])[refit]).all() and glon.min() >= 30 and glon.max() <= 330
    clean = training_rows(Trial("t", "refit", contaminants=False), table, truth, SURVEY, usable(SURVEY, table))
    contamination = np.asarray(truth["contamination"])
    assert set(refit) - set(clean) == set(refit[contamination[refit] != "none"]) != set()
    surface = training_rows(Trial("t", "paper", None), table, truth, SURVEY)
    assert set(paper) - set(surface) == set(paper[~np.isfinite(np.asarray(table["bp_rp"])[paper])]) != set()


def test_training_rows_of_a_seed_are_fewer_and_others(monkeypatch):
    monkeypatch.setattr(trials, "REDUCED", 500)
    table, truth, _ = sample()
    whole = training_rows(Trial("t", "refit"), table, truth, SURVEY, usable(SURVEY, table))
    one, two, again = (
        training_rows(Trial("t", "refit", seed=seed), table, truth, SURVEY, usable(SURVEY, table)) for seed in (1, 2, 1)
    )
    assert len(one) == len(two) == 500 and set(one) <= set(whole)
    assert np.array_equal(one, again) and not np.array_equal(one, two)
    assert (np.diff(one) > 0).all()


def test_trials_have_names_of_their_own_and_known_surveys():
    names = [trial.name for trial in TRIALS]
    assert len(set(names)) == len(names)
    assert {trial.survey for trial in TRIALS} <= set(trials.SAMPLE)
    assert {trial.recipe for trial in TRIALS} == set(run.RECIPES)
    for trial in TRIALS:
        # two trials that differ in name alone would be one
        assert sum(dataclasses.replace(trial, name="") == dataclasses.replace(t, name="") for t in TRIALS) == 1


def test_samples_of_each_size_share_no_star_and_what_does_not_converge_is_counted(monkeypatch):
    """A made-up refit misses by 1000 uas over the number of stars, and fails for one sample in four."""
    table, truth, _ = sample()
    monkeypatch.setattr(sample_sizes, "SIZES", (50, 400))
    monkeypatch.setattr(sample_sizes, "simulated", lambda trial, workspace: made)
    made = SimpleNamespace(survey=SURVEY, table=table, truth=truth, spectra_of=lambda rows: rows[:, None])
    table["parallax"] = np.arange(N) / 1.0  # names the star
    seen = {}

    def calibrate(survey, star, spectra):
        np.testing.assert_array_equal(star["parallax"], spectra[:, 0])
        drawn = seen.setdefault(len(star), [])
        drawn.append(np.asarray(star["parallax"]))
        if len(drawn) % 4 == 0:
            raise ValueError("the fit does not converge")
        return SimpleNamespace(zero_point_uas=-52.3 + (-1) ** len(drawn) * 1000 / len(star), error_uas=15.0)

    monkeypatch.setattr(sample_sizes.refit_zero_point, "calibrate", calibrate)
    trial = next(trial for trial in TRIALS if trial.recipe == "sizes")
    small, large = sample_sizes.recover_sizes(trial, None, verbose=False)["sizes"]
    chosen = np.flatnonzero(usable(SURVEY, table) & (np.asarray(table["snr"]) > SURVEY.cuts.snr_split))
    for size, found in ((50, small), (400, large)):
        stars = np.concatenate(seen[size])
        assert len(np.unique(stars)) == len(stars) == size * found["draws"] and set(stars) <= set(chosen)
        assert found["draws"] == min(16, len(chosen) // size) and found["failed"] == found["draws"] // 4
        assert found["stars"] == size and len(found["values_uas"]) == found["draws"] - found["failed"]
        assert found["rms_difference_uas"] == pytest.approx(1000 / size) == found["largest_difference_uas"]
        assert found["mean_error_uas"] == 15.0
    assert (small["within_2_errors"], large["within_2_errors"]) == (1.0, 1.0)


def test_ranges_hold_stars_of_their_distances_and_a_fit_that_fails_says_so(monkeypatch):
    table, truth, _ = sample()
    truth["distance_kpc"] = 1 / truth["parallax_true"]
    made = SimpleNamespace(survey=SURVEY, table=table, truth=truth, spectra_of=lambda rows: rows[:, None])
    monkeypatch.setattr(sample_sizes, "simulated", lambda trial, workspace: made)
    monkeypatch.setattr(sample_sizes, "RANGES", (1.1, 3.0))

    def calibrate(survey, star, spectra):
        distance = np.asarray(truth["distance_kpc"])[spectra[:, 0]]
        if distance.max() < 2.3:
            raise ValueError("the fit does not converge")
        assert 2 / 3 < distance.min() < 0.8 and 5 < distance.max() < 6
        return SimpleNamespace(zero_point_uas=-50.0, error_uas=5.0)

    monkeypatch.setattr(sample_sizes.refit_zero_point, "calibrate", calibrate)
    trial = next(trial for trial in TRIALS if trial.recipe == "ranges")
    narrow, wide = sample_sizes.recover_ranges(trial, None, verbose=False)["ranges"]
    assert narrow["failed"] == "the fit does not converge" and wide["value_uas"] == -50.0
    assert 0 < narrow["parallax_spread"] < 0.3 < wide["parallax_spread"] and narrow["stars"] < wide["stars"] <= 1600
