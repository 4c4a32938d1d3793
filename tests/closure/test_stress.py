"""The stress suite: how a run is judged, resumed and reported."""

import dataclasses
import json
import types
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from apogaia.closure import stress
from apogaia.closure.stress import Run, measure, recover, runs, summary
from apogaia.closure.universes import UNIVERSES, Stars
from apogaia.survey import load_survey

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"value_uas": -50.0, "true_mean_uas": -52.3, "error_uas": 2.0, "slope_uas_per_mag": -9.0}
GOOD |= {"true_slope_uas_per_mag": -9.2, "stars": 10}


def test_a_run_is_judged_by_its_difference_its_error_and_its_slope():
    found = measure(GOOD, base=True)
    assert found["difference_uas"] == pytest.approx(2.3) and found["pull"] == pytest.approx(1.15) and found["passed"]
    for change in ({"value_uas": -49.0}, {"value_uas": -56.0}, {"error_uas": 1.0}, {"slope_uas_per_mag": -6.0}):
        assert not measure(GOOD | change, base=True)["passed"]
    assert measure(GOOD | {"value_uas": -49.0}, base=False)["passed"]
    assert measure(GOOD | {"slope_uas_per_mag": -6.0}, base=False)["passed"]
    assert not measure(GOOD | {"value_uas": -46.0, "error_uas": 9.0}, base=False)["passed"]
    assert not measure(GOOD | {"slope_uas_per_mag": float("nan")} | {"value_uas": float("nan")}, base=False)["passed"]
    assert measure({"refused": "too few"}, base=False) == {"refused": True, "passed": True}


def test_every_run_is_named_once_and_seeds_for_choosing_are_not_those_kept():
    names = [run.name for run in runs((0, 1, 2))]
    assert len(set(names)) == len(names) == 3 * sum(len(one.zero_points) for one in UNIVERSES)
    assert all(name.replace("_", "").replace(".", "").isalnum() for name in names)
    assert not set(stress.SEEDS) & set(stress.KEPT_SEEDS)


def test_one_universe_is_drawn_often_with_seeds_of_its_own(monkeypatch, tmp_path):
    drawn = stress.draws()
    assert {run.universe.name for run in drawn} == {stress.DRAWN} and len({run.seed for run in drawn}) >= 8
    assert not {run.seed for run in drawn} & {*stress.SEEDS, *stress.KEPT_SEEDS}
    chosen = []
    monkeypatch.setattr(stress, "_run_all", lambda runs, workspace: chosen.append({run.name for run in runs}))
    monkeypatch.setattr(stress, "_read", lambda runs, workspace: [(run, GOOD | {"value_uas": -52.0}) for run in runs])
    assert stress.main([]) == 0 and stress.main(["part"]) == 0
    assert chosen[0] >= {run.name for run in drawn} and not chosen[1] & {run.name for run in drawn}
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    assert stress.main(["--report"]) == 0
    report = json.loads((tmp_path / "docs" / "closure" / "stress.json").read_text())
    assert [run["seed"] for run in report["draws"]] == [run.seed for run in drawn]
    assert report["number"] == len(runs((*stress.SEEDS, *stress.KEPT_SEEDS)))  # the draws are counted by themselves


def test_the_summary_counts_what_is_within_its_errors():
    base = next(one for one in UNIVERSES if one.base)
    results = [(Run(base, "falling", i), GOOD | {"value_uas": -52.3 + step}) for i, step in enumerate((1, -1, 2.5, 9))]
    found = summary([*results, (Run(base, "falling", 9), {"refused": "why", "stars": 5})])
    assert (found["passed"], found["number"]) == (4, 5)
    assert found["within_one_error_percent"] == 50.0 and found["within_two_errors_percent"] == 75.0
    assert found["runs"][0]["universe"] == "base" and found["runs"][-1]["refused"] is True
    json.dumps(found)


@pytest.fixture
def stars():
    n = 50
    rng = np.random.default_rng(1)
    table = Table({"parallax": np.zeros(n), "parallax_error": np.full(n, 0.01), "g_mag": rng.uniform(9, 15, n)})
    table["k0_mag"], table["a_k_mag"], table["glon"], table["glat"] = 9.0, 0.1, 90.0, 5.0
    truth = Table({"k_abs_mag": rng.uniform(-5, 2, n), "k0_true_mag": np.full(n, 9.0)})
    return Stars.of(np.arange(n), table, truth)


def test_the_refit_sees_the_universe_and_the_truth_is_the_mean_of_its_stars(stars, monkeypatch):
    survey, seen = load_survey("mock-dr14"), {}
    survey = dataclasses.replace(survey, calibration=dataclasses.replace(survey.calibration, min_stars=10))
    zero_point = -50.0 - 9.0 * (np.asarray(stars.table["g_mag"]) - 12)

    def calibrate(survey, table, spectra):
        seen.update(table=table, spectra=spectra)
        values = {"value_uas": -51.0, "error_uas": 2.0, "plane": "long", "residuals": "long"}
        return types.SimpleNamespace(in_uas=lambda: values, g_slope_uas_per_mag=-8.0)

    monkeypatch.setattr(stress, "calibrate", calibrate)
    sky = np.linspace(0, 20, 50)
    found = recover(survey, stars, zero_point, sky, 3, lambda rows: rows * 2)
    assert found["true_mean_uas"] == pytest.approx(zero_point.mean() + 10)
    assert found["true_slope_uas_per_mag"] == pytest.approx(-9.0) and found["slope_uas_per_mag"] == -8.0
    assert found["value_uas"] == -51.0 and found["stars"] == 50 and not {"plane", "residuals"} & set(found)
    assert np.array_equal(seen["spectra"], stars.rows * 2)
    noise = np.asarray(seen["table"]["parallax"]) - stars.parallax_true - 1e-3 * (zero_point + sky)
    assert noise.std() == pytest.approx(0.01, rel=0.4)


def test_stars_that_a_survey_would_refuse_are_refused(stars):
    found = recover(load_survey("mock-dr14"), stars, *np.zeros((2, 50)), 0, lambda rows: pytest.fail("it is fitted"))
    assert "50 of 50 training and test stars can calibrate" in found["refused"]


def test_universes_are_listed_and_an_unknown_one_is_named(capsys):
    assert stress.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(one.name in listed for one in UNIVERSES)
    with pytest.raises(SystemExit):
        stress.main(["no such universe"])
    assert "no universe called 'no such universe'" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "code"), [(-52.0, 0), (-40.0, stress.BEYOND)])
def test_runs_beyond_their_limits_have_an_exit_code_of_their_own(value, code, monkeypatch):
    """make goes on to the report after it, and stops after an error."""
    monkeypatch.setattr(stress, "_run_all", lambda chosen, workspace: None)
    monkeypatch.setattr(
        stress, "_read", lambda chosen, workspace: [(run, GOOD | {"value_uas": value}) for run in chosen]
    )
    assert stress.main(["base", "--seeds", "0"]) == code
    assert stress.BEYOND not in (0, 1, 2)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"apogaia.closure.stress || [ $$? -eq {stress.BEYOND} ]" in makefile
