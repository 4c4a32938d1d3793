"""Closure trials: the zero point that a trial asks for is what its parallaxes have."""

import dataclasses

import numpy as np
import pytest
from astropy.table import Table

from apogaia.closure import run, trials
from apogaia.closure.trials import TRIALS, Trial, training_rows, with_zero_point
from apogaia.simulate.gaia import injected_surface
from apogaia.survey import load_survey
from apogaia.zero_point.refit_zero_point import usable

N = 5000
SURVEY = load_survey("mock-dr14")
CONTAMINATION = ("none", "wrong match", "wrong parallax", "wrong label")


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


def test_a_seed_draws_other_errors_and_leaves_contaminants():
    table, truth, noise = sample()
    one, two, again = (
        np.asarray(with_zero_point(table, truth, Trial("t", "refit", -29.0, seed=seed))["parallax"])
        - truth["parallax_true"]
        + 0.029
        for seed in (1, 2, 1)
    )
    assert np.array_equal(one, again)
    spoilt = np.arange(N) < 200  # wrong match, wrong parallax; a wrong label has a parallax like any other
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
