"""Closure trials: the zero point that a trial asks for is what its parallaxes have."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from apogaia.closure import run
from apogaia.closure.run import Trial, training_rows, with_zero_point
from apogaia.simulate.gaia import injected_surface
from apogaia.survey import load_survey

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
    refit = training_rows(Trial("t", "refit"), table, truth, SURVEY)
    assert set(refit) < set(paper)
    glon = np.asarray(table["glon"])[refit]
    assert np.isfinite(np.asarray(table["a_k_mag"])[refit]).all() and glon.min() >= 30 and glon.max() <= 330
    clean = training_rows(Trial("t", "refit", contaminants=False), table, truth, SURVEY)
    contamination = np.asarray(truth["contamination"])
    assert set(refit) - set(clean) == set(refit[contamination[refit] != "none"]) != set()
    surface = training_rows(Trial("t", "paper", None), table, truth, SURVEY)
    assert set(paper) - set(surface) == set(paper[~np.isfinite(np.asarray(table["bp_rp"])[paper])]) != set()


def test_training_rows_of_a_seed_are_fewer_and_others(monkeypatch):
    monkeypatch.setattr(run, "REDUCED", 500)
    table, truth, _ = sample()
    whole = training_rows(Trial("t", "refit"), table, truth, SURVEY)
    one, two, again = (training_rows(Trial("t", "refit", seed=seed), table, truth, SURVEY) for seed in (1, 2, 1))
    assert len(one) == len(two) == 500 and set(one) <= set(whole)
    assert np.array_equal(one, again) and not np.array_equal(one, two)
    assert (np.diff(one) > 0).all()


def test_trials_have_names_of_their_own_and_known_surveys():
    names = [trial.name for trial in run.TRIALS]
    assert len(set(names)) == len(names)
    assert {trial.survey for trial in run.TRIALS} <= set(run.SAMPLE)
    assert {trial.recipe for trial in run.TRIALS} == {
        "paper",
        "refit",
        "distances",
        "selections",
        "decomposition",
    }
    for trial in run.TRIALS:
        # two trials that differ in name alone would be one
        assert sum(dataclasses.replace(trial, name="") == dataclasses.replace(t, name="") for t in run.TRIALS) == 1


def test_list_says_which_trials_are_done_and_runs_none(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    monkeypatch.setattr(run, "run", lambda *_: pytest.fail("a listing ran a trial"))
    done = run.result_path(run.TRIALS[2])
    assert tmp_path in done.parents
    done.parent.mkdir(parents=True)
    done.write_text("{}")
    assert run.main(["--list"]) == 0
    listed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert list(listed) == [trial.name for trial in run.TRIALS]
    assert [name for name, state in listed.items() if state == "done"] == [run.TRIALS[2].name]


def test_a_trial_that_is_done_is_kept_and_others_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    ran = []

    def run(trial, workspace):
        ran.append((trial.name, workspace.survey.name))
        return {"value_uas": -50.0, "error_uas": 2.0}

    monkeypatch.setattr(run, "run", run)
    for _ in range(2):
        assert run.main(["kepler_refit", "refit_0"]) == 0
    assert ran == [("kepler_refit", "mock-kepler"), ("refit_0", "mock-dr14")]
    assert "refit_0: -50.0 +- 2.0" in capsys.readouterr().out


def test_an_unknown_trial_is_refused_by_the_command(tmp_path):
    command = [sys.executable, "-m", "apogaia.closure", "refit_52.3", "refit_53.2"]
    environment = os.environ | {
        "APOGAIA_ROOT": str(tmp_path),
        "PYTHONPATH": str(Path(run.__file__).resolve().parents[2]),
    }
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.returncode == 2
    assert "no trial called refit_53.2" in found.stderr and "refit_52.3" in found.stderr
    assert not list(tmp_path.iterdir())
